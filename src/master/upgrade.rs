//! Carries out an upgrade, and a restart that keeps sessions: the master that gives way, and the one that takes over.

use super::control::failed;
use super::core::Master;
use super::event::{Event, Tried};
use super::handovers::{Facts, Why};
use super::packing::Packing;
use super::predecessor::Held;
use super::trial::{self, Candidate};
use super::unpacking::{Counts, Part, Unpacking};
use super::upgrades::{Goal, Identity, Legacy};
use crate::model::Mono;
use crate::os::clock;
use crate::os::memory_file::MemoryFile;
use crate::protocol::cluster::{Generation, Handover, Handovers as Sessions, ToFeeder, ToWorker};
use crate::protocol::keeper::{STORE, pack_name, packed_by};
use rustix::fs::fstat;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// The name under which the keeper holds what a master leaves to the next one.
const LEGACY: &str = "legacy";
/// Longest time for another program to start and to take over. No key: sessions that wait longer are closed.
const START: Duration = Duration::from_secs(4);
/// Longest time for all workers to pack. No key: no message reaches a client meanwhile.
const PACK: Duration = Duration::from_secs(5);

/// What the master before has left.
pub(super) struct Inheritance {
    packs: BTreeMap<Generation, OwnedFd>,
    legacy: Option<OwnedFd>,
}

impl Inheritance {
    /// Takes it out of what the keeper holds.
    pub(super) fn of(held: Held) -> (Self, Held) {
        let (mut own, mut rest) = (Self { packs: BTreeMap::new(), legacy: None }, Held::new());
        for (name, file) in held {
            match packed_by(&name) {
                Some(of) => _ = own.packs.insert(of, file),
                None if *name == *LEGACY => own.legacy = Some(file),
                None => rest.push((name, file)),
            }
        }
        (own, rest)
    }

    /// Whether the master before gave way by itself.
    pub(super) fn is_left(&self) -> bool {
        self.legacy.is_some()
    }
}

/// Why nothing can be packed now.
fn hindrance(master: &Master) -> Option<&'static str> {
    if master.service.is_stopping() {
        Some("the daemon is stopping")
    } else if master.in_force.reloads.candidate().is_some() {
        Some("another configuration is on trial")
    } else if !master.service.is_ready() {
        Some("the daemon is still starting")
    } else {
        None
    }
}

impl Master {
    /// Tries a program, and gives way to it.
    pub(super) fn upgrade_for(&mut self, binary: Option<PathBuf>, answer: oneshot::Sender<Value>) {
        let begun = match hindrance(self) {
            Some(why) => Err(why.to_owned()),
            None => binary.map_or_else(trial::installed, Ok).map_err(|error| error.to_string()),
        };
        let begun = begun.and_then(|path| self.upgrades.try_out().map(|_| path).map_err(str::to_owned));
        let path = match begun {
            Ok(path) => path,
            Err(why) => {
                let _ = answer.send(failed(why));
                return;
            }
        };
        tracing::info!(event = "upgrade-trial", path = %path.display());
        let (limit, events) = (self.in_force.config().cluster.start_timeout, self.events.clone());
        tokio::spawn(async move {
            let result = trial::attempt(&path, &trial::arguments(), limit).await;
            // The loop has ended before.
            let _ = events.send(Event::Tried(Box::new(Tried { path, result, answer }))).await;
        });
    }

    /// A program was tried.
    pub(super) fn tried(&mut self, Tried { path, result, answer }: Tried) {
        let found = result.and_then(|found| hindrance(self).map_or(Ok(found), |why| Err(why.to_owned())));
        let identified = found.and_then(|found| identity(&found.image).map(|program| (found, program)));
        match identified {
            Err(why) => {
                tracing::warn!(event = "upgrade-refused", path = %path.display(), why, "this program serves on");
                self.upgrades.refused(why.clone());
                let _ = answer.send(failed(why));
            }
            Ok((Candidate { image, version, losses }, program)) => {
                let _ = answer.send(json!({ "ok": true, "upgrade": { "number": self.upgrades.number() } }));
                self.pack(Goal::Upgrade, (version, program, losses), Some(image));
            }
        }
    }

    /// Ends the daemon so that its next start goes on with all sessions.
    pub(super) fn stop_keeping_for(&mut self, answer: oneshot::Sender<Value>) {
        let possible = match hindrance(self) {
            Some(why) => Err(why),
            None if std::env::var_os(STORE).is_none() => {
                Err("nobody keeps descriptors: systemd has not started it")
            }
            None => self.upgrades.try_out().map(|_| ()),
        };
        if let Err(why) = possible {
            let _ = answer.send(failed(why));
            return;
        }
        let _ = answer.send(super::control::done());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.pack(Goal::Restart, (version, (0, 0), Vec::new()), None);
    }

    fn pack(
        &mut self,
        goal: Goal,
        (to, program, losses): (String, Identity, Vec<String>),
        image: Option<OwnedFd>,
    ) {
        let now = clock::mono();
        tracing::info!(event = "packing", ?goal, to, sessions = self.directory.totals().sessions);
        let workers: Vec<Generation> = self.children.workers().collect();
        self.children.tell_workers(&ToWorker::Pack);
        let from = env!("CARGO_PKG_VERSION").to_owned();
        let number = self.upgrades.number();
        let legacy = Legacy { goal, number, from, to, program, losses, packed: 0, closed: 0 };
        let others = self.children.feeders().collect();
        self.upgrades.pack(Packing::new(workers, others, PACK, now), legacy, image);
    }

    /// A worker has packed its sessions.
    pub(super) fn packed(&mut self, by: Generation, counts: (u32, u32), pack: Option<OwnedFd>) {
        if let (Some(packing), Some(pack)) = (self.upgrades.packing(), pack) {
            packing.packed(by, counts, pack, clock::mono());
        }
    }

    /// Does what is due for an upgrade.
    pub(super) fn tick_upgrade(&mut self, now: Mono) {
        for other in self.upgrades.packing().map(Packing::lets_go).unwrap_or_default() {
            // What it has not written dies with it.
            let _ = self.children.tell(other, &ToFeeder::Stop);
        }
        if self.upgrades.packing().is_some_and(|packing| packing.is_over(now)) {
            self.give_way();
        }
        for (worker, part) in self.upgrades.unpacking.orders(now) {
            self.order_unpacking(worker, part);
        }
        self.tell_outcome();
        if self.upgrades.is_settled(now) {
            self.line.settled();
        }
    }

    /// Everything is packed: the keeper ends all processes, this one too.
    fn give_way(&mut self) {
        let Some((packing, mut legacy, image)) = self.upgrades.end() else { return };
        let all = packing.end();
        for worker in &all.without {
            tracing::error!(event = "not-packed", worker, "a worker has not packed its sessions in time");
        }
        (legacy.packed, legacy.closed) = (all.sessions, all.closed);
        for (of, pack) in &all.packs {
            self.hold(&pack_name(*of), pack.as_fd());
        }
        let bytes = serde_json::to_vec(&legacy).map_err(std::io::Error::from);
        match bytes.and_then(|bytes| MemoryFile::with("btc-cluster-legacy", &bytes)) {
            Ok(file) => self.hold(LEGACY, file.descriptor()),
            Err(error) => tracing::error!(event = "descriptor", %error),
        }
        tracing::info!(event = "packed", sessions = all.sessions, closed = all.closed);
        crate::log::flush();
        match image {
            Some(image) => self.line.switch(image, self.in_force.config().cluster.start_timeout.min(START)),
            None => self.line.store_all(),
        }
    }

    fn hold(&self, name: &str, descriptor: BorrowedFd<'_>) {
        if let Err(error) = self.line.hold(name, descriptor) {
            tracing::error!(event = "descriptor", %error);
        }
    }
}

/// The master that takes over.
impl Master {
    /// Finds what the master before has left among the descriptors that the keeper holds. `end`: how it ended.
    pub(super) fn inherit(&mut self, Inheritance { packs, legacy }: Inheritance, end: Option<String>) {
        let Some(legacy) = legacy else { return };
        let bytes = MemoryFile::from_descriptor(legacy).whole();
        let legacy = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Legacy>(&bytes)?));
        let legacy = match legacy {
            Ok(legacy) => legacy,
            Err(error) => {
                tracing::error!(event = "legacy", %error, "what the master before has left cannot be read");
                return packs.keys().for_each(|of| self.forget_pack(*of));
            }
        };
        let own = std::fs::File::open("/proc/self/exe").map_err(|error| error.to_string());
        let is_other = legacy.goal == Goal::Upgrade && own.and_then(identity) != Ok(legacy.program);
        let why = is_other.then(|| {
            let end = end.unwrap_or_else(|| "nobody knows how".to_owned());
            format!("version {} was started and ended: {end}", legacy.to)
        });
        let wanted = usize::from(crate::supervisor::workers(&self.in_force.config().cluster));
        let unpacking = Unpacking::new(&packs.keys().copied().collect(), wanted);
        self.upgrades.inherit(legacy, why, (unpacking, packs));
    }

    fn order_unpacking(&mut self, worker: Generation, part: Part) {
        let Part { of, part, parts } = part;
        let file = self.upgrades.pack_of(of).map(|file| file.try_clone());
        let file = match file {
            Some(Ok(file)) => file,
            Some(Err(error)) => return tracing::error!(event = "descriptor", %error),
            None => return,
        };
        let _ = self.children.tell_with(worker, &ToWorker::Unpack { of, part, parts }, vec![file]);
    }

    /// A worker has unpacked a part.
    pub(super) fn unpacked(&mut self, by: Generation, part: Part, counts: Counts) {
        if let Some(of) = self.upgrades.unpacking.done(by, part, counts) {
            self.forget_pack(of);
        }
        self.tell_outcome();
    }

    /// Nothing of a pack is wanted any more.
    fn forget_pack(&mut self, of: Generation) {
        self.upgrades.drop_pack(of);
        self.line.release(&pack_name(of));
        self.line.forget(of, None);
    }

    fn tell_outcome(&mut self) {
        // A program whose workers do not get ready has not taken over, also if there were no sessions.
        if self.children.ready_workers().next().is_none() {
            return;
        }
        let stable = self.in_force.config().cluster.stable_after;
        let settles = clock::mono().after(stable);
        let Some(outcome) = self.upgrades.unpacked(settles) else { return };
        let Counts { held, closed, silence } = outcome.counts;
        let (from, to) = (&*outcome.from, &*outcome.to);
        match (&outcome.why, outcome.goal) {
            (Some(why), _) => {
                tracing::error!(
                    event = "upgrade-refused",
                    from,
                    to,
                    why,
                    held,
                    closed,
                    ?silence,
                    "the old program serves on"
                );
            }
            (None, Goal::Upgrade) => tracing::info!(event = "upgraded", from, to, held, closed, ?silence),
            (None, Goal::Restart) => tracing::info!(event = "restarted", held, closed, ?silence),
        }
        let why = if outcome.goal == Goal::Upgrade { Why::Upgrade } else { Why::Restart };
        let mut sessions = Sessions::default();
        sessions.add(Handover::Held, held);
        sessions.add(Handover::Late, closed);
        // Its own line was written above.
        let facts = Facts { why, from: None, to: None, sessions, silence };
        self.handovers.happened(facts, silence, clock::wall());
        self.line.release(LEGACY);
        self.children.tell_workers(&ToWorker::LetIn);
        self.tell_serving();
    }
}

/// Device and inode of a program.
fn identity(program: impl AsFd) -> Result<Identity, String> {
    fstat(program).map(|found| (found.st_dev, found.st_ino)).map_err(|error| error.to_string())
}
