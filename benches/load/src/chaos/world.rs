//! State that all threads of a chaos run share: who sits where, what was published, what was noticed since when.

use super::ledger::Ledger;
use super::verdict::Noticed;
use crate::options::Ports;
use crate::stage::Course;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Events of one run at most.
pub(crate) const EPOCHS: usize = 2000;
/// So long after its coming a session may be a copy whose original is still kept elsewhere, in milliseconds: such a
/// session is not adopted.
const FRESH: u32 = 2000;
/// Faults of one kind that are told in words; all are counted.
const TOLD: usize = 6;

/// Something under way at a client, or its state.
pub(crate) mod flag {
    /// The client has a session and a connection.
    pub(crate) const CONNECTED: u64 = 1;
    /// It has sent a part of a message.
    pub(crate) const HALF: u64 = 2;
    /// It waits for an answer over its session.
    pub(crate) const ASKED: u64 = 4;
    /// It does not read.
    pub(crate) const DEAF: u64 = 8;
    /// It polls: a request always waits.
    pub(crate) const POLLS: u64 = 16;
    /// All that a dying worker may be in the middle of.
    pub(crate) const UNDER_WAY: u64 = HALF | ASKED | DEAF | POLLS;
}

/// A client, as others see it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// The worker's process above, flags below.
    state: AtomicU64,
    /// POSTs for its user that wait for their answer.
    posts: AtomicU32,
    /// When something was under way for the last time, in milliseconds since the start.
    active: AtomicU32,
    /// When the connection was made, in the same measure.
    since: AtomicU32,
    session: Mutex<Option<uuid::Uuid>>,
}

/// What the threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients talk, are cut and come back.
    Running,
    /// No cuts and no questions any more.
    Calm,
    /// All leave.
    Over,
}

/// State that all threads share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ports: Ports,
    pub(crate) start: Instant,
    pub(crate) seats: Vec<Seat>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) courses: Mutex<BTreeMap<String, Course>>,
    /// Clients that have been greeted at least once.
    pub(crate) joined: AtomicUsize,
    /// Clients without a connection at the end.
    pub(crate) absent: AtomicUsize,
    epoch: AtomicUsize,
    /// When each epoch began.
    marks: Mutex<Vec<Instant>>,
    noticed: Mutex<Vec<Noticed>>,
    /// Epoch, client and close code of connections that the server ended.
    closes: Mutex<Vec<(usize, u32, u16)>>,
    /// In milliseconds, by epoch.
    silence: Vec<AtomicU32>,
    answer: Vec<AtomicU32>,
    told: Mutex<Vec<(&'static str, String)>>,
}

/// Nobody panics while it holds a lock of the world.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl World {
    pub(crate) fn new(ports: Ports, clients: u32) -> Self {
        let start = Instant::now();
        Self {
            ports,
            start,
            seats: (0..clients).map(|_| Seat::default()).collect(),
            phase: watch::Sender::new(Phase::Running),
            ledger: Mutex::default(),
            courses: Mutex::default(),
            joined: AtomicUsize::new(0),
            absent: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            marks: Mutex::new(vec![start]),
            noticed: Mutex::new(vec![Noticed::default()]),
            closes: Mutex::default(),
            silence: (0..EPOCHS).map(|_| AtomicU32::new(0)).collect(),
            answer: (0..EPOCHS).map(|_| AtomicU32::new(0)).collect(),
            told: Mutex::default(),
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u32 {
        millis(self.start.elapsed())
    }

    pub(crate) fn seat(&self, client: u32) -> &Seat {
        &self.seats[client as usize]
    }

    pub(crate) fn epoch(&self) -> usize {
        self.epoch.load(Ordering::Acquire)
    }

    /// Begins the next event.
    pub(crate) fn next_epoch(&self) -> usize {
        let (mut noticed, mut marks) = (lock(&self.noticed), lock(&self.marks));
        noticed.push(Noticed::default());
        marks.push(Instant::now());
        self.epoch.store(noticed.len() - 1, Ordering::Release);
        noticed.len() - 1
    }

    /// The event of a moment.
    pub(crate) fn epoch_at(&self, moment: Instant) -> usize {
        lock(&self.marks).partition_point(|mark| *mark <= moment).saturating_sub(1)
    }

    /// From the beginning of an epoch to that of the next.
    pub(crate) fn span(&self, epoch: usize) -> (Instant, Instant) {
        let marks = lock(&self.marks);
        let end = marks.get(epoch + 1).copied();
        (marks[epoch], end.unwrap_or_else(Instant::now))
    }

    /// Notes something that happens now.
    pub(crate) fn notice(&self, change: impl FnOnce(&mut Noticed)) {
        self.notice_at(self.epoch(), change);
    }

    pub(crate) fn notice_at(&self, epoch: usize, change: impl FnOnce(&mut Noticed)) {
        if let Some(noticed) = lock(&self.noticed).get_mut(epoch) {
            change(noticed);
        }
    }

    pub(crate) fn noticed(&self, epoch: usize) -> Noticed {
        lock(&self.noticed).get(epoch).cloned().unwrap_or_default()
    }

    /// A connection that the server has ended.
    pub(crate) fn close(&self, client: u32, code: u16) {
        let epoch = self.epoch();
        self.notice_at(epoch, |noticed| *noticed.closed.entry(code).or_default() += 1);
        lock(&self.closes).push((epoch, client, code));
    }

    /// Clients whose connection the server has ended since the beginning of an epoch.
    pub(crate) fn closed_in(&self, epoch: usize) -> BTreeSet<u32> {
        lock(&self.closes).iter().filter(|(at, ..)| *at == epoch).map(|(_, client, _)| *client).collect()
    }

    pub(crate) fn silent_for(&self, time: Duration) {
        self.silence[self.epoch().min(EPOCHS - 1)].fetch_max(millis(time), Ordering::Relaxed);
    }

    pub(crate) fn answered_after(&self, time: Duration) {
        self.answer[self.epoch().min(EPOCHS - 1)].fetch_max(millis(time), Ordering::Relaxed);
    }

    /// Longest silence and longest time to an answer, in milliseconds.
    pub(crate) fn longest(&self, epoch: usize) -> (u32, u32) {
        let at = epoch.min(EPOCHS - 1);
        (self.silence[at].load(Ordering::Relaxed), self.answer[at].load(Ordering::Relaxed))
    }

    /// Tells a fault of some kind in words, unless there are many of it already.
    pub(crate) fn tell(&self, kind: &'static str, what: impl FnOnce() -> String) {
        let mut told = lock(&self.told);
        if told.iter().filter(|(other, _)| *other == kind).count() < TOLD {
            let seconds = self.start.elapsed().as_secs_f64();
            told.push((kind, format!("{seconds:.2} s, event {}: {kind}: {}", self.epoch(), what())));
        }
    }

    pub(crate) fn told(&self) -> Vec<String> {
        lock(&self.told).iter().map(|(_, text)| text.clone()).collect()
    }

    /// How many messages of a channel have been sent off.
    pub(crate) fn begun(&self, channel: &str) -> u32 {
        lock(&self.courses).get(channel).map_or(0, |course| course.begun)
    }

    /// Whether it is unknown that this message was published.
    pub(crate) fn unsure(&self, channel: &str, number: u32) -> bool {
        let unsure = |course: &Course| course.unsure.contains(&number) || course.done(number).is_none();
        lock(&self.courses).get(channel).is_some_and(unsure)
    }

    /// When a message was answered; `None`: not yet.
    pub(crate) fn published(&self, channel: &str, number: u32) -> Option<Instant> {
        lock(&self.courses).get(channel)?.done(number).map(tokio::time::Instant::into_std)
    }

    pub(crate) fn connected(&self) -> u32 {
        let connected = self.seats.iter().filter(|seat| seat.has(flag::CONNECTED)).count();
        u32::try_from(connected).unwrap_or(u32::MAX)
    }

    /// Clients that have something under way at a worker which dies now; `worker`: its process. A client whose worker is
    /// not known counts as one of this worker's.
    pub(crate) fn under_way(&self, worker: u32, now: u32) -> BTreeSet<u32> {
        let clients = (0_u32..).zip(&self.seats);
        // The worker that answers a poll need not be the home of its session.
        let at = |seat: &Seat| seat.worker() == worker || seat.worker() == 0 || seat.has(flag::POLLS);
        let here = clients.filter(|(_, seat)| at(seat));
        let busy = |seat: &Seat| seat.is_busy() || seat.since.load(Ordering::Acquire) + FRESH > now;
        here.filter(|(_, seat)| busy(seat)).map(|(client, _)| client).collect()
    }

    /// Clients that had something under way in that time, or after it.
    pub(crate) fn active_within(&self, from: u32, to: u32) -> BTreeSet<u32> {
        let clients = (0_u32..).zip(&self.seats);
        let within = |seat: &Seat| (from..=to).contains(&seat.active.load(Ordering::Relaxed));
        clients.filter(|(_, seat)| within(seat)).map(|(client, _)| client).collect()
    }
}

impl Seat {
    fn worker(&self) -> u32 {
        u32::try_from(self.state.load(Ordering::Acquire) >> 32).unwrap_or(0)
    }

    pub(crate) fn has(&self, flags: u64) -> bool {
        self.state.load(Ordering::Acquire) & flags == flags
    }

    fn is_busy(&self) -> bool {
        self.state.load(Ordering::Acquire) & flag::UNDER_WAY != 0 || self.posts.load(Ordering::Acquire) > 0
    }

    /// The client has a connection, to that process (0: unknown).
    pub(crate) fn connect(&self, worker: u32, now: u32) {
        self.sit(worker);
        if !self.has(flag::CONNECTED) {
            self.since.store(now, Ordering::Release);
            self.set(flag::CONNECTED, true, now);
        }
    }

    /// The client's session is with that process now.
    pub(crate) fn sit(&self, worker: u32) {
        let flags = self.state.load(Ordering::Acquire) & u64::from(u32::MAX);
        self.state.store(u64::from(worker) << 32 | flags, Ordering::Release);
    }

    /// What was under way ends with the connection, which is no activity of the client's.
    pub(crate) fn disconnect(&self) {
        let flags = flag::CONNECTED | flag::HALF | flag::ASKED | flag::DEAF;
        self.state.fetch_and(!flags, Ordering::AcqRel);
    }

    /// Only the client itself sets its flags.
    pub(crate) fn set(&self, flags: u64, on: bool, now: u32) {
        if flags & flag::UNDER_WAY != 0 {
            self.active.store(now, Ordering::Relaxed);
        }
        if on {
            self.state.fetch_or(flags, Ordering::AcqRel);
        } else {
            self.state.fetch_and(!flags, Ordering::AcqRel);
        }
    }

    /// A POST for its user begins (`true`) or is answered.
    pub(crate) fn post(&self, begins: bool, now: u32) {
        self.active.store(now, Ordering::Relaxed);
        if begins {
            self.posts.fetch_add(1, Ordering::AcqRel);
        } else {
            self.posts.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Since when it has its connection; `None`: it has none, or it polls.
    pub(crate) fn present(&self) -> Option<u32> {
        (self.has(flag::CONNECTED) && !self.has(flag::POLLS)).then(|| self.since.load(Ordering::Acquire))
    }

    pub(crate) fn name(&self, session: Option<uuid::Uuid>) {
        *lock(&self.session) = session;
    }

    pub(crate) fn session(&self) -> Option<uuid::Uuid> {
        *lock(&self.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let ports = Ports {
            url: "ws://127.0.0.1:1/ws".parse().unwrap(),
            http: "http://127.0.0.1:1".parse().unwrap(),
            admin: "http://127.0.0.1:1".parse().unwrap(),
            channel: "news".to_owned(),
            pid: None,
        };
        World::new(ports, 5)
    }

    #[test]
    fn only_what_is_under_way_at_the_dying_worker_excuses() {
        let world = world();
        (0..4).for_each(|client| world.seat(client).connect(if client < 3 { 7 } else { 8 }, 10));
        world.seat(0).set(flag::HALF, true, 10);
        world.seat(1).post(true, 10);
        world.seat(3).set(flag::ASKED, true, 10);
        world.seat(4).connect(0, 10);
        assert_eq!(world.under_way(7, 10 + FRESH), BTreeSet::from([0, 1]));
        assert_eq!(
            world.under_way(8, 9 + FRESH),
            BTreeSet::from([3, 4]),
            "who came a moment ago may be lent"
        );
        world.seat(4).set(flag::ASKED, true, 20);
        assert_eq!(world.under_way(7, 10 + FRESH), BTreeSet::from([0, 1, 4]), "its worker is not known");
        world.seat(0).set(flag::HALF, false, 30);
        world.seat(1).post(false, 40);
        assert_eq!(world.under_way(7, 10 + FRESH), BTreeSet::from([4]));
        assert_eq!(world.active_within(25, 35), BTreeSet::from([0]));
        world.seat(0).sit(8);
        assert!(
            world.seat(0).has(flag::CONNECTED) && world.under_way(8, 10 + FRESH) == BTreeSet::from([3, 4])
        );
        world.seat(4).disconnect();
        assert_eq!(world.active_within(25, 60), BTreeSet::from([0, 1]), "only what it did counts");
        assert_eq!(
            (world.connected(), world.seat(4).present(), world.seat(0).present()),
            (4, None, Some(10))
        );
    }

    #[test]
    fn what_is_noticed_belongs_to_its_event() {
        let world = world();
        let before = Instant::now();
        world.close(1, 1012);
        assert_eq!(world.next_epoch(), 1);
        world.close(2, 1006);
        world.silent_for(Duration::from_millis(70));
        world.silent_for(Duration::from_millis(30));
        assert_eq!((world.closed_in(0), world.closed_in(1)), (BTreeSet::from([1]), BTreeSet::from([2])));
        assert_eq!(world.noticed(0).closed, [(1012, 1)].into());
        assert_eq!((world.longest(0), world.longest(1)), ((0, 0), (70, 0)));
        assert_eq!((world.epoch_at(before), world.epoch_at(Instant::now())), (0, 1));
    }
}
