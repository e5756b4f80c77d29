//! Carries out an upgrade, and a restart that keeps sessions: the master that gives way, and the one that takes over.

use super::control::failed;
use super::core::Master;
use super::event::{Event, Tried};
use super::handovers::{Facts, Why};
use super::packing::Packing;
use super::predecessor::Held;
use super::succession::{Moment, Succession, UnderWay, Yielding};
use super::trial::{self, Candidate};
use super::unpacking::{Counts, Part, Unpacking};
use super::upgrades::{Goal, Identity, Legacy, Outcome};
use crate::model::Mono;
use crate::os::clock;
use crate::os::memory_file::MemoryFile;
use crate::protocol::cluster::{Generation, Handover, Handovers as Sessions, Role, ToFeeder, ToWorker};
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
/// The same of one whose processes live on.
const SUCCESSION: &str = "succession";
/// Longest time for another program to start and to take over. No key: sessions that wait longer are closed.
const START: Duration = Duration::from_secs(4);
/// Longest time for a master of another program until its first sign of life. No key: nothing is delivered meanwhile.
const FIRST_BEAT: Duration = Duration::from_millis(1500);
/// Longest time for all workers to pack. No key: no message reaches a client meanwhile.
const PACK: Duration = Duration::from_secs(5);

/// What the master before has left.
pub(super) struct Inheritance {
    packs: BTreeMap<Generation, OwnedFd>,
    legacy: Option<OwnedFd>,
    /// It has left all processes, too.
    succession: Option<OwnedFd>,
}

impl Inheritance {
    /// Takes it out of what the keeper holds.
    pub(super) fn of(held: Held) -> (Self, Held) {
        let nothing = Self { packs: BTreeMap::new(), legacy: None, succession: None };
        let (mut own, mut rest) = (nothing, Held::new());
        for (name, file) in held {
            match packed_by(&name) {
                Some(of) => _ = own.packs.insert(of, file),
                None if *name == *LEGACY => own.legacy = Some(file),
                None if *name == *SUCCESSION => own.succession = Some(file),
                None => rest.push((name, file)),
            }
        }
        (own, rest)
    }

    /// Whether all processes are new.
    pub(super) fn is_left(&self) -> bool {
        self.legacy.is_some()
    }

    /// Whether the master before gave way by itself.
    pub(super) fn is_given(&self) -> bool {
        self.is_left() || self.succession.is_some()
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
            Ok((Candidate { image, version, losses, works_with_this }, program)) => {
                let _ = answer.send(json!({ "ok": true, "upgrade": { "number": self.upgrades.number() } }));
                if works_with_this {
                    self.give_way_to((version, program, losses), image);
                } else {
                    self.pack(Goal::Upgrade, (version, program, losses), Some(image));
                }
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
        let legacy = self.legacy(goal, (to, program, losses));
        let others = self.children.feeders().collect();
        self.upgrades.pack(Packing::new(workers, others, PACK, now), legacy, image);
    }

    fn legacy(&self, goal: Goal, (to, program, losses): (String, Identity, Vec<String>)) -> Legacy {
        let (from, number) = (env!("CARGO_PKG_VERSION").to_owned(), self.upgrades.number());
        let (packed, closed, last, why) = (0, 0, None, None);
        Legacy { goal, number, from, to, program, losses, packed, closed, last, why }
    }

    /// Lets a master of another program take the place of this one, and then replace all processes.
    fn give_way_to(&mut self, next: (String, Identity, Vec<String>), image: OwnedFd) {
        tracing::info!(event = "giving-way", to = next.0, sessions = self.directory.totals().sessions);
        let legacy = self.legacy(Goal::Upgrade, next);
        let workers = self.children.workers().collect();
        self.children.tell_workers(&ToWorker::Hold(true));
        self.upgrades.give_way(Yielding::new(workers, clock::mono()), legacy, image);
    }

    /// A worker keeps its orders for the next master.
    pub(super) fn held(&mut self, worker: Generation) {
        self.upgrades.yielding().into_iter().for_each(|yielding| yielding.held(worker));
    }

    /// Gives way, if it is the moment.
    fn tick_yielding(&mut self, now: Mono) {
        let under_way = UnderWay { orders: !self.router.is_idle(), orphans: !self.orphans.is_empty() };
        match self.upgrades.yielding().map(|yielding| yielding.moment(under_way, now)) {
            None | Some(Moment::Wait) => return,
            Some(Moment::Now) => {}
            Some(Moment::Never) => {
                let why = "not all workers answer";
                tracing::warn!(event = "upgrade-refused", why, "this program serves on");
                self.upgrades.refused(why.to_owned());
                return self.children.tell_workers(&ToWorker::Hold(false));
            }
        }
        let Some((legacy, image)) = self.upgrades.gives_way() else { return };
        self.note_own();
        self.note_dropped();
        self.leave(SUCCESSION, &Legacy { last: Some(self.fleet.newest()), ..legacy });
        crate::log::flush();
        self.line.succeed(image, self.in_force.config().cluster.start_timeout.min(FIRST_BEAT));
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
        self.tick_yielding(now);
        self.look_at_succession();
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
        self.leave(LEGACY, &legacy);
        tracing::info!(event = "packed", sessions = all.sessions, closed = all.closed);
        crate::log::flush();
        match image {
            Some(image) => self.line.switch(image, self.in_force.config().cluster.start_timeout.min(START)),
            None => self.line.store_all(),
        }
    }

    fn leave(&self, name: &str, legacy: &Legacy) {
        let bytes = serde_json::to_vec(legacy).map_err(std::io::Error::from);
        match bytes.and_then(|bytes| MemoryFile::with("btc-cluster-legacy", &bytes)) {
            Ok(file) => self.hold(name, file.descriptor()),
            Err(error) => tracing::error!(event = "descriptor", %error),
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
    pub(super) fn inherit(&mut self, inheritance: Inheritance, end: Option<String>) {
        let Inheritance { packs, legacy, succession } = inheritance;
        if let Some(legacy) = succession.and_then(read) {
            let why = refusal(&legacy, end);
            return self.upgrades.succeed(Legacy { why, ..legacy });
        }
        let Some(legacy) = legacy else { return };
        let Some(legacy) = read(legacy) else {
            return packs.keys().for_each(|of| self.forget_pack(*of));
        };
        let why = refusal(&legacy, end);
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
        let Some(outcome) = self.upgrades.unpacked(settles).cloned() else { return };
        self.log_outcome(&outcome);
        self.line.release(LEGACY);
        self.children.tell_workers(&ToWorker::LetIn);
        self.tell_serving();
    }

    fn log_outcome(&mut self, outcome: &Outcome) {
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
    }
}

/// The master that takes over from one whose processes live.
impl Master {
    /// All living workers are heard, after so long a time without a master.
    pub(super) fn succession_opens(&mut self, silence: Duration) {
        let now = clock::mono();
        if self.upgrades.succession().is_some_and(|succession| succession.opens(silence)) {
            let actions = self.fleet.replace_all(now);
            return self.act(actions);
        }
        let Some(back) = self.upgrades.refused_succession() else { return };
        let last = back.last.unwrap_or_default();
        let held = self.directory.totals().sessions as u64;
        let outcome = self.upgrades.goes_on(back, held, silence).clone();
        self.log_outcome(&outcome);
        self.line.release(SUCCESSION);
        self.tell_serving();
        let mut actions = self.fleet.replace_newer(now, last);
        if self.children.feeders().any(|feeder| feeder > last) {
            actions.extend(self.fleet.restart_feeder(now));
        }
        self.act(actions);
    }

    /// All workers that serve are new.
    pub(super) fn succession_rolled(&mut self) {
        if self.upgrades.succession().is_some_and(Succession::rolled) {
            let actions = self.fleet.restart_feeder(clock::mono());
            self.act(actions);
        }
    }

    /// A process has died, or did not get ready.
    pub(super) fn succession_fails(&mut self, role: Role, generation: Generation) {
        if !self.upgrades.succession().is_some_and(|succession| succession.fails(generation)) {
            return;
        }
        let own = env!("CARGO_PKG_VERSION");
        let why = format!("version {own} was started and ended: its {role} died");
        tracing::error!(event = "giving-back", why, "the program before goes on");
        let Some(legacy) = self.upgrades.gives_back(why) else { return };
        self.note_fleet();
        self.leave(SUCCESSION, &legacy);
        crate::log::flush();
        self.line.give_back();
    }

    fn look_at_succession(&mut self) {
        let all = self.children.all();
        if !self.upgrades.succession().is_some_and(|succession| succession.is_done(all)) {
            return;
        }
        let settles = clock::mono().after(self.in_force.config().cluster.stable_after);
        let held = self.directory.totals().sessions as u64;
        let Some(outcome) = self.upgrades.succeeded(held, settles).cloned() else { return };
        self.log_outcome(&outcome);
        self.line.release(SUCCESSION);
        self.tell_serving();
    }
}

/// What the master before has left.
fn read(legacy: OwnedFd) -> Option<Legacy> {
    let bytes = MemoryFile::from_descriptor(legacy).whole();
    let legacy = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Legacy>(&bytes)?));
    let told = |error: &std::io::Error| {
        tracing::error!(event = "legacy", %error, "what the master before has left cannot be read");
    };
    legacy.inspect_err(told).ok()
}

/// Why this is not the program that was to take over. `end`: how the master before ended.
fn refusal(legacy: &Legacy, end: Option<String>) -> Option<String> {
    let own = std::fs::File::open("/proc/self/exe").map_err(|error| error.to_string());
    let is_other = legacy.goal == Goal::Upgrade && own.and_then(identity) != Ok(legacy.program);
    legacy.why.clone().or_else(|| {
        let end = end.unwrap_or_else(|| "nobody knows how".to_owned());
        is_other.then(|| format!("version {} was started and ended: {end}", legacy.to))
    })
}

/// Device and inode of a program.
fn identity(program: impl AsFd) -> Result<Identity, String> {
    fstat(program).map(|found| (found.st_dev, found.st_ino)).map_err(|error| error.to_string())
}
