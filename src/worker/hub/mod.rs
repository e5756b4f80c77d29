//! All sessions of this worker and everything that is sent to them, in one place behind one lock that is never held
//! across a wait. The process has one thread: the lock is never contended, it only satisfies the compiler.

mod arrive;
mod charts;
mod connections;
mod deliver;
mod ending;
mod endpoints;
mod entrances;
mod forwards;
mod inbound;
mod opening;
mod peers;
mod poll;
mod polling;
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
pub(super) use charts::Wanted;
pub(super) use deliver::Push;
pub(super) use opening::{Greeting, Opening};
pub(super) use peers::poll_anywhere;
pub(super) use requests::Reply;
pub(super) use session::Request as SessionRequest;
pub(super) use timers::TICK;

use crate::access::Gate;
use crate::config::Config;
use crate::os::board::Board;
use crate::os::clock;
use crate::protocol::cluster::{Beat, Counters, Generation, Slot, ToMaster};
use crate::protocol::link::LinkSender;
use crate::protocol::peer::Polled;
use crate::session::Channels;
use charts::Charts;
use connections::Connections;
use ending::Later;
use entrances::Entrances;
use forwards::Forwards;
use prices::Prices;
use requests::Requests;
use sessions::Sessions;
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

/// The worker's identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me {
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) pid: u32,
}

/// How the worker treats newcomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Newcomers are welcome.
    Serving,
    /// Newcomers are welcome, but balancers are told to send no more.
    Unready,
    /// The worker is replaced: clients that got in before are served, and sent to the others.
    Draining,
    /// Newcomers are refused: the daemon stops.
    Stopping,
}

/// A handle to the worker's one hub.
#[derive(Clone, Debug)]
pub(super) struct Hub(Arc<Mutex<State>>);

/// The parts of a worker, each with its own rules. The hub tells them what happens, and carries out what they say.
#[derive(Debug)]
pub(super) struct State {
    /// The worker's name in tokens, in the log, on the board.
    pub(super) me: Me,
    /// Whether newcomers are welcome.
    pub(super) phase: Phase,
    /// The configuration in force, whole: every part is told what it needs.
    pub(super) config: Arc<Config>,
    /// Admits hosts and origins; made of the configuration.
    pub(super) gate: Arc<Gate>,
    /// The only way to the master.
    pub(super) uplink: LinkSender,
    /// Counters that the master adds up over all workers.
    pub(super) counters: Counters,
    /// How full each worker is: this one tells its place there, and looks at the others before it accepts.
    pub(super) board: Board,
    /// Connections that are no sessions, for which a worker that ends has to wait.
    connections: Connections,
    sessions: Sessions,
    /// The order of suspended sessions, the copies given out, and how others ended.
    suspended: Suspended,
    /// Sessions of other workers that were asked for.
    takes: Takes<arrive::Waiting>,
    /// Polls on their way from and to other workers.
    forwards: Forwards<oneshot::Sender<Polled>, AbortHandle>,
    /// Subscriptions that wait until the master lets a session into a room.
    entrances: Entrances,
    /// Questions to the master that wait for its answer.
    pub(super) requests: Requests,
    channels: Channels,
    /// Channels with something to send.
    walks: Walks,
    /// Sessions to end or to answer once nobody walks.
    later: Later,
    /// Orders to deliver that still wait for a session.
    tickets: Tickets,
    /// The newest prices, and what makes them too old.
    pub(super) prices: Prices,
    /// Answers to requests for candles, shared.
    pub(super) charts: Charts,
    /// Deadlines of all sessions, on one wheel.
    timers: Timers,
    /// Limits that the sessions of `/command` share: log lines and delayed answers.
    commands: endpoints::Commands,
    /// Bytes just read: one buffer for all sessions, which keeps an idle one small.
    buffer: Vec<u8>,
}

impl Hub {
    /// An empty hub.
    pub(super) fn new(me: Me, config: Arc<Config>, uplink: LinkSender, board: Board) -> Self {
        let channels = Channels::new(settings::channels(&config));
        let state = State {
            me,
            phase: Phase::Serving,
            gate: Arc::new(Gate::new(&config)),
            uplink,
            counters: Counters::default(),
            board,
            connections: Connections::default(),
            sessions: Sessions::default(),
            suspended: Suspended::default(),
            takes: Takes::default(),
            forwards: Forwards::default(),
            entrances: Entrances::default(),
            requests: Requests::default(),
            prices: Prices::new(&config.price, &channels),
            channels,
            walks: Walks::default(),
            later: Later::default(),
            tickets: Tickets::default(),
            charts: Charts::default(),
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

/// Ends the process: a panic while the hub was locked has left the sessions half changed. Nothing may run on that, not
/// even destructors on the way out.
#[expect(
    clippy::disallowed_methods,
    reason = "the way to main() leads through destructors, which would run on half changed sessions"
)]
fn poisoned() -> ! {
    tracing::error!(event = "hub-poisoned", "a panic has left the sessions half changed: this worker ends");
    std::process::exit(1)
}

impl State {
    /// Makes the sign of life that the master gets each second.
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

    /// Says something to the master. The master kills a worker whose link stays full.
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
        self.connections.came();
        self.note();
    }

    /// A connection has asked for something: it is no newcomer any more.
    pub(super) fn arrived(&mut self) {
        self.connections.asked();
        self.note();
    }

    /// Cancelled when connections shall end after the request that they are at.
    pub(super) fn ending(&self) -> CancellationToken {
        self.connections.ending()
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

    /// The count for evenness: sessions, and connections that may become sessions.
    pub(super) fn occupancy(&self) -> u32 {
        u32::try_from(self.population()).unwrap_or(u32::MAX).saturating_add(self.connections.arriving())
    }

    /// Tells the other workers the occupancy. A worker that accepts no more must not attract or hold back others.
    pub(super) fn note(&self) {
        if matches!(self.phase, Phase::Serving | Phase::Unready) {
            self.board.set(self.me.slot, Some(self.occupancy()));
        }
    }
}
