//! The hub's state, made of parts with rules of their own, and the lock around it.

use super::parts::absent::Absent;
use super::parts::announced::Waiting;
use super::parts::charts::Charts;
use super::parts::commands::Commands;
use super::parts::connections::Connections;
use super::parts::crowd::Crowd;
use super::parts::entrances::Entrances;
use super::parts::forwards::Forwards;
use super::parts::later::Later;
use super::parts::lives::Lives;
use super::parts::moving::Moving;
use super::parts::notices::Notices;
use super::parts::policy::Policy;
use super::parts::prices::Prices;
use super::parts::requests::Requests;
use super::parts::session::Link;
use super::parts::sessions::Sessions;
use super::parts::silent::Silent;
use super::parts::survival::Survival;
use super::parts::suspended::Suspended;
use super::parts::takes::Takes;
use super::parts::tickets::Tickets;
use super::parts::timers::Timers;
use super::parts::unpacking::Unpacking;
use super::parts::uplink::Uplink;
use super::parts::walks::Walks;
use crate::config::Config;
use crate::os::board::Board;
use crate::os::memory::Spare;
use crate::protocol::cluster::{Beat, Counters, Generation, Slot};
use crate::protocol::peer::Polled;
use crate::session::Channels;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Bytes read at once, for all sessions together.
pub(super) const READ: usize = 64 << 10;

/// The worker's identity.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Me {
    pub(in crate::worker) slot: Slot,
    pub(in crate::worker) generation: Generation,
    pub(in crate::worker) pid: u32,
}

/// How the worker treats newcomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Phase {
    /// Newcomers are welcome.
    Serving,
    /// Newcomers are welcome, but balancers are told to send no more.
    Unready,
    /// An operator has drained the worker: it accepts nobody.
    Aside,
    /// The worker is replaced: clients that got in before are served, and sent to the others.
    Draining,
    /// Newcomers are refused: the daemon stops.
    Stopping,
}

/// A handle to the worker's one hub.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Hub(pub(super) Arc<Mutex<State>>);

/// The parts of a worker, each with its own rules. The hub tells them what happens, and carries out what they say.
#[derive(Debug)]
pub(in crate::worker) struct State {
    /// The worker's name in tokens, in the log, on the board.
    pub(in crate::worker) me: Me,
    /// Whether newcomers are welcome.
    pub(in crate::worker) phase: Phase,
    /// The configuration in force.
    pub(in crate::worker) config: Policy,
    /// The only way to the master.
    pub(in crate::worker) uplink: Uplink,
    /// Counters that the master adds up over all workers.
    pub(in crate::worker) counters: Counters,
    /// How full each worker is: this one tells its place there, and looks at the others before it accepts.
    pub(in crate::worker) board: Board,
    /// Connections that are no sessions, for which a worker that ends has to wait.
    pub(in crate::worker) connections: Connections,
    /// All connections by address, and which of them end for newcomers.
    pub(in crate::worker) crowd: Crowd,
    /// Log lines about those who are turned away.
    pub(super) notices: Notices,
    pub(super) sessions: Sessions,
    /// Polling sessions between two polls.
    pub(super) absent: Absent,
    /// Sessions whose clients have said nothing yet.
    pub(super) silent: Silent,
    /// The order of suspended sessions, the copies given out, and how others ended.
    pub(super) suspended: Suspended,
    /// Sessions of other workers that were asked for.
    pub(super) takes: Takes<Waiting>,
    /// Polls on their way from and to other workers.
    pub(super) forwards: Forwards<oneshot::Sender<Option<Polled>>, AbortHandle>,
    /// Sessions on their way to other workers and from them.
    pub(super) moving: Moving,
    /// Subscriptions that wait until the master lets a session into a room.
    pub(super) entrances: Entrances,
    /// Questions to the master that wait for its answer.
    pub(in crate::worker) requests: Requests,
    pub(super) channels: Channels,
    /// Channels with something to send.
    pub(in crate::worker) walks: Walks,
    /// Sessions to end or to answer once nobody walks.
    pub(super) later: Later,
    /// Orders to deliver that still wait for a session.
    pub(super) tickets: Tickets,
    /// The newest prices, and what makes them too old.
    pub(in crate::worker) prices: Prices,
    /// Answers to requests for candles, shared.
    pub(in crate::worker) charts: Charts,
    /// Sessions that come from processes that are no more.
    pub(in crate::worker) unpacking: Unpacking,
    /// When tokens of sessions end.
    pub(super) lives: Lives,
    /// Deadlines of all sessions, on one wheel.
    pub(super) timers: Timers,
    /// Limits that the sessions of `/command` share: log lines and delayed answers.
    pub(super) commands: Commands,
    /// Cells of sessions that survive this process, and sessions of processes that did not.
    pub(super) survival: Survival,
    /// When the allocator gives memory back.
    pub(super) spare: Spare,
    /// Bytes just read: one buffer for all sessions, which keeps an idle one small.
    pub(super) buffer: Vec<u8>,
}

impl Hub {
    /// The hub itself, for as long as no `await` comes between.
    pub(in crate::worker) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|_| poisoned())
    }

    /// The configuration in force.
    pub(in crate::worker) fn config(&self) -> Arc<Config> {
        self.lock().config.whole()
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
    pub(in crate::worker) fn beat(&mut self) -> Beat {
        let usage = crate::os::process::usage();
        self.counters.cpu_us = usage.cpu_us;
        self.counters.rss = usage.rss;
        self.counters.suspended = self.suspended.len() as u64;
        self.counters.suspended_bytes = self.suspended.bytes() as u64;
        self.tidy(usage.rss);
        self.tidy_revocations();
        let kept = self.sessions.iter().filter_map(|(_, session)| session.replay.as_ref());
        self.suspended.weigh(kept.map(crate::session::Replay::bytes).sum());
        let (mut wires, mut bound) = (0, 0);
        for (_, session) in self.sessions.iter().filter(|(_, session)| matches!(session.link, Link::Wire(_)))
        {
            (wires, bound) = (wires + 1, bound + u64::from(session.is_secured()));
        }
        self.counters.covered = self.survival.covered();
        self.counters.uncovered = u64::saturating_sub(wires, self.counters.covered);
        self.counters.bound = bound;
        let watchers = self.channels.find("stats").map_or(0, |c| self.channels.get(c).members());
        let (expected, digest) = self.survival.expected();
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Beat {
            sessions: short(self.sessions.announced() + self.moving.expected.present() + expected),
            digest: self.sessions.digest() ^ self.moving.expected.digest() ^ digest,
            kept: self.suspended.kept(),
            aside: self.phase == Phase::Aside,
            users: short(self.sessions.users()),
            stats_watchers: short(watchers),
            counters: self.counters.clone(),
        }
    }

    /// Gives memory back after a peak.
    fn tidy(&mut self, resident: u64) {
        self.sessions.tidy();
        self.suspended.tidy();
        self.takes.tidy();
        self.forwards.tidy();
        self.entrances.tidy();
        self.requests.tidy();
        self.tickets.tidy();
        self.lives.tidy();
        self.connections.tidy();
        self.spare.tidy(crate::os::clock::mono(), resident);
    }

    /// A connection has asked for something: it is no newcomer any more.
    pub(in crate::worker) fn arrived(&mut self) {
        self.connections.asked();
        self.note();
    }

    /// A task of a client panicked outside of the hub: only that client is touched.
    pub(in crate::worker) fn panicked(&mut self, task: &'static str) {
        self.counters.panics += 1;
        tracing::error!(event = "panic", worker = self.me.slot, task, "a client's task panicked");
    }

    /// How many sessions there are, those in their handshake among them.
    pub(in crate::worker) fn population(&self) -> usize {
        self.sessions.population()
    }

    /// Whether no session waits for its client.
    pub(in crate::worker) fn nobody_waits(&self) -> bool {
        self.suspended.len() == 0
    }

    /// The count for evenness: sessions, and connections that may become sessions.
    pub(in crate::worker) fn occupancy(&self) -> u32 {
        let sessions = self.population() + self.moving.expected.present();
        u32::try_from(sessions).unwrap_or(u32::MAX).saturating_add(self.connections.arriving())
    }

    /// An operator drains the worker, or takes it back. Others would wait for it while it is on the board.
    pub(in crate::worker) fn rest(&mut self, rests: bool) {
        self.phase = match self.phase {
            Phase::Serving | Phase::Aside if rests => Phase::Aside,
            Phase::Aside => Phase::Serving,
            other => other,
        };
        if self.phase == Phase::Aside {
            self.board.set(self.me.slot, None);
        }
        self.note();
    }

    /// Tells the other workers the occupancy. A worker that accepts no more must not attract or hold back others.
    pub(in crate::worker) fn note(&self) {
        if matches!(self.phase, Phase::Serving | Phase::Unready) {
            self.board.set(self.me.slot, Some(self.occupancy()));
        }
    }
}
