//! One master goes, another comes. No session hears of it: what was asked is asked again where that cannot double, and
//! answered truthfully where it could.

use super::parts::session::Session;
use super::parts::sessions::SessionRef;
use super::state::{Hub, Phase, State};
use crate::os::clock;
use crate::protocol::client;
use crate::protocol::cluster::{
    Again, Hello, MovesAgain, NO_RECEIPT, RosterPage, Sent, Step, ToMaster, VERSION,
};
use crate::protocol::link::LinkSender;
use crate::protocol::peer::Peer;

/// How a worker introduces itself.
pub(in crate::worker) fn hello(pid: u32) -> ToMaster<'static> {
    ToMaster::Hello(Hello { version: VERSION, program: env!("CARGO_PKG_VERSION").into(), pid })
}

impl State {
    /// The worker accepts connections.
    pub(in crate::worker) fn say_ready(&mut self) {
        self.uplink.ready = true;
        self.uplink.tell(&ToMaster::Ready);
    }

    /// The master gives way to another one, which is asked for the next deliveries; or stays after all.
    pub(in crate::worker) fn hold_deliveries(&mut self, waits: bool) {
        if waits {
            self.uplink.hold()
        } else {
            self.uplink.go_on()
        }
        self.requests.hold(waits);
    }

    /// The master is gone. All that it said was heard before.
    pub(in crate::worker) fn master_lost(&mut self) {
        tracing::debug!("the master is gone");
        self.tickets.master_lost();
        let unanswered = self.requests.master_lost();
        self.uplink.lose(unanswered.again);
        self.lose_moves();
        self.survival.master_lost();
        for (request, session, room) in unanswered.rooms {
            let at = self.entrances.session(session).and_then(|at| self.sessions.get(at));
            let Some(own) = at else {
                self.requests.forget(request);
                continue;
            };
            let step = Step::Enter { request, user: own.user().as_str() };
            self.uplink.tell(&ToMaster::Room { room: &room, session, step });
        }
        for waiting in self.takes.take_all() {
            let number = self.requests.number();
            waiting.ask(number, &self.uplink);
            self.takes.ask(number, waiting);
        }
        let copies = self.sessions.iter().filter_map(|(_, session)| session.origin.as_deref());
        for origin in copies.filter(|origin| origin.home != self.me.generation) {
            self.uplink.relay(origin.home, &Peer::Accept { lease: origin.lease });
        }
        for waiter in self.forwards.take_ours() {
            // Its client has gone.
            let _ = waiter.send(None);
        }
    }

    /// There is another master: it hears what it must know, and what the one before was asked.
    pub(in crate::worker) fn renew(&mut self, hub: &Hub, link: LinkSender) {
        // The next master counts its orders anew: everybody must have all that the one before has said.
        while self.walk_on() {}
        self.survival.cover.renew(clock::mono());
        let held = self.uplink.renew(link);
        self.uplink.tell(&hello(self.me.pid));
        let quotes = self.prices.newest().cloned().collect();
        let lines = self.uplink.heard.lines().map(|(of, number)| (of.into(), number)).collect();
        let moves = MovesAgain {
            sent: self.sent(),
            expected: self.moving.expected.waiting().collect(),
            came: self.uplink.heard.batches().cloned().collect(),
        };
        let adopts = self.survival.adopts();
        let again = Again { config: self.uplink.config, quotes, lines, moves, adopts };
        self.uplink.tell(&ToMaster::Again(Some(Box::new(again))));
        // The next master knows now that they came: they are among those that are told.
        self.land_all(hub);
        let decided = |(at, own): &(SessionRef, &Session)| !self.requests.is_undecided(own.id(), *at);
        let all = self.sessions.present().filter(decided).map(|(_, session)| session.announcement());
        self.tell_all(all.chain(self.survival.announcements()));
        self.tell_rooms();
        if self.uplink.ready && matches!(self.phase, Phase::Serving | Phase::Unready) {
            self.uplink.tell(&ToMaster::Ready);
        }
        self.uplink.tell(&ToMaster::Told);
        for (_, at) in self.requests.undecided() {
            self.announce_to_master(at);
        }
        for message in held {
            match postcard::from_bytes::<ToMaster<'_>>(&message) {
                Ok(message) => self.uplink.tell(&message),
                Err(error) => tracing::error!(event = "held-message", %error),
            }
        }
        self.says_again();
    }

    /// The batch that was sent to another worker, with what the next master must know if it has not come there.
    fn sent(&self) -> Option<Sent> {
        let (number, to) = self.moving.leaving.sent()?;
        let all = self.moving.leaving.kept().map(|traveller| &traveller.session);
        let (away, present): (Vec<_>, Vec<_>) = all.partition(|session| session.is_away());
        let page = RosterPage {
            first: false,
            last: false,
            sessions: present.into_iter().map(|session| session.announcement()).collect(),
            away: away.into_iter().filter_map(|session| Some(session.token()?.name())).collect(),
        };
        let page = postcard::to_allocvec(&page)
            .inspect_err(|error| tracing::error!(event = "roster", %error))
            .ok()?;
        Some(Sent { number, to, page })
    }

    /// Tells the master which session is in which room. The master knows one session of each id: here a copy and its
    /// original may be in a room.
    pub(super) fn tell_rooms(&self) {
        for (at, session) in self.sessions.iter() {
            let id = session.id();
            let others = self.sessions.all_of(id).filter(|(other, own)| *other != at && !own.is_away());
            let is_another_present = session.is_away() && others.count() > 0;
            for sub in session.subscriptions.iter().filter(|_| !is_another_present) {
                let room = &*self.channels.get(sub.channel).name;
                if client::room(room).is_none() {
                    continue;
                }
                let step = Step::Enter { request: NO_RECEIPT, user: session.user().as_str() };
                self.uplink.tell(&ToMaster::Room { room, session: id, step });
                if session.is_away() {
                    self.uplink.tell(&ToMaster::Room { room, session: id, step: Step::Away });
                }
            }
        }
    }
}
