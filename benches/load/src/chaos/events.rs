//! Events: each is done to the daemon, waited for, and then held against its promise.

use super::daemon::{Daemon, Role, is_gone, signal, usage};
use super::kind::{Class, Kind};
use super::limit;
use super::verdict::Row;
use super::world::World;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest time until everything is ready again.
const READY: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Before a death: what was under way then may have been caught.
const BEFORE: u32 = 50;
/// After it: this tool may see it late.
const AFTER: u32 = 10;
/// Milliseconds between two deaths of one event, at most.
const APART: u64 = 300;
/// Sessions that one `move` event moves.
const MOVES: usize = 10;

/// Does events to a daemon.
pub(crate) struct Actor<'a> {
    pub(crate) world: Arc<World>,
    pub(crate) daemon: &'a Daemon,
    /// Workers, as configured at first.
    pub(crate) workers: u16,
    /// As configured now.
    pub(crate) now: u16,
    /// What to upgrade to; `None`: a copy of the binary.
    pub(crate) upgrade: Option<String>,
    /// Time after each event in which its consequences are noticed.
    pub(crate) settle: Duration,
}

/// What was done.
#[derive(Default)]
struct Done {
    detail: String,
    /// Processes that must end.
    old: Vec<u32>,
    /// Clients of a dying worker that have something under way, and when that was seen.
    dying: Option<(u32, BTreeSet<u32>)>,
    /// It cannot be done here.
    skipped: Option<String>,
}

impl Actor<'_> {
    /// Returns the event's row, and its dirty clients; what was noticed is filled in later.
    pub(crate) async fn act(&mut self, kind: Kind) -> (Row, BTreeSet<u32>) {
        let mut row = Row::new(kind);
        if !self.until_ready(&[], &[]).await {
            row.failed = Some("not ready before it".to_owned());
        }
        row.connected = self.world.connected();
        self.world.next_epoch();
        row.second = self.world.start.elapsed().as_secs_f64();
        let begun = Instant::now();
        let (feeders, masters) = (self.daemon.pids(Role::Feeder), self.daemon.pids(Role::Master));
        let done = match self.carry_out(kind).await {
            Ok(done) => done,
            Err(error) => {
                row.failed = Some(error);
                Done::default()
            }
        };
        row.detail.clone_from(&done.detail);
        row.skipped.clone_from(&done.skipped);
        let ends: &[u32] = match kind {
            Kind::KillFeeder | Kind::StopFeeder => &feeders,
            Kind::KillMaster | Kind::StopMaster => &masters,
            Kind::KillBoth | Kind::StopBoth => &[feeders, masters].concat(),
            _ => &[],
        };
        if self.until_ready(&done.old, ends).await {
            row.took_ms = u32::try_from(begun.elapsed().as_millis()).ok();
        } else if self.daemon.is_dead() {
            row.failed = Some("the daemon has ended".to_owned());
        }
        sleep(self.settle).await;
        let mut dirty = BTreeSet::new();
        if let Some((seen, busy)) = done.dying {
            dirty = busy;
            dirty.extend(self.world.active_within(seen.saturating_sub(BEFORE), seen + AFTER));
        }
        (row.rss_bytes, row.descriptors) = usage(self.daemon.main);
        (row, dirty)
    }

    /// Waits until the old processes have gone and the daemon serves; `false`: it does not, or has ended.
    async fn until_ready(&self, old: &[u32], ends: &[u32]) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY && !self.daemon.is_dead() {
            if old.iter().chain(ends).all(|pid| is_gone(*pid)) && self.daemon.is_ready(self.now.into()).await
            {
                return true;
            }
            sleep(LOOK).await;
        }
        false
    }

    async fn carry_out(&mut self, kind: Kind) -> Result<Done, String> {
        if kind.class() == Class::Worker {
            return self.kill_worker(kind).await;
        }
        match kind {
            Kind::Usr2 => {
                let old = self.daemon.pids(Role::Worker);
                signal(self.daemon.main, Signal::USR2)?;
                Ok(Done { old, ..Done::default() })
            }
            Kind::ReloadWorkers => self.reload_workers().await,
            Kind::RestartWorker => {
                let (id, pid) = self.worker().await?;
                self.daemon.ctl(&["restart-worker", &id.to_string()]).await?;
                Ok(Done { detail: format!("worker {id}"), old: vec![pid], ..Done::default() })
            }
            Kind::Move => self.move_some().await,
            Kind::Drain => self.drain().await,
            Kind::Rebalance => {
                self.daemon.ctl(&["rebalance"]).await?;
                Ok(Done::default())
            }
            Kind::Upgrade => {
                let old = self.daemon.pids(Role::Worker);
                let copy = || self.daemon.copy().map(|path| path.to_string_lossy().into_owned());
                let path = self.upgrade.clone().map_or_else(copy, Ok).map_err(|error| error.to_string())?;
                self.daemon.ctl(&["upgrade", &path]).await?;
                Ok(Done { detail: path, old, ..Done::default() })
            }
            Kind::KillMaster => self.end(&[Role::Master], Signal::KILL),
            Kind::StopMaster => self.end(&[Role::Master], Signal::STOP),
            Kind::KillFeeder => self.end(&[Role::Feeder], Signal::KILL),
            Kind::StopFeeder => self.end(&[Role::Feeder], Signal::STOP),
            Kind::KillBoth => self.end(&[Role::Master, Role::Feeder], Signal::KILL),
            Kind::StopBoth => self.end(&[Role::Master, Role::Feeder], Signal::STOP),
            _ => Ok(Done::default()),
        }
    }

    fn end(&self, roles: &[Role], how: Signal) -> Result<Done, String> {
        let old: Vec<u32> = roles.iter().flat_map(|role| self.daemon.pids(*role)).collect();
        if old.is_empty() {
            return Err(format!("no {roles:?}"));
        }
        old.iter().try_for_each(|pid| signal(*pid, how))?;
        Ok(Done { detail: format!("{old:?}"), old, ..Done::default() })
    }

    async fn kill_worker(&self, kind: Kind) -> Result<Done, String> {
        let workers = self.daemon.pids(Role::Worker);
        let pid = *workers.get(fastrand::usize(0..workers.len().max(1))).ok_or("no worker")?;
        let look = || {
            let now = self.world.now();
            (now, self.world.under_way(pid, now))
        };
        let pause = Duration::from_millis(fastrand::u64(0..=APART));
        if kind == Kind::KillMasterWorker {
            self.end(&[Role::Master], Signal::KILL)?;
            sleep(pause).await;
        }
        let mut seen = look();
        match kind {
            Kind::KillMasterWorker => signal(pid, Signal::KILL)?,
            Kind::KillWorkerMaster => {
                signal(pid, Signal::KILL)?;
                sleep(pause).await;
                self.end(&[Role::Master], Signal::KILL)?;
            }
            Kind::KillWorker => signal(pid, Signal::KILL)?,
            Kind::StopWorker => signal(pid, Signal::STOP)?,
            Kind::SegvWorker => {
                // The first one may be taken for a stack that is full, and two that come before the process runs are
                // one.
                signal(pid, Signal::SEGV)?;
                let begun = Instant::now();
                while !is_gone(pid) && begun.elapsed() < READY {
                    sleep(Duration::from_millis(2)).await;
                    let _ = signal(pid, Signal::SEGV);
                }
            }
            _ => {
                if let Err(error) = limit::out_of_memory(pid) {
                    return Ok(Done { skipped: Some(error), ..Done::default() });
                }
                // It dies when it needs a page.
                let begun = Instant::now();
                while !is_gone(pid) && begun.elapsed() < READY {
                    seen = look();
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        Ok(Done { detail: format!("{pid}"), old: vec![pid], dying: Some(seen), skipped: None })
    }

    /// A worker of this moment: slot and process.
    async fn worker(&self) -> Result<(u32, u32), String> {
        let stats = self.daemon.stats().await.ok_or("no statistics")?;
        let ready: Vec<_> =
            stats.workers.iter().filter_map(|worker| Some((worker.id, worker.pid?))).collect();
        ready.get(fastrand::usize(0..ready.len().max(1))).copied().ok_or_else(|| "no worker".to_owned())
    }

    /// A drained worker has no sessions, and serves again when it is restarted.
    async fn drain(&self) -> Result<Done, String> {
        let (id, pid) = self.worker().await?;
        self.daemon.ctl(&["drain", &id.to_string()]).await?;
        let begun = Instant::now();
        loop {
            let stats = self.daemon.stats().await.unwrap_or_default();
            let left = stats.workers.iter().find(|worker| worker.pid == Some(pid)).map(|own| own.sessions);
            match left {
                Some(0) => break,
                Some(left) if begun.elapsed() > READY => return Err(format!("{left} sessions left")),
                _ if begun.elapsed() > READY => return Err("no such worker any more".to_owned()),
                _ => sleep(LOOK).await,
            }
        }
        self.daemon.ctl(&["restart-worker", &id.to_string()]).await?;
        Ok(Done { detail: format!("worker {id}"), old: vec![pid], ..Done::default() })
    }

    /// One worker, or as many as at first.
    async fn reload_workers(&mut self) -> Result<Done, String> {
        let before = self.daemon.pids(Role::Worker);
        let next = if self.now == self.workers { (self.workers / 2).max(1) } else { self.workers };
        if !self.daemon.set_workers(next).map_err(|error| error.to_string())? {
            let skipped = Some("the configuration is not this tool's".to_owned());
            return Ok(Done { skipped, ..Done::default() });
        }
        self.daemon.ctl(&["reload"]).await?;
        let detail = format!("{} to {next} workers", before.len());
        self.now = next;
        Ok(Done { detail, ..Done::default() })
    }

    async fn move_some(&self) -> Result<Done, String> {
        let named = self.world.seats.iter().filter_map(super::world::Seat::session);
        let sessions: Vec<_> = named.collect();
        let mut moved = 0;
        for _ in 0..MOVES.min(sessions.len()) {
            let session = sessions[fastrand::usize(0..sessions.len())].to_string();
            let (id, _) = self.worker().await?;
            match self.daemon.ctl(&["move", &session, &id.to_string()]).await {
                Ok(_) => moved += 1,
                // It has left meanwhile, or is there already.
                Err(error) if error.contains("session") && !error.contains("unrecognized") => (),
                Err(error) => return Err(error),
            }
        }
        Ok(Done { detail: format!("{moved} sessions"), ..Done::default() })
    }

    /// As many workers as at first.
    pub(crate) async fn restore(&mut self) {
        if self.now != self.workers && self.daemon.set_workers(self.workers).is_ok() {
            let _ = self.daemon.ctl(&["reload"]).await;
            self.now = self.workers;
        }
        self.until_ready(&[], &[]).await;
    }
}
