//! The master's state, and what the supervisor's decisions mean.

use super::children::{Child, Children};
use super::directory::Directory;
use super::life::Event;
use super::lines::Lines;
use super::peers::Present;
use super::reload::Reloads;
use super::rooms::Rooms;
use super::router::Router;
use crate::config::{Config, Loaded, Source, WorkerCount};
use crate::model::{Candles, Health, LogLimiter, Mono, Quote, Symbol};
use crate::net::kept::Kept;
use crate::net::listen::Listeners;
use crate::os::board::Board;
use crate::os::clock;
use crate::os::notify::Notifier;
use crate::protocol::cluster::{Generation, Port, Role, Slot, ToFeeder, ToWorker};
use crate::stats::{Ledger, When};
use crate::supervisor::{Action, Fleet, Spawned, spawn};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a dead child's last words may take to be heard.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// See the module. Everything the master knows.
pub(super) struct Master {
    pub(super) source: Source,
    pub(super) config: Arc<Config>,
    /// The configuration as its children get it.
    pub(super) config_json: Arc<str>,
    pub(super) loaded: Loaded,
    pub(super) revision: u64,
    pub(super) listeners: Arc<Listeners>,
    pub(super) kept: Kept,
    pub(super) board: Board,
    pub(super) fleet: Fleet,
    pub(super) children: Children,
    pub(super) directory: Directory,
    pub(super) router: Router,
    pub(super) rooms: Rooms,
    /// What was said of who is there.
    pub(super) present: Present,
    pub(super) ledger: Ledger,
    pub(super) when: When,
    /// When the last heartbeat of `/broadcast` was.
    pub(super) heartbeat: Mono,
    pub(super) prices: BTreeMap<Symbol, Quote>,
    /// The newest candles of each symbol, for newborn workers.
    pub(super) candles: BTreeMap<Symbol, Candles>,
    /// The newest line of each file and program that a stream carries, for newborn workers.
    pub(super) lines: Lines,
    /// Number of the last published price of each symbol.
    pub(super) numbers: BTreeMap<Symbol, u64>,
    /// What the log says of where prices come from: sources may take turns each second.
    pub(super) origins: BTreeMap<Symbol, LogLimiter<Origin>>,
    /// How old each symbol's price was found to be, and what the log says of it.
    pub(super) states: BTreeMap<Symbol, (Option<Health>, LogLimiter<Health>)>,
    /// Whether a real price has ever been served.
    pub(super) real_before: bool,
    /// The feeder's sources as JSON.
    pub(super) sources: Box<str>,
    /// Symbols for which the sources do not agree on a new price, and why.
    pub(super) refused: BTreeMap<Symbol, String>,
    pub(super) reloads: Reloads,
    pub(super) started: Mono,
    /// When a worker last said something.
    pub(super) heard: Mono,
    pub(super) started_wall: i64,
    pub(super) notifier: Notifier,
    pub(super) told_ready: bool,
    pub(super) stopping: bool,
    /// Set when the loop is to end.
    pub(super) over: Option<bool>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) status: String,
}

/// How many workers a configuration wants.
pub(super) fn workers(config: &Config) -> Slot {
    match config.cluster.workers {
        WorkerCount::Exactly(n) => n,
        WorkerCount::Auto => std::thread::available_parallelism()
            .ok()
            .and_then(|n| Slot::try_from(n.get()).ok())
            .map_or(1, |n| n.clamp(1, 256)),
    }
}

/// What the watchdog is fed by, beside the fact that the loop runs.
struct Life {
    ready: bool,
    stopping: bool,
    heard: Mono,
}

/// Source, pair, and whether it is made up.
pub(super) type Origin = (Arc<str>, Symbol, bool);

/// One line in the log for prices that come from elsewhere; `hushed` changes before it were not told.
fn tell_origin(symbol: &Symbol, (source, pair, mock): &Origin, hushed: u64) {
    let (source, pair) = (&**source, pair.as_str());
    if *mock {
        tracing::warn!(event = "price-source", %symbol, source, pair, hushed, "THIS PRICE IS MADE UP");
    } else {
        tracing::info!(event = "price-source", %symbol, source, pair, hushed);
    }
}

/// A master that serves and has not heard a word of any worker for `limit` is of no use, however alive its loop:
/// systemd may start it anew. While it starts or stops, systemd's other limits count.
fn feeds(life: Life, limit: Duration, now: Mono) -> bool {
    !life.ready || life.stopping || now.since(life.heard) <= limit
}

impl Master {
    /// Does what the supervisor wants.
    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { role, generation } => self.start(role, generation),
                Action::Drain { generation } => self.drain(generation),
                Action::Stop { generation } => self.stop_child(generation),
                Action::Kill { generation, why } => {
                    tracing::warn!(event = "child-killed", generation, ?why);
                    self.kill(generation);
                }
                Action::Died { role, pause, .. } => {
                    let (child, worker) = (role.as_str(), role.worker());
                    tracing::info!(event = "child-restart", child, worker, ?pause);
                }
                Action::GivenUp { role, .. } => {
                    let worker = role.worker().unwrap_or_default();
                    tracing::error!(
                        event = "worker-given-up",
                        worker,
                        "died too often; the others serve on; `btc-cluster ctl restart-worker {worker}` tries again"
                    );
                    self.tell_when_all_ready();
                }
                Action::AllFailed => {
                    tracing::error!(event = "all-workers-failed");
                    self.over = Some(false);
                }
                Action::ReplacementFailed { role, .. } => {
                    let (child, worker) = (role.as_str(), role.worker());
                    tracing::error!(event = "replacement-failed", child, worker, "the old process serves on");
                    self.candidate_failed();
                }
                Action::RollingDone => tracing::info!(event = "workers-replaced"),
                Action::Gone => self.over = Some(true),
            }
        }
    }

    pub(super) fn kill(&self, generation: Generation) {
        if let Some(child) = self.children.0.get(&generation) {
            crate::os::process::kill(child.pid, Signal::KILL);
        }
    }

    fn drain(&self, generation: Generation) {
        let within = self.config.cluster.drain;
        let _ = self.children.tell(generation, &ToWorker::Drain(within));
    }

    fn stop_child(&self, generation: Generation) {
        let Some(child) = self.children.0.get(&generation) else { return };
        let _ = match child.role {
            Role::Feeder => child.link.send(&ToFeeder::Stop),
            Role::Worker(_) => {
                // A little less than the daemon has itself, so that the last words are out in time.
                let within = self.config.shutdown.grace.mul_f64(0.9);
                child.link.send(&ToWorker::Stop(within))
            }
        };
    }

    fn start(&mut self, role: Role, generation: Generation) {
        let now = clock::mono();
        let (child, worker) = (role.as_str(), role.worker());
        match spawn(role) {
            Ok(spawned) => {
                let pid = spawned.pid;
                tracing::info!(event = "child-started", child, worker, pid, generation);
                self.settle_in(role, generation, spawned);
                let actions = self.fleet.started(now, generation, pid);
                self.act(actions);
            }
            Err(error) => {
                tracing::error!(event = "child-not-started", child, worker, %error);
                let actions = self.fleet.start_failed(now, generation);
                self.act(actions);
            }
        }
    }

    /// A process is there: its link is served, its exit awaited, and it is told what it must know.
    fn settle_in(&mut self, role: Role, generation: Generation, spawned: Spawned) {
        let Spawned { pid, sender, mut receiver, writer, exit } = spawned;
        let writing = tokio::spawn(writer.run());
        let events = self.events.clone();
        let hearing = tokio::spawn({
            let events = events.clone();
            async move {
                while let Ok(batch) = receiver.receive().await {
                    if events.send(Event::Heard(generation, batch)).await.is_err() {
                        return;
                    }
                }
            }
        });
        tokio::spawn(async move {
            let how = exit.await.to_string();
            // What it said before its end is heard before its end is told; but a program that it has left behind may
            // hold its end of the link open.
            let _ = tokio::time::timeout(LAST_WORDS, hearing).await;
            writing.abort();
            let _ = events.send(Event::Exited(generation, how)).await;
        });
        self.children.0.insert(generation, Child::new(role, sender, pid));
        self.ledger.born(generation, role, clock::mono());
        match role {
            Role::Feeder => {
                let json = self.config_json.clone();
                // What the one before said is not known of this one.
                self.refused(BTreeMap::new());
                self.tell_marks(generation);
                self.tell_feeder(generation, &json);
            }
            Role::Worker(slot) => {
                self.directory.worker_born(generation, slot);
                self.welcome(slot, generation);
            }
        }
    }

    fn welcome(&mut self, slot: Slot, generation: Generation) {
        let (listeners, json, revision) = self.for_newborn();
        let (mut ports, mut descriptors) = (Vec::new(), Vec::new());
        for (port, descriptor) in listeners.all() {
            match descriptor.try_clone() {
                Ok(copy) => {
                    ports.push(port);
                    descriptors.push(copy);
                }
                Err(error) => tracing::error!(event = "descriptor", %error),
            }
        }
        match self.board.descriptor().try_clone_to_owned() {
            Ok(copy) => descriptors.push(copy),
            Err(error) => tracing::error!(event = "descriptor", %error),
        }
        let quotes = self.prices.values().cloned().collect();
        let message =
            ToWorker::Welcome { slot, generation, revision, config: &json, listeners: ports, quotes };
        if let Some(child) = self.children.0.get(&generation)
            && let Err(error) = child.link.send_with(&message, descriptors)
        {
            tracing::error!(event = "welcome", %error);
        }
        if !self.refused.is_empty() {
            let _ = self.children.tell(generation, &ToWorker::Refused(self.refused.clone()));
        }
        for candles in self.candles.values() {
            let _ = self.children.tell(generation, &ToWorker::Candles(candles.clone()));
        }
        self.tell_lines(generation);
    }

    /// The feeder says for which symbols its sources do not agree.
    pub(super) fn refused(&mut self, refused: BTreeMap<Symbol, String>) {
        if refused != self.refused {
            self.refused = refused;
            self.children.tell_workers(&ToWorker::Refused(self.refused.clone()));
        }
    }

    /// Candles from the feeder.
    pub(super) fn candles(&mut self, candles: Candles) {
        self.children.tell_workers(&ToWorker::Candles(candles.clone()));
        self.candles.insert(candles.symbol.clone(), candles);
        self.candles.retain(|symbol, _| self.config.price.symbols.contains(symbol));
    }

    /// A price from the feeder: numbered, kept for newborn workers, and sent to all.
    pub(super) fn price(&mut self, mut quote: Quote) {
        let first = self.started_wall.unsigned_abs() / 100;
        let number = self.numbers.entry(quote.symbol.clone()).or_insert(first);
        *number += 1;
        quote.seq = *number;
        if !quote.mock {
            self.real_before = true;
        }
        let origin = |quote: &Quote| (quote.source.clone(), quote.pair.clone(), quote.mock);
        let new = origin(&quote);
        if self.prices.get(&quote.symbol).map(origin).as_ref() != Some(&new) {
            let limiter = self.origins.entry(quote.symbol.clone()).or_default();
            if let Some(hushed) = limiter.change(new.clone(), clock::mono()) {
                tell_origin(&quote.symbol, &new, hushed);
            }
        }
        self.children.tell_workers(&ToWorker::Quote(quote.clone()));
        self.prices.insert(quote.symbol.clone(), quote);
    }

    /// Each second, and whenever the supervisor or the router has something due.
    pub(super) fn tick(&mut self, now: Mono) {
        for (symbol, limiter) in &mut self.origins {
            if let Some((origin, hushed)) = limiter.wake(now) {
                tell_origin(symbol, &origin, hushed);
            }
        }
        self.router.expire(now, &mut self.children);
        let actions = self.fleet.tick(now);
        self.act(actions);
        self.send_stats(now);
        self.announce(now);
        self.tell_presence(now);
    }

    /// One line in the log when a price grows stale, is gone or is fresh again: the workers find it out by themselves.
    fn tell_states(&mut self, now: Mono) {
        let (rules, boot) = (self.config.price.rules(), clock::boot());
        for (symbol, quote) in &self.prices {
            let (state, known) = (quote.health(&rules, boot), self.states.entry(symbol.clone()).or_default());
            let (before, limiter) = known;
            let news = if before.replace(state).is_some_and(|before| before != state) {
                limiter.change(state, now).map(|hushed| (state, hushed))
            } else {
                limiter.wake(now)
            };
            let Some((state, hushed)) = news else { continue };
            let (price, source, age_s) = (quote.price, &*quote.source, quote.age(boot).as_secs());
            match state {
                Health::Fresh => {
                    tracing::info!(event = "price-fresh", %symbol, %price, source, age_s, hushed)
                }
                Health::Stale => {
                    tracing::warn!(event = "price-stale", %symbol, %price, source, age_s, hushed)
                }
                Health::Gone => tracing::error!(event = "price-gone", %symbol, %price, source, age_s, hushed),
            }
        }
    }

    /// Each second.
    pub(super) fn pulse(&mut self, now: Mono) {
        self.router.tidy(now);
        self.rooms.tidy();
        self.directory.tidy(now);
        self.tell_states(now);
        self.tell_status();
        let fleet = Life { ready: self.told_ready, stopping: self.stopping, heard: self.heard };
        if feeds(fleet, self.config.cluster.worker_timeout, now) {
            self.notifier.watchdog();
        }
    }

    /// When the loop must wake at the latest.
    pub(super) fn next_deadline(&mut self, now: Mono) -> Mono {
        let second = now.after(Duration::from_secs(1));
        let router = self.router.next_deadline().unwrap_or(second);
        let told = self.when.next(now).min(self.next_announcement()).min(self.next_presence());
        self.fleet.next_deadline().min(router).min(told).min(second)
    }

    /// Begins the end.
    pub(super) fn stop(&mut self) {
        let again = self.stopping;
        self.stopping = true;
        let (now, grace) = (clock::mono(), self.config.shutdown.grace);
        let delay = self.config.shutdown.delay;
        self.notifier.stopping(delay + grace + LAST_WORDS * 4);
        if !again && !delay.is_zero() {
            tracing::info!(event = "unready", ?delay);
            self.children.tell_workers(&ToWorker::Unready);
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = events.send(Event::StopNow).await;
            });
            return;
        }
        tracing::info!(event = "shutdown", ?grace);
        let actions = self.fleet.stop(now, grace);
        self.act(actions);
    }

    /// Where the daemon listens, in words.
    pub(super) fn addresses(&self, port: Port) -> Vec<String> {
        self.listeners.addresses(port).map(|address| address.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_until_no_worker_has_said_a_word_for_worker_timeout() {
        let (limit, heard) = (Duration::from_secs(5), Mono(1_000_000_000_000));
        let serving = |after| feeds(Life { ready: true, stopping: false, heard }, limit, heard.after(after));
        assert!(serving(Duration::ZERO) && serving(limit));
        assert!(!serving(limit + Duration::from_millis(1)));
        let late = heard.after(limit * 9);
        assert!(feeds(Life { ready: false, stopping: false, heard }, limit, late), "TimeoutStartSec= counts");
        assert!(feeds(Life { ready: true, stopping: true, heard }, limit, late), "TimeoutStopSec= counts");
    }
}
