//! `/ws`, the main session: `btc-cluster.v1.json`.

use super::service::Service;
use crate::access::tokens::Action;
use crate::model::{Device, Mono, SessionId, Symbol};
use crate::os::clock;
use crate::protocol::client::{self, ClientMessage, ErrorCode, Refusal, Welcome, parse, room};
use crate::protocol::cluster::ToMaster;
use crate::session::{ChannelKey, Key, Kind, Subscription};
use crate::worker::hub::parts::entrances::Group;
use crate::worker::hub::parts::greeting::Greeting;
use crate::worker::hub::parts::requests::Waiter;
use crate::worker::hub::parts::session::Session;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::rooms::is_companion;
use crate::worker::hub::state::State;
use crate::ws::frame;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;

pub(super) struct Main;

impl Service for Main {
    fn greet(&self, state: &mut State, at: SessionRef, greeting: &Greeting) {
        let asked = &greeting.channels;
        for channel in asked.iter().filter_map(|name| state.channels.find(name)).collect::<Vec<_>>() {
            state.subscribe_known(at, channel);
        }
        let Some(welcome) = state.welcome(at, greeting).map(frame::text) else { return };
        state.send_first(at, welcome);
        // Until now the last sign of life is the announcement.
        let announced = state.sessions.get(at).map_or(Mono(0), |session| session.last_in);
        state.send_stats(at, announced);
        state.send_rare_states(at);
        if !greeting.entering.is_empty() {
            let rooms = greeting.entering.iter().map(|room| room.as_str().into());
            state.enter_all(at, Group::new(rooms, Vec::new(), None));
        }
    }

    fn text(&self, state: &mut State, at: SessionRef, text: &str) {
        if let Err(refusal) = parse(text).and_then(|message| state.obey(at, message)) {
            let answer = client::error(refusal.id, refusal.code, &refusal.message);
            state.reply(at, &answer);
        }
    }
}

impl State {
    /// A channel of the configuration; rooms are entered.
    fn subscribe_known(&mut self, at: SessionRef, channel: ChannelKey) {
        if self.channels.get(channel).kind != Kind::Room {
            self.subscribe(at, channel);
        }
    }

    fn welcome(&self, at: SessionRef, greeting: &Greeting) -> Option<String> {
        let session = self.sessions.get(at)?;
        let (id, time) = (session.id().to_string(), clock::wall());
        let mut welcome = Welcome::new(&id, session.user().as_str(), (self.me.slot, self.me.pid), time);
        welcome.device = session.identity.device.as_ref().map(Device::as_str);
        welcome.heartbeat_ms = u64::try_from(self.config.heartbeat.interval.as_millis()).unwrap_or(u64::MAX);
        let token = session.token().filter(|_| self.config.resumes());
        let resume = token.map(|token| token.to_string());
        welcome.resume = resume.as_deref();
        welcome.resumed = greeting.resumed;
        welcome.moves = session.moves;
        let life = session.pass.as_ref().and_then(|pass| pass.life());
        let left = life.map(|life| life.left(clock::boot()).as_millis());
        welcome.expires_in_ms = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX));
        welcome.channels = greeting.channels.iter().map(String::as_str).collect();
        let price = self.prices.object(&self.config.price.symbol, clock::boot());
        let price = price.and_then(|json| RawValue::from_string(json).ok());
        welcome.price = price.as_deref();
        welcome.rules = self.config.price.rules().into();
        Some(client::welcome(&welcome))
    }

    fn obey<'a>(&mut self, at: SessionRef, message: ClientMessage<'a>) -> Result<(), Refusal<'a>> {
        match message {
            ClientMessage::Subscribe { channels, id } => self.subscribe_from(at, &channels, id)?,
            ClientMessage::Unsubscribe { channels, id } => {
                self.unsubscribe_from(at, &channels, id)?;
            }
            ClientMessage::Publish { channel, data, id } => self.publish_from(at, &channel, data, id)?,
            ClientMessage::Quote { symbol, id } => {
                let user = self.sessions.get(at).map(|session| session.user().clone());
                if !user.is_some_and(|user| self.may(at, Action::Quote(&user))) {
                    return Err(Refusal::new(ErrorCode::Forbidden, "the token does not allow quotes", id));
                }
                let answer = self.own_quote(symbol.as_deref(), id)?;
                self.reply(at, &answer);
            }
            ClientMessage::Auth { token, id } => self.renew_pass(at, &token, id)?,
            ClientMessage::Ping { id } => self.reply(at, &client::pong(id)),
            ClientMessage::Echo { data, id } => self.reply(at, &client::echo(id, data)),
        }
        Ok(())
    }

    pub(in crate::worker::hub) fn acknowledge(&mut self, at: SessionRef, id: Option<&RawValue>) {
        if let Some(id) = id {
            self.reply(at, &client::ack(id));
        }
    }

    /// All or nothing.
    fn find_all<'a>(
        &self,
        names: &[Cow<'_, str>],
        id: Option<&'a RawValue>,
    ) -> Result<Vec<ChannelKey>, Refusal<'a>> {
        let most = self.config.limits.channels_per_session as usize;
        if names.len() > most {
            return Err(Refusal::new(ErrorCode::TooManyChannels, format!("at most {most} channels"), id));
        }
        let find = |name: &Cow<'_, str>| {
            let open = |channel: &ChannelKey| {
                let channel = self.channels.get(*channel);
                !matches!(channel.kind, Kind::Endpoint | Kind::Lines) && !is_companion(&channel.name)
            };
            self.channels.find(name).filter(open).ok_or_else(|| {
                let shown: String = name.chars().take(64).collect();
                Refusal::new(ErrorCode::UnknownChannel, format!("there is no channel {shown:?}"), id)
            })
        };
        names.iter().map(find).collect()
    }

    /// Subscribes to all or nothing. Only the master knows whether there is a room.
    fn subscribe_from<'a>(
        &mut self,
        at: SessionRef,
        names: &[Cow<'_, str>],
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        let (rooms, others): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| room(name).is_some());
        let others = self.find_all(&others, id)?;
        if !names.iter().all(|name| self.may_hear(at, name)) {
            return Err(Refusal::new(ErrorCode::Forbidden, "the session may not hear these channels", id));
        }
        let most = self.config.limits.channels_per_session as usize;
        if self.channels_with(at, &rooms, &others) > most {
            return Err(Refusal::new(ErrorCode::TooManyChannels, format!("at most {most} channels"), id));
        }
        if rooms.is_empty() {
            self.subscribe_all(at, others, id);
            return Ok(());
        }
        let rooms = rooms.iter().map(|room| Box::from(&**room));
        self.enter_all(at, Group::new(rooms, others, id.map(|id| id.get().into())));
        Ok(())
    }

    /// How many channels a session would be on with these, if it gets all that it waits for.
    fn channels_with(&self, at: SessionRef, rooms: &[Cow<'_, str>], others: &[ChannelKey]) -> usize {
        let Some(session) = self.sessions.get(at) else { return 0 };
        let name = |own: &Subscription| &*self.channels.get(own.channel).name;
        let has = session.subscriptions.iter().filter(|own| !is_companion(name(own))).count();
        let is_in = |room: &str| self.channels.find(room).is_some_and(|channel| session.is_on(channel));
        let rooms = rooms.iter().map(|room| &**room).chain(self.entrances.rooms(session.id()));
        let rooms: BTreeSet<_> = rooms.filter(|room| !is_in(room)).collect();
        let others = others.iter().copied().chain(self.entrances.others(session.id()));
        let others: BTreeSet<_> = others.filter(|channel| !session.is_on(*channel)).collect();
        has + rooms.len() + others.len()
    }

    /// Subscribes to channels that are no rooms, and says so.
    pub(in crate::worker::hub) fn subscribe_all(
        &mut self,
        at: SessionRef,
        channels: Vec<ChannelKey>,
        id: Option<&RawValue>,
    ) {
        for channel in channels {
            if self.sessions.get(at).is_some_and(|session| !session.is_on(channel)) {
                self.subscribe(at, channel);
                self.send_state(at, channel, true);
            }
        }
        self.acknowledge(at, id);
    }

    /// A room in which nobody is is no unknown channel.
    fn unsubscribe_from<'a>(
        &mut self,
        at: SessionRef,
        names: &[Cow<'_, str>],
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        let (rooms, others): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| room(name).is_some());
        let others = self.find_all(&others, id)?;
        rooms.iter().for_each(|room| self.leave_room(at, room));
        let session = self.sessions.get(at).map(Session::id);
        for channel in others {
            session.into_iter().for_each(|session| self.entrances.renounce(session, channel));
            self.unsubscribe(at, channel);
        }
        self.acknowledge(at, id);
        Ok(())
    }

    fn publish_from<'a>(
        &mut self,
        at: SessionRef,
        name: &str,
        data: &RawValue,
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        if room(name).is_some() {
            self.may_speak(at, name, id)?;
        } else {
            let channel = self.find_all(&[Cow::Borrowed(name)], id)?[0];
            if !matches!(self.channels.get(channel).kind, Kind::Messages { .. }) {
                return Err(Refusal::new(ErrorCode::Forbidden, "sessions may not publish there", id));
            }
        }
        if !self.may(at, Action::Publish(self.described(name))) {
            return Err(Refusal::new(ErrorCode::Forbidden, "the session may not publish there", id));
        }
        let Some(session) = self.sessions.get(at) else { return Ok(()) };
        let text = client::channel_message(name, Some(session.user().as_str()), clock::wall(), data.get());
        let waiter = Waiter::Session { key: at.key(), id: session.id(), ack: id.map(|id| id.get().into()) };
        self.asks(at);
        let request = self.requests.expect(waiter);
        let deadline = clock::mono().after(self.config.quotes.timeout);
        let frame = &frame::text(text);
        let message = ToMaster::Publish { request, channel: name, frame, deadline, skip: None };
        self.requests.repeatable(request, &message);
        self.uplink.tell(&message);
        Ok(())
    }

    fn own_quote<'a>(&self, symbol: Option<&str>, id: Option<&'a RawValue>) -> Result<String, Refusal<'a>> {
        let unknown = || Refusal::new(ErrorCode::UnknownSymbol, "no such symbol is priced here", id);
        let symbol = match symbol {
            None => self.config.price.symbol.clone(),
            Some(text) => Symbol::new(text).map_err(|_| unknown())?,
        };
        if !self.config.price.symbols.contains(&symbol) {
            return Err(unknown());
        }
        self.prices
            .reply(&symbol, id, clock::boot())
            .ok_or_else(|| Refusal::new(ErrorCode::PriceUnavailable, "there is no price now", id))
    }

    /// Acknowledges what a session has published, before it is copied: the receipt of the master would not reach the
    /// copy. The order to publish is on its way already.
    pub(in crate::worker::hub) fn acknowledge_all(&mut self, at: SessionRef) {
        let Some(id) = self.sessions.get(at).map(Session::id) else { return };
        for ack in self.requests.acks_of(at.key(), id) {
            self.published(at.key(), id, ack.as_deref());
        }
    }

    /// The master has what a session published: now it may be told.
    pub(in crate::worker::hub) fn published(&mut self, key: Key, id: SessionId, ack: Option<&str>) {
        let ack = ack.and_then(|text| RawValue::from_string(text.to_owned()).ok());
        if let Some(at) = self.sessions.known(key, id) {
            self.answered(at);
            self.acknowledge(at, ack.as_deref());
        }
    }
}
