//! The master: its parts, and what happens to all of them in each turn of the loop.

use super::announcer::Announcer;
use super::certificates::Tls;
use super::children::Children;
use super::directory::Directory;
use super::event::Event;
use super::feed::Feed;
use super::handovers::Handovers;
use super::in_force::InForce;
use super::journal::Journal;
use super::key_set::Keys;
use super::moves::{Moves, Waiter};
use super::orphans::Orphans;
use super::past::Renewal;
use super::placing::Placing;
use super::refusals::Refusals;
use super::revocations;
use super::roles::Keeper;
use super::rooms::Rooms;
use super::router::Router;
use super::service::Service;
use super::upgrades::Upgrades;
use crate::model::Mono;
use crate::os::board::Board;
use crate::os::clock;
use crate::os::memory::Spare;
use crate::os::notify::Notification;
use crate::protocol::cluster::{Door, Port, ToWorker};
use crate::protocol::line::Line;
use crate::stats::{Ledger, When};
use crate::supervisor::{Fleet, Spawner, State};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::mpsc;

/// The longest wait for the last words of a dead child.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// All that the master knows. Each part decides for itself and keeps its fields to itself; the master carries what
/// one part has decided to the others, to the children and to systemd. Adding a part: `put_in_force` in `reload.rs`
/// must say what it does with another configuration.
pub(super) struct Master {
    /// The configuration in force and its sockets; reloads.
    pub(super) in_force: InForce,
    /// Processes: running, starting, draining, wanted.
    pub(super) fleet: Fleet,
    /// Links of the processes.
    pub(super) children: Children,
    /// All sessions, their users and workers.
    pub(super) directory: Directory,
    /// Sessions on their way from worker to worker.
    pub(super) moves: Moves<Waiter>,
    /// Which sessions are to be where.
    pub(super) placing: Placing,
    /// Workers that have died, and whose sessions go on elsewhere.
    pub(super) orphans: Orphans,
    /// Orders on their way.
    pub(super) router: Router,
    /// Log lines about refused sessions.
    pub(super) refusals: Refusals,
    pub(super) rooms: Rooms,
    /// The moments of messages that nobody asked for.
    pub(super) announcer: Announcer,
    /// Newest prices, candles and lines.
    pub(super) feed: Feed,
    /// Changes of the process of sessions: those under way, and the last ones.
    pub(super) handovers: Handovers,
    /// Counters of all processes.
    pub(super) ledger: Ledger,
    /// The moments of the `stats` message.
    pub(super) when: When,
    /// The life of the daemon as systemd sees it.
    pub(super) service: Service,
    /// Connections of each worker, shared with the workers.
    pub(super) board: Board,
    /// When the allocator gives memory back.
    pub(super) spare: Spare,
    /// The keeper; its process id is the daemon's for everybody outside.
    pub(super) keeper: Keeper,
    /// The way to the keeper.
    pub(super) line: Line,
    /// Starts and ends of processes.
    pub(super) spawner: Spawner,
    /// Another program that takes over, and sessions that are taken over.
    pub(super) upgrades: Upgrades<OwnedFd>,
    /// Certificates in force, and the secrets of session tickets.
    pub(super) tls: Tls,
    /// Tokens that are refused although they are good.
    pub(super) revocations: revocations::Kept,
    /// Keys that the feeder fetches.
    pub(super) keys: Keys,
    /// What the next master goes on with.
    pub(super) journal: Journal,
    /// The first moments after another master.
    pub(super) renewal: Renewal,
    /// For tasks that tell the loop.
    pub(super) events: mpsc::Sender<Event>,
}

impl Master {
    pub(super) fn notify(&self, notice: Option<Notification>) {
        if let Some(notice) = notice {
            self.line.notify(&notice);
        }
    }

    /// Does what is due. After every event, and whenever the supervisor or the router has something due.
    pub(super) fn tick(&mut self, now: Mono) {
        self.children.turn(now);
        self.router.expire(now, &mut self.children);
        let actions = self.fleet.tick(now);
        self.act(actions);
        self.look_after_tls(now);
        self.look_at_gate(now);
        if !self.renewal.gate.is_open() {
            // Not all sessions are known: nobody is told how many there are, and nobody adopts any.
            return;
        }
        self.settle_estates(now);
        self.look_after_orphans(now);
        self.tick_upgrade(now);
        if self.upgrades.is_unpacking() {
            return;
        }
        self.send_stats(now);
        self.announce(now);
        self.tell_presence(now);
    }

    /// Does what is due each second.
    pub(super) fn pulse(&mut self, now: Mono) {
        crate::log::tell_left_out();
        self.router.tidy(now);
        self.rooms.tidy();
        self.directory.tidy(now);
        self.spare.tidy(now, crate::os::process::usage().rss);
        self.feed.look(now, clock::boot()).iter().for_each(super::feed::News::log);
        self.tidy_revocations();
        self.clear_board();
        self.note_fleet();
        self.note_dropped();
        self.note_own();
        self.place(now);
        self.tell_status();
        let limit = self.in_force.config().cluster.worker_timeout;
        self.line.beat(limit, self.service.is_of_use(limit, now));
    }

    /// The latest moment at which the loop must wake.
    pub(super) fn next_deadline(&mut self, now: Mono) -> Mono {
        let second = now.after(Duration::from_secs(1));
        let router = self.router.next_deadline().unwrap_or(second);
        let told = match self.renewal.gate.next() {
            Some(opens) => opens,
            None => {
                let patience = self.in_force.config().cluster.start_timeout;
                let orphans = self.orphans.next_deadline(patience).unwrap_or(second);
                self.when.next(now).min(self.next_announcement()).min(self.next_presence()).min(orphans)
            }
        };
        let upgrade = self.upgrades.next_deadline().unwrap_or(second);
        let tls = self.tls.due().unwrap_or(second);
        self.fleet.next_deadline().min(tls).min(router).min(told).min(upgrade).min(second)
    }

    /// Begins the end.
    pub(super) fn stop(&mut self) {
        let again = self.service.is_stopping();
        let config = self.in_force.config();
        let (now, delay, grace) = (clock::mono(), config.shutdown.delay, config.shutdown.grace);
        let notice = self.service.stop(delay + grace + config.cluster.kill_timeout + LAST_WORDS * 4);
        self.notify(Some(notice));
        self.note_life();
        if !again {
            self.stop_reloads();
        }
        if !again && !delay.is_zero() {
            tracing::info!(event = "unready", ?delay);
            self.children.tell_workers(&ToWorker::Unready);
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // The loop has ended before.
                let _ = events.send(Event::StopNow).await;
            });
            return;
        }
        tracing::info!(event = "shutdown", ?grace);
        let actions = self.fleet.stop(now, grace);
        self.act(actions);
    }

    /// Writes to the log where the daemon listens.
    pub(super) fn log_listening(&self) {
        for door in Door::ALL {
            for address in self.in_force.addresses(door) {
                tracing::info!(event = "listening", port = ?door.port, tls = door.tls.then_some(true), address);
            }
        }
    }

    /// Tells the keeper that this program serves: with all sessions that it takes over.
    pub(super) fn tell_serving(&self) {
        if self.service.is_ready() && !self.upgrades.is_unpacking() {
            self.line.serving();
        }
    }

    /// Says once that the daemon serves, when every worker that will be there is there: to systemd, and to whoever
    /// reads the log.
    pub(super) fn tell_when_all_ready(&mut self) {
        let rows = self.fleet.rows();
        let mut workers = rows.iter().filter(|row| row.role.worker().is_some()).peekable();
        let pending = |state| matches!(state, State::Starting | State::Backoff);
        if workers.peek().is_none() || workers.any(|row| pending(row.state)) {
            return;
        }
        let notice = self.service.all_ready();
        self.tell_serving();
        let Some(notice) = notice else { return };
        self.notify(Some(notice));
        self.note_life();
        let first = |port| self.in_force.addresses(port).into_iter().next();
        let http = first(Port::Http).map(|a| format!("http://{a}")).unwrap_or_default();
        tracing::info!(
            event = "ready",
            page = http,
            websocket = first(Port::Ws),
            admin = first(Port::Admin),
            "open {http} in a browser; `btc-cluster ctl status` tells the rest"
        );
    }
}
