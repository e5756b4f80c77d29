//! The keeper's decisions. Pure: what happened and the moment in, deeds out. `D` is a descriptor.

use super::images::Images;
use super::reign::{After, Reign};
use super::turn::Turn;
use super::vault::{Held, Vault};
use crate::model::Mono;
use crate::os::descriptors::Share;
use crate::protocol::cluster::{Generation, Role};
use crate::protocol::keeper::{Begin, End, FromKeeper, Running, ToKeeper, VERSION, pack_name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Sockets in one message: fewer than the kernel allows, see `descriptors::MOST`.
const PAGE: usize = 240;
/// Questions for sockets that may wait.
const FETCHES: usize = 64;
/// Ends of processes that are remembered for the next master.
const GONE: usize = 512;
/// Time for killed processes to go before the daemon ends without them.
const GOING: Duration = Duration::from_secs(2);
/// The daemon's status when it cannot go on.
const FAILED: u8 = 1;

/// A process at the other end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The master of that number; there is one at a time.
    Master(u32),
    Child(Generation),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Deed<D> {
    /// Start a master of this program; `None` is the keeper's own. Answered by [`Keeper::master_started`] or
    /// [`Keeper::master_not_started`].
    StartMaster(u32, Option<D>),
    /// Start a process of this program with its end of its link. Answered by [`Keeper::started`] or
    /// [`Keeper::not_started`].
    Start(Generation, Role, D, Option<D>),
    Say(Who, FromKeeper, Vec<D>),
    Kill(Who),
    /// Tell systemd.
    Notify(Box<str>, Vec<D>),
    /// Leave this with systemd, and wait until it has it.
    Store(Vec<(String, D)>),
    /// Write to standard error why the daemon ends: no master is there that could log it.
    Complain(String),
    /// End with this status.
    End(u8),
}

/// The end of the daemon.
#[derive(Clone, Copy, Debug)]
struct Ending {
    status: u8,
    /// When nobody is waited for any more; `None`: the master still leads the others out.
    until: Option<Mono>,
}

/// Sockets that somebody wants.
#[derive(Debug)]
struct Fetching {
    to: Who,
    request: u64,
    of: Generation,
    keys: VecDeque<u32>,
}

/// What the keeper is told when it starts.
#[derive(Debug)]
pub(super) struct Settings<D> {
    pub(super) pid: u32,
    /// The limit of systemd's watchdog.
    pub(super) watchdog: Option<Duration>,
    /// Descriptors that systemd passed.
    pub(super) passed: Vec<(Box<str>, D)>,
    /// The most spares of sockets.
    pub(super) sockets: usize,
    /// Sockets of processes of the daemon before.
    pub(super) left: Vec<(Generation, u32, D)>,
}

pub(super) struct Keeper<D> {
    pid: u32,
    watchdog: Option<Duration>,
    reign: Reign,
    /// The number of the newest master.
    master: u32,
    children: BTreeMap<Generation, (Role, u32)>,
    last_generation: Generation,
    gone: VecDeque<(Generation, End)>,
    held: Held<D>,
    vault: Vault<D>,
    fetching: VecDeque<Fetching>,
    /// Signals that no master has said to have heard.
    signals: BTreeSet<i32>,
    /// TERM or INT, once it came: each later master hears it, too.
    stop: Option<i32>,
    ending: Option<Ending>,
    images: Images<D>,
    /// All processes go, and what comes then.
    turn: Option<Turn>,
    deeds: Vec<Deed<D>>,
}

impl<D: Share> Keeper<D> {
    pub(super) fn new(settings: Settings<D>, now: Mono) -> Self {
        let Settings { pid, watchdog, passed, sockets, left } = settings;
        let mut vault = Vault::new(sockets);
        let last_generation = left.iter().map(|(of, ..)| *of).max().unwrap_or(0);
        for (of, key, socket) in left {
            vault.keep(of, key, socket);
            vault.ended(of, now);
        }
        Self {
            pid,
            watchdog,
            reign: Reign::new(watchdog, now),
            master: 0,
            children: BTreeMap::new(),
            last_generation,
            gone: VecDeque::new(),
            held: Held::new(passed),
            vault,
            fetching: VecDeque::new(),
            signals: BTreeSet::new(),
            stop: None,
            ending: None,
            images: Images::new(),
            turn: None,
            deeds: Vec::new(),
        }
    }

    /// What is to be done since the last call.
    pub(super) fn deeds(&mut self) -> Vec<Deed<D>> {
        std::mem::take(&mut self.deeds)
    }

    fn say(&mut self, to: Who, message: FromKeeper, with: Vec<D>) {
        self.deeds.push(Deed::Say(to, message, with));
    }

    fn tell_master(&mut self, message: FromKeeper) {
        if self.reign.lives() {
            self.say(Who::Master(self.master), message, Vec::new());
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Mono) {
        self.vault.tick(now);
        if self.ending.is_some_and(|ending| ending.until.is_some_and(|until| until <= now)) {
            self.end_now();
        }
        if self.reign.is_silent(now) {
            self.deeds.push(Deed::Kill(Who::Master(self.master)));
        }
        self.tick_turn(now);
        if self.ending.is_none() && self.turn.is_none() && self.reign.is_due(now) {
            self.master += 1;
            self.images.started(now);
            self.deeds.push(Deed::StartMaster(self.master, self.images.current()));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let until = self.ending.and_then(|ending| ending.until);
        let all = [
            self.reign.next_deadline(),
            self.vault.next_deadline(),
            until,
            self.images.next_deadline(),
            self.turn_deadline(),
        ];
        all.into_iter().flatten().min()
    }

    /// A signal of those that are the master's.
    pub(super) fn signal(&mut self, signal: i32, stops: bool, now: Mono) {
        if stops {
            self.stop = Some(signal);
            self.reign.told_to_stop(now);
            self.reign.hurry(now);
        }
        // The master may be dying: until it has said otherwise, the next one hears it again.
        self.signals.insert(signal);
        self.tell_master(FromKeeper::Signal(signal));
    }

    pub(super) fn master_started(&mut self, pid: u32, now: Mono) {
        let me = Who::Master(self.master);
        let (held, before): (Vec<_>, _) = (self.held.all().collect(), self.reign.started(pid, now));
        for (name, descriptor) in held {
            self.say(me, FromKeeper::Held { name }, vec![descriptor]);
        }
        let running = |(generation, (role, pid)): (&Generation, &(Role, u32))| Running {
            generation: *generation,
            role: *role,
            pid: *pid,
        };
        let begin = Begin {
            version: VERSION,
            pid: self.pid,
            beat: self.watchdog.map(|limit| limit / 2),
            children: self.children.iter().map(running).collect(),
            left: self.vault.left().into_iter().filter(|of| !self.held.has(&pack_name(*of))).collect(),
            last_generation: self.last_generation,
            gone: self.gone.iter().copied().collect(),
            before,
            program: env!("CARGO_PKG_VERSION").into(),
        };
        self.say(me, FromKeeper::Begin(begin), Vec::new());
        match self.stop {
            Some(signal) => self.tell_master(FromKeeper::Signal(signal)),
            None => self
                .signals
                .clone()
                .into_iter()
                .for_each(|signal| self.tell_master(FromKeeper::Signal(signal))),
        }
        if self.reign.follows_silence() {
            // The silence has used up systemd's time, and this master deserves its own.
            self.feed_watchdog();
        }
    }

    fn feed_watchdog(&mut self) {
        if self.watchdog.is_some() {
            self.deeds.push(Deed::Notify("WATCHDOG=1".into(), Vec::new()));
        }
    }

    pub(super) fn master_not_started(&mut self, error: &str, now: Mono) {
        self.deeds.push(Deed::Complain(format!("the master cannot be started: {error}")));
        self.master_ended(End::Unknown, now);
    }

    pub(super) fn started(&mut self, generation: Generation, role: Role, pid: u32, link: D) {
        self.children.insert(generation, (role, pid));
        self.say(Who::Child(generation), FromKeeper::Link, vec![link]);
        self.tell_master(FromKeeper::Started { generation, pid });
    }

    pub(super) fn not_started(&mut self, generation: Generation, error: &str) {
        self.tell_master(FromKeeper::NotStarted { generation, error: error.into() });
    }

    /// A process has ended, and all that it said was heard.
    pub(super) fn ended(&mut self, who: Who, end: End, now: Mono) {
        self.fetching.retain(|fetching| fetching.to != who);
        match who {
            Who::Master(_) => self.master_ended(end, now),
            Who::Child(generation) => {
                self.children.remove(&generation);
                self.vault.ended(generation, now);
                if self.gone.len() >= GONE {
                    self.gone.pop_front();
                }
                self.gone.push_back((generation, end));
                self.tell_master(FromKeeper::Exited { generation, end });
                let killed = self.ending.is_some_and(|ending| ending.until.is_some());
                if killed && self.children.is_empty() {
                    self.end_now();
                }
            }
        }
        self.look_at_turn(now);
    }

    fn master_ended(&mut self, end: End, now: Mono) {
        if self.turns(end, now) {
            return;
        }
        let after = self.reign.ended(end, now);
        if let Some(Ending { status, .. }) = self.ending {
            self.end(status, now);
            return;
        }
        match after {
            After::Another if self.stop.is_some() => self.reign.hurry(now),
            After::Another => {}
            After::NeverServed => {
                let status = match end {
                    End::Status(status) => u8::try_from(status).unwrap_or(FAILED),
                    // It had just been started, and the whole group was told to stop.
                    End::Signal { signal, .. } if self.stop == Some(signal) => 0,
                    End::Signal { .. } => {
                        self.deeds.push(Deed::Complain(format!("the master ended at its start: {end}")));
                        FAILED
                    }
                    End::Unknown => FAILED,
                };
                self.end(status, now);
            }
            After::GivenUp => {
                self.deeds
                    .push(Deed::Complain(format!("masters end before they serve, the last one: {end}")));
                self.end(FAILED, now);
            }
        }
    }

    /// Ends the daemon: whoever is left is killed.
    fn end(&mut self, status: u8, now: Mono) {
        self.reign.over();
        self.ending = Some(Ending { status, until: Some(now.after(GOING)) });
        let kill = |generation: &Generation| Deed::Kill(Who::Child(*generation));
        self.deeds.extend(self.children.keys().map(kill));
        if self.children.is_empty() {
            self.end_now();
        }
    }

    fn end_now(&mut self) {
        if let Some(Ending { status, .. }) = self.ending {
            self.deeds.push(Deed::End(status));
        }
    }
}

/// What is said to the keeper.
impl<D: Share> Keeper<D> {
    /// Hears a message. A process that says what is not its to say is broken and killed.
    pub(super) fn hear(&mut self, who: Who, message: ToKeeper<'_>, with: Vec<D>, now: Mono) {
        let mut with = with.into_iter();
        match (who, message) {
            (Who::Child(of), ToKeeper::Keep { key }) => {
                with.next().into_iter().for_each(|socket| self.keep(of, key, socket));
            }
            (Who::Child(of), ToKeeper::KeepAll { keys }) => {
                keys.into_iter().zip(with).for_each(|(key, socket)| self.keep(of, key, socket));
            }
            (Who::Child(of), ToKeeper::Drop { key }) => self.vault.drop_one(of, key),
            (Who::Child(of), ToKeeper::Cells) => {
                with.next().into_iter().for_each(|file| self.vault.cells(of, file));
            }
            (_, ToKeeper::Fetch { request, of, keys }) => self.fetch(who, request, of, keys),
            (_, ToKeeper::Forget { of, keys }) => self.vault.forget(of, keys.as_deref()),
            (Who::Master(number), message) if number == self.master => self.order(message, with, now),
            (_, _) => self.deeds.push(Deed::Kill(who)),
        }
    }

    fn keep(&mut self, of: Generation, key: u32, socket: D) {
        if !self.vault.keep(of, key, socket) {
            self.say(Who::Child(of), FromKeeper::Unkept { key }, Vec::new());
        }
    }

    fn order(&mut self, message: ToKeeper<'_>, mut with: impl Iterator<Item = D>, now: Mono) {
        match message {
            ToKeeper::Start { generation, role } => self.start(generation, role, with.next()),
            ToKeeper::Relink { generation } => {
                if let (true, Some(link)) = (self.children.contains_key(&generation), with.next()) {
                    self.say(Who::Child(generation), FromKeeper::Link, vec![link]);
                }
            }
            ToKeeper::Kill { generation } => {
                if self.children.contains_key(&generation) {
                    self.deeds.push(Deed::Kill(Who::Child(generation)));
                }
            }
            ToKeeper::Beat { within, well } => {
                self.reign.beat(within, now);
                self.images.beat();
                if well {
                    self.feed_watchdog();
                }
            }
            ToKeeper::Hold { name } => {
                with.next().into_iter().for_each(|descriptor| self.held.hold(name, descriptor));
            }
            ToKeeper::Release { name } => self.held.release(name),
            ToKeeper::Notify { text } => self.deeds.push(Deed::Notify(text.into(), with.collect())),
            ToKeeper::Heard { signal } => _ = self.signals.remove(&signal),
            ToKeeper::Serving => {
                self.reign.serves();
                self.images.serves();
            }
            // The program before goes on.
            ToKeeper::Done { status } if status != 0 && self.images.is_starting() => {}
            ToKeeper::Done { status } => {
                self.ending.get_or_insert(Ending { status, until: None });
            }
            ToKeeper::Switch { within } => {
                with.next().into_iter().for_each(|image| self.switch(image, within, now));
            }
            ToKeeper::Settled => self.images.settled(),
            ToKeeper::Store => self.store(now),
            ToKeeper::Succeed { within } => {
                with.next().into_iter().for_each(|image| self.succeed(image, within));
            }
            ToKeeper::GiveBack => self.give_back(),
            // Not a master's: it has no sessions.
            ToKeeper::Keep { .. }
            | ToKeeper::KeepAll { .. }
            | ToKeeper::Drop { .. }
            | ToKeeper::Cells
            | ToKeeper::Fetch { .. }
            | ToKeeper::Forget { .. } => self.deeds.push(Deed::Kill(Who::Master(self.master))),
        }
    }

    fn start(&mut self, generation: Generation, role: Role, link: Option<D>) {
        // A number is used once: an order that carries an old one is a mistake.
        if generation <= self.last_generation {
            return self.not_started(generation, "this generation was started before");
        }
        self.last_generation = generation;
        match link {
            Some(link) => self.deeds.push(Deed::Start(generation, role, link, self.images.current())),
            None => self.not_started(generation, "its link did not come"),
        }
    }

    fn fetch(&mut self, to: Who, request: u64, of: Generation, keys: Option<Vec<u32>>) {
        let (cells, all) = self.vault.contents(of).unwrap_or_default();
        if let Some(cells) = cells {
            self.say(to, FromKeeper::Cells { request, of }, vec![cells]);
        }
        let waiting = self.fetching.iter().filter(|fetching| fetching.to == to).count();
        let keys = if waiting >= FETCHES { VecDeque::new() } else { keys.unwrap_or(all).into() };
        self.fetching.push_back(Fetching { to, request, of, keys });
    }

    /// Everything that was said to a process has left: more may follow. Copies are made only now, so that no more
    /// descriptors are under way than one message has.
    pub(super) fn drained(&mut self, to: Who) {
        let Some(at) = self.fetching.iter().position(|fetching| fetching.to == to) else { return };
        let Fetching { request, of, keys, .. } = &mut self.fetching[at];
        let (request, of) = (*request, *of);
        let page: Vec<_> = keys.drain(..keys.len().min(PAGE)).collect();
        let last = keys.is_empty();
        if last {
            self.fetching.remove(at);
        }
        let (keys, sockets) = self.vault.copies(of, &page);
        self.say(to, FromKeeper::Sockets { request, of, keys, last }, sockets);
    }

    /// Whether [`Keeper::drained`] has something for anybody.
    pub(super) fn wanted_by(&self) -> BTreeSet<Who> {
        self.fetching.iter().map(|fetching| fetching.to).collect()
    }
}

#[cfg(test)]
mod histories;
mod switch;
#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
