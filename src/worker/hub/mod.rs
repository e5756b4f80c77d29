//! All sessions of this worker and everything that is sent to them, in one place behind one lock that is never held
//! across a wait. The process has one thread: the lock is never contended, it only satisfies the compiler.

mod arrive;
mod deliver;
mod ending;
mod endpoints;
mod entrances;
mod forwards;
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
mod suspended;
mod takes;
#[cfg(test)]
mod tests;
mod tickets;
mod timers;
mod walks;

pub(super) use crate::session::Framing;
pub(super) use arrive::{Arrival, Refused, arrive};
pub(super) use deliver::Push;
pub(super) use opening::{Greeting, Opening};
pub(super) use peers::poll_anywhere;
pub(super) use requests::Reply;
pub(super) use session::Request as SessionRequest;
pub(super) use timers::TICK;

use crate::access::Gate;
use crate::config::Config;
use crate::model::Rules;
use crate::os::board::Board;
use crate::os::clock;
use crate::protocol::client::Close;
use crate::protocol::cluster::{Beat, Counters, Generation, Slot, ToMaster};
use crate::protocol::link::LinkSender;
use crate::protocol::peer::Polled;
use crate::session::Channels;
use crate::worker::http::Charts;
use forwards::Forwards;
use hashbrown::HashMap;
use prices::Prices;
use requests::Requests;
use sessions::{SessionRef, Sessions};
use std::sync::{Arc, Mutex, MutexGuard};
use suspended::Suspended;
use takes::Takes;
use tickets::Tickets;
use timers::Timers;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use walks::Walks;

/// Bytes read at once, for all sessions together.
const READ: usize = 64 << 10;

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
    suspended: Suspended,
    takes: Takes<arrive::Waiting>,
    forwards: Forwards<oneshot::Sender<Polled>, AbortHandle>,
    entrances: entrances::Entrances,
    /// Polling sessions for which something has come.
    news: Vec<SessionRef>,
    channels: Channels,
    walks: Walks,
    tickets: Tickets,
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
            suspended: Suspended::default(),
            takes: Takes::default(),
            forwards: Forwards::default(),
            entrances: entrances::Entrances::default(),
            news: Vec::new(),
            channels,
            walks: Walks::default(),
            tickets: Tickets::default(),
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
        self.counters.suspended = self.suspended.len() as u64;
        let kept = self.sessions.iter().filter_map(|(_, session)| session.replay.as_ref());
        self.suspended.weigh(kept.map(crate::session::Replay::bytes).sum());
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

    /// Rings when a channel has something to send: then [`State::walk_on`].
    pub(super) fn bell(&self) -> Arc<Notify> {
        self.walks.bell()
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
        self.suspended.len() == 0
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
