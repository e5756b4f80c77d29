//! `/ws`, the main session: `btc-cluster.v1.json`.

use super::Service;
use crate::model::{Device, SessionId, Symbol};
use crate::os::clock;
use crate::protocol::client::{self, ClientMessage, Refusal, Welcome, parse};
use crate::protocol::cluster::ToMaster;
use crate::session::{ChannelKey, Key, Kind};
use crate::worker::hub::State;
use crate::worker::hub::requests::Waiter;
use crate::ws::frame;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(super) struct Main;

impl Service for Main {
    fn greet(&self, state: &mut State, key: Key, asked: &[String]) {
        for channel in asked.iter().filter_map(|name| state.channels.find(name)).collect::<Vec<_>>() {
            state.subscribe(key, channel);
        }
        let welcome = frame::text(state.welcome(key, asked));
        state.send_first(key, welcome);
        // Until now the last sign of life is the announcement.
        let announced = state.sessions[key as usize].last_in;
        state.send_stats(key, announced);
        state.send_candles(key);
    }

    fn text(&self, state: &mut State, key: Key, text: &str) {
        if let Err(refusal) = parse(text).and_then(|message| state.obey(key, message)) {
            let answer = client::error(refusal.id, refusal.code, &refusal.message);
            state.say(key, &answer);
        }
    }
}

impl State {
    fn welcome(&self, key: Key, channels: &[String]) -> String {
        let session = &self.sessions[key as usize];
        let (id, time) = (session.id.to_string(), clock::wall());
        let mut welcome = Welcome::new(&id, session.user.as_str(), (self.me.slot, self.me.pid), time);
        welcome.device = session.device.as_ref().map(Device::as_str);
        welcome.heartbeat_ms = u64::try_from(self.config.heartbeat.interval.as_millis()).unwrap_or(u64::MAX);
        welcome.channels = channels.iter().map(String::as_str).collect();
        let price = self.prices.object(&self.config.price.symbol, &self.rules, clock::boot());
        let price = price.and_then(|json| RawValue::from_string(json).ok());
        welcome.price = price.as_deref();
        client::welcome(&welcome)
    }

    fn obey<'a>(&mut self, key: Key, message: ClientMessage<'a>) -> Result<(), Refusal<'a>> {
        match message {
            ClientMessage::Subscribe { channels, id } => {
                let channels = self.find_all(&channels, id)?;
                self.subscribe_all(key, &channels, id)?;
                self.acknowledge(key, id);
            }
            ClientMessage::Unsubscribe { channels, id } => {
                for channel in self.find_all(&channels, id)? {
                    self.unsubscribe(key, channel);
                }
                self.acknowledge(key, id);
            }
            ClientMessage::Publish { channel, data, id } => self.publish_from(key, &channel, data, id)?,
            ClientMessage::Quote { symbol, id } => {
                let answer = self.own_quote(symbol.as_deref(), id)?;
                self.say(key, &answer);
            }
            ClientMessage::Ping { id } => self.say(key, &client::pong(id)),
            ClientMessage::Echo { data, id } => self.say(key, &client::echo(id, data)),
        }
        Ok(())
    }

    fn acknowledge(&mut self, key: Key, id: Option<&RawValue>) {
        if let Some(id) = id {
            self.say(key, &client::ack(id));
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
            return Err(Refusal::new("too-many-channels", format!("at most {most} channels"), id));
        }
        let find = |name: &Cow<'_, str>| {
            let open =
                |key: &ChannelKey| !matches!(self.channels.get(*key).kind, Kind::Endpoint | Kind::Lines);
            self.channels.find(name).filter(open).ok_or_else(|| {
                let shown: String = name.chars().take(64).collect();
                Refusal::new("unknown-channel", format!("there is no channel {shown:?}"), id)
            })
        };
        names.iter().map(find).collect()
    }

    fn subscribe_all<'a>(
        &mut self,
        key: Key,
        channels: &[ChannelKey],
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        let most = self.config.limits.channels_per_session as usize;
        let has = &self.sessions[key as usize].subscriptions;
        let mut new: Vec<_> = channels.iter().filter(|c| has.iter().all(|s| s.channel != **c)).collect();
        new.sort_unstable();
        new.dedup();
        if has.len() + new.len() > most {
            return Err(Refusal::new("too-many-channels", format!("at most {most} channels"), id));
        }
        for channel in new {
            self.subscribe(key, *channel);
            self.send_state(key, *channel, true);
        }
        Ok(())
    }

    fn publish_from<'a>(
        &mut self,
        key: Key,
        name: &str,
        data: &RawValue,
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        let channel = self.find_all(&[Cow::Borrowed(name)], id)?[0];
        if self.channels.get(channel).kind != (Kind::Messages { anyone: true }) {
            return Err(Refusal::new("forbidden", "sessions may not publish there", id));
        }
        let session = &self.sessions[key as usize];
        let text = client::channel_message(name, Some(session.user.as_str()), clock::wall(), data.get());
        let waiter = Waiter::Session { key, id: session.id, ack: id.map(|id| id.get().into()) };
        let request = self.requests.expect(waiter);
        let deadline = clock::mono().after(self.config.quotes.timeout);
        self.tell(&ToMaster::Publish {
            request,
            channel: name,
            frame: &frame::text(text),
            deadline,
            skip: None,
        });
        Ok(())
    }

    fn own_quote<'a>(&self, symbol: Option<&str>, id: Option<&'a RawValue>) -> Result<String, Refusal<'a>> {
        let unknown = || Refusal::new("unknown-symbol", "no such symbol is priced here", id);
        let symbol = match symbol {
            None => self.config.price.symbol.clone(),
            Some(text) => Symbol::new(text).map_err(|_| unknown())?,
        };
        if !self.config.price.symbols.contains(&symbol) {
            return Err(unknown());
        }
        self.prices
            .reply(&symbol, id, &self.rules, clock::boot())
            .ok_or_else(|| Refusal::new("price-unavailable", "there is no price now", id))
    }

    /// The master has what a session published: now it may be told.
    pub(in crate::worker::hub) fn published(&mut self, key: Key, id: SessionId, ack: Option<&str>) {
        let ack = ack.and_then(|text| RawValue::from_string(text.to_owned()).ok());
        if self.session(key, id).is_some() {
            self.acknowledge(key, ack.as_deref());
        }
    }
}
