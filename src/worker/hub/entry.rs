//! Connections that come: counted by address, and let in at the expense of those that lose the least.

use super::state::State;
use crate::access::tokens::Refusal;
use crate::access::{Permit, counted};
use crate::net::phase::Phase;
use crate::os::clock;
use crate::os::process::open_files;
use crate::protocol::client::ProblemKind;
use crate::protocol::cluster::Port;
use std::net::IpAddr;

/// The word for connections that end because their proxy does not say whose they are.
const NOT_TOLD: &str = "proxy-header-missing";

/// How a connection was let in.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Entrance {
    /// Counts until the connection ends, also as a session.
    pub(in crate::worker) permit: Permit,
    /// Of a proxy that is trusted.
    trusted: bool,
    /// There is no room for it: the answer to all but health.
    pub(in crate::worker) turned: Option<ProblemKind>,
}

impl Entrance {
    pub(in crate::worker) fn is_trusted(&self) -> bool {
        self.trusted
    }
}

impl State {
    /// Makes room for a newcomer if descriptors are short. False: there is none at this moment.
    pub(in crate::worker) fn has_room(&mut self) -> bool {
        let room = self.crowd.room(open_files());
        if self.crowd.is_short(room) {
            self.give_way(None);
        }
        self.crowd.all() < room.all
    }

    /// Ends a connection for a newcomer: of all those that may end, or of those of one address. False: there is none.
    pub(in crate::worker) fn give_way(&mut self, of: Option<IpAddr>) -> bool {
        let gave_way = self.crowd.give_way(of, clock::mono());
        if gave_way {
            self.counters.count_gave_way("connection");
            self.notices.gave_way(clock::mono());
        }
        gave_way
    }

    /// A request is refused for its token.
    pub(in crate::worker) fn token_refused(&mut self, refusal: Refusal) {
        self.notices.token_refused(refusal.slug(), refusal.why(), clock::mono());
    }

    /// A connection has been accepted.
    pub(in crate::worker) fn connected(&mut self, from: IpAddr, port: Port) -> Entrance {
        self.counters.connections += 1;
        self.connections.came();
        self.note();
        self.enters(from, port)
    }

    /// A proxy has said whose connection this is.
    pub(in crate::worker) fn passed_on(
        &mut self,
        key: usize,
        entrance: Entrance,
        from: IpAddr,
        port: Port,
    ) -> Entrance {
        // The connection counts once.
        drop(entrance);
        let entrance = self.enters(from, port);
        self.crowd.rename(key, entrance.permit.address(), entrance.trusted);
        entrance
    }

    /// A proxy has not said whose connection this is, and it ends.
    pub(in crate::worker) fn not_told(&mut self, proxy: IpAddr) {
        self.counters.count_refused(NOT_TOLD);
        self.notices.not_told(proxy.to_canonical(), clock::mono());
    }

    fn enters(&mut self, from: IpAddr, port: Port) -> Entrance {
        let (address, from) = (counted(from), from.to_canonical());
        let trusted = self.config.http.trusted_proxies.iter().any(|network| network.contains(&from));
        let turned = self.turns_away(address, trusted).filter(|_| port != Port::Admin);
        if let Some(kind) = turned {
            self.notices.turned(kind, address, clock::mono());
        }
        Entrance { permit: self.crowd.came(address), trusted, turned }
    }

    /// Why a newcomer is turned away.
    fn turns_away(&mut self, address: IpAddr, trusted: bool) -> Option<ProblemKind> {
        let room = self.crowd.room(open_files());
        let share = self.config.limits.connections_per_address.of(room.most, address);
        let over = !trusted && share.is_some_and(|share| self.crowd.of(address) >= share);
        if over && !self.give_way(Some(address)) {
            return Some(ProblemKind::AddressConnectionLimit);
        }
        let is_short = self.crowd.is_short(room);
        if is_short {
            // Sessions have the descriptors.
            self.shed_silent(None);
        }
        is_short.then_some(ProblemKind::Full)
    }

    /// A connection will be served; returns its name in the crowd.
    pub(in crate::worker) fn let_in(&mut self, entrance: &Entrance, phase: Phase) -> usize {
        self.crowd.enter(entrance.permit.address(), entrance.trusted, phase)
    }

    /// A connection has gone, or has become a session.
    pub(in crate::worker) fn left(&mut self, key: usize) {
        self.crowd.leave(key);
        self.counters.connections -= 1;
    }
}
