//! All sessions of this worker and everything that is sent to them, in one place behind one lock that is never held
//! across a wait. The process has one thread: the lock is never contended, it only satisfies the compiler.

mod arrive;
mod deliver;
mod ending;
mod endpoints;
mod inbound;
mod opening;
mod peers;
mod poll;
mod prices;
mod requests;
mod rooms;
mod send;
mod session;
mod sessions;
mod settings;
mod suspend;
mod timers;

pub(super) use arrive::{Arrival, Refused, arrive};
pub(super) use deliver::Push;
pub(super) use opening::{Greeting, Opening};
pub(super) use peers::poll_anywhere;
pub(super) use requests::{Lost, Reply};
pub(super) use session::{Framing, Request as SessionRequest};
pub(super) use timers::TICK;

use crate::access::Gate;
use crate::config::Config;
use crate::model::Rules;
use crate::os::board::Board;
use crate::os::clock;
use crate::protocol::client::Close;
use crate::protocol::cluster::{Beat, Counters, Generation, Slot, ToMaster};
use crate::protocol::link::LinkSender;
use crate::session::{ChannelKey, Channels};
use crate::worker::http::Charts;
use hashbrown::HashMap;
use prices::Prices;
use requests::Requests;
use sessions::{SessionRef, Sessions};
use std::sync::{Arc, Mutex, MutexGuard};
use timers::Timers;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes read at once, for all sessions together.
const READ: usize = 64 << 10;

/// Bytes that may be kept for clients before a pong is enough to let them go.
const KEPT: usize = 32 << 20;

/// Who this worker is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me {
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) pid: u32,
}

/// What this worker does with newcomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Welcome.
    Serving,
    /// Welcome, but balancers are told to send no more.
    Unready,
    /// Replaced: who got in before the door closed is served, and sent to the others.
    Draining,
    /// Refused: the daemon stops.
    Stopping,
}

/// A handle to the worker's one hub.
#[derive(Clone, Debug)]
pub(super) struct Hub(Arc<Mutex<State>>);

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Arc<Config>,
    pub(super) rules: Rules,
    pub(super) gate: Arc<Gate>,
    pub(super) revision: u64,
    pub(super) me: Me,
    pub(super) uplink: LinkSender,
    pub(super) phase: Phase,
    /// Cancelled when connections shall end after what they are at.
    pub(super) ending: CancellationToken,
    pub(super) counters: Counters,
    pub(super) prices: Prices,
    pub(super) requests: Requests,
    pub(super) charts: Charts,
    pub(super) board: Board,
    /// Connections that have not asked anything yet.
    arriving: u32,
    sessions: Sessions,
    suspended: suspend::Suspended,
    /// Much is kept for clients that may have missed it: those that say how far they are let it go.
    tight: bool,
    takes: arrive::Takes,
    forwards: peers::Forwards,
    entrances: rooms::Entrances,
    /// Polling sessions for which something has come.
    news: Vec<SessionRef>,
    channels: Channels,
    /// Channels with something to send to members that have not seen it.
    walking: Vec<ChannelKey>,
    /// Told when there is one more.
    pub(super) walks: Arc<Notify>,
    tickets: HashMap<u64, deliver::Ticket, foldhash::fast::RandomState>,
    /// Connections of sessions that have ended, until their tasks fetch them.
    ended: HashMap<SessionRef, ending::Ended, foldhash::fast::RandomState>,
    /// Connections whose last bytes are on their way.
    closing: usize,
    /// Sessions that end as soon as nobody walks the table.
    doomed: Vec<(SessionRef, Close)>,
    timers: Timers,
    commands: endpoints::Commands,
    buffer: Vec<u8>,
}

impl Hub {
    /// An empty hub.
    pub(super) fn new(
        me: Me,
        (config, revision): (Arc<Config>, u64),
        uplink: LinkSender,
        board: Board,
    ) -> Self {
        let channels = Channels::new(settings::channels(&config));
        let state = State {
            rules: config.price.rules(),
            gate: Arc::new(Gate::new(&config)),
            revision,
            me,
            uplink,
            phase: Phase::Serving,
            ending: CancellationToken::new(),
            counters: Counters::default(),
            prices: Prices::new(&config.price, &channels),
            requests: Requests::default(),
            charts: Charts::default(),
            board,
            arriving: 0,
            sessions: Sessions::default(),
            suspended: suspend::Suspended::default(),
            tight: false,
            takes: arrive::Takes::default(),
            forwards: peers::Forwards::default(),
            entrances: rooms::Entrances::default(),
            news: Vec::new(),
            channels,
            walking: Vec::new(),
            walks: Arc::default(),
            tickets: HashMap::default(),
            ended: HashMap::default(),
            closing: 0,
            doomed: Vec::new(),
            timers: Timers::new(clock::mono()),
            commands: endpoints::Commands::default(),
            buffer: vec![0; READ],
            config,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The hub itself, for as long as no `await` comes between.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|_| poisoned())
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.lock().config.clone()
    }
}

/// Ends the process: somebody panicked while all sessions were in its hands, and has left them half changed. Nothing may
/// run on that, not even what is dropped on the way out.
fn poisoned() -> ! {
    tracing::error!(event = "hub-poisoned", "a panic has left the sessions half changed: this worker ends");
    std::process::exit(1)
}

impl State {
    /// The sign of life that the master gets each second.
    pub(super) fn beat(&mut self) -> Beat {
        let usage = crate::os::process::usage();
        self.counters.cpu_us = usage.cpu_us;
        self.counters.rss = usage.rss;
        self.counters.suspended = self.sessions.away() as u64;
        let kept = self.sessions.iter().filter_map(|(_, session)| session.replay.as_ref());
        self.tight = kept.map(crate::session::Replay::bytes).sum::<usize>() > KEPT;
        let watchers = self.channels.find("stats").map_or(0, |c| self.channels.get(c).members());
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Beat {
            sessions: short(self.population()),
            digest: self.sessions.digest(),
            users: short(self.sessions.users()),
            stats_watchers: short(watchers),
            counters: self.counters.clone(),
        }
    }

    /// Says something to the master. A link that is full or gone is the master's matter: it will kill us, or is dead.
    fn tell(&self, message: &ToMaster<'_>) {
        if let Err(error) = self.uplink.send(message) {
            tracing::debug!(%error, "the master did not hear");
        }
    }

    /// A connection has come.
    pub(super) fn connected(&mut self) {
        self.counters.connections += 1;
        self.arriving += 1;
        self.note();
    }

    /// It has asked something: it is no newcomer any more.
    pub(super) fn arrived(&mut self) {
        self.arriving -= 1;
        self.note();
    }

    /// A connection has gone, or has become a session.
    pub(super) fn disconnected(&mut self) {
        self.counters.connections -= 1;
    }

    /// A task of a client panicked outside of the hub: only that client is touched.
    pub(super) fn panicked(&mut self, task: &'static str) {
        self.counters.panics += 1;
        tracing::error!(event = "panic", worker = self.me.slot, task, "a client's task panicked");
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, status: u16) {
        self.counters.count_http(status);
    }

    /// How many sessions there are, those in their handshake among them.
    pub(super) fn population(&self) -> usize {
        self.sessions.population()
    }

    /// Whether no session waits for its client.
    pub(super) fn nobody_waits(&self) -> bool {
        self.sessions.away() == 0
    }

    /// What counts for evenness: sessions, and connections that may become some.
    pub(super) fn occupancy(&self) -> u32 {
        u32::try_from(self.population()).unwrap_or(u32::MAX).saturating_add(self.arriving)
    }

    /// Tells the other workers; one that accepts no more is no example to them.
    pub(super) fn note(&self) {
        if matches!(self.phase, Phase::Serving | Phase::Unready) {
            self.board.set(self.me.slot, Some(self.occupancy()));
        }
    }
}

#[cfg(test)]
mod tests;
