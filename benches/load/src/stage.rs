//! State that all clients of a run share: publications, receipts, counters, faults.

use crate::comeback::Back;
use crate::counters::{Comebacks, Guests, Replay, Replays, Talks};
use crate::decoder::Transport;
use crate::line::Who;
use crate::options::Ports;
use crate::receipts::Receipts;
use crate::report::{Latency, micros};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Faults that are told in words; all are counted.
const TOLD: usize = 25;

/// The messages of one channel, numbered by this tool, published one after another.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Messages that have been sent off.
    pub(crate) begun: u32,
    /// When each was answered.
    done: Vec<Instant>,
    /// Numbers without a 202, which may have been published.
    pub(crate) unsure: BTreeSet<u32>,
}

impl Course {
    /// The number of the next message, which is sent off now.
    pub(crate) fn begin(&mut self) -> u32 {
        self.begun += 1;
        self.begun - 1
    }

    /// The answer to the last one.
    pub(crate) fn end(&mut self, accepted: bool) {
        if !accepted {
            self.unsure.insert(self.begun - 1);
        }
        self.done.push(Instant::now());
    }

    /// When a message was answered; `None`: not yet.
    pub(crate) fn done(&self, number: u32) -> Option<Instant> {
        self.done.get(number as usize).copied()
    }

    /// Counts answers until that moment.
    pub(crate) fn done_at(&self, moment: Instant) -> u32 {
        u32::try_from(self.done.partition_point(|done| *done <= moment)).unwrap_or(u32::MAX)
    }
}

/// State that all clients of a run share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) ports: Rc<Ports>,
    pub(crate) start: Instant,
    /// By channel.
    pub(crate) courses: RefCell<BTreeMap<String, Course>>,
    pub(crate) receipts: RefCell<Receipts>,
    pub(crate) comebacks: RefCell<Comebacks>,
    pub(crate) replays: RefCell<BTreeMap<Transport, Replays>>,
    /// In microseconds and in words.
    pub(crate) slowest: RefCell<(u32, String)>,
    pub(crate) talks: RefCell<Talks>,
    pub(crate) guests: RefCell<Guests>,
    /// Whether cuts have ended.
    pub(crate) calm: Cell<bool>,
    /// Whether posting has ended.
    pub(crate) silent: Cell<bool>,
    /// Main sessions, by place: who is asked for quotes.
    pub(crate) present: RefCell<Vec<Option<Rc<Who>>>>,
    /// Told when somebody has a welcome.
    pub(crate) news: Notify,
    /// Workers that this tool has killed: process and second.
    pub(crate) kills: RefCell<Vec<(u32, f64)>>,
    /// Faults in words.
    pub(crate) told: RefCell<Vec<String>>,
    pub(crate) untold: Cell<u32>,
}

impl Stage {
    pub(crate) fn new(ports: Rc<Ports>, places: u32) -> Self {
        Self {
            ports,
            start: Instant::now(),
            courses: RefCell::default(),
            receipts: RefCell::default(),
            comebacks: RefCell::default(),
            replays: RefCell::default(),
            slowest: RefCell::default(),
            talks: RefCell::default(),
            guests: RefCell::default(),
            calm: Cell::new(false),
            silent: Cell::new(false),
            present: RefCell::new(vec![None; places as usize]),
            news: Notify::new(),
            kills: RefCell::default(),
            told: RefCell::default(),
            untold: Cell::new(0),
        }
    }

    /// Notes a fault.
    pub(crate) fn fault(&self, words: &str) {
        let mut told = self.told.borrow_mut();
        if told.len() < TOLD {
            told.push(format!("{:.1} s: {words}", self.start.elapsed().as_secs_f64()));
        } else {
            self.untold.set(self.untold.get() + 1);
        }
    }

    /// Some of the quotes that were accepted and have not come, without a reason.
    pub(crate) fn accuse(&self, name: &str) {
        let at = |moment: Instant| (moment - self.start).as_secs_f64();
        for victim in self.receipts.borrow().victims().iter().take(TOLD / 2) {
            let (posted, answered) = (at(victim.posted), at(victim.answered));
            let request = uuid::Uuid::from_u128(victim.request);
            let gaps: Vec<_> =
                victim.gaps.iter().map(|(from, to)| format!("{:.1}-{:.1}", at(*from), at(*to))).collect();
            self.fault(&format!(
                "{name}-{}: 202 for {request}, posted {posted:.3} s, answered {answered:.3} s, has not come; \
                 excused only {gaps:?}",
                victim.user
            ));
        }
    }

    /// Counts messages of the channel that have been sent off.
    pub(crate) fn begun(&self, channel: &str) -> u32 {
        self.courses.borrow().get(channel).map_or(0, |course| course.begun)
    }

    /// Counts messages of the channel that had been answered that long ago.
    pub(crate) fn done(&self, channel: &str, ago: Duration) -> u32 {
        let moment = Instant::now().checked_sub(ago).unwrap_or(self.start);
        self.courses.borrow().get(channel).map_or(0, |course| course.done_at(moment))
    }

    /// Counts messages of the channel up to the last one that has surely been published.
    pub(crate) fn sure(&self, channel: &str) -> u32 {
        let done = self.done(channel, Duration::ZERO);
        (0..done).rev().find(|number| !self.unsure(channel, *number)).map_or(0, |number| number + 1)
    }

    /// Whether that number is one that may or may not have been published.
    pub(crate) fn unsure(&self, channel: &str, number: u32) -> bool {
        self.courses.borrow().get(channel).is_some_and(|course| course.unsure.contains(&number))
    }

    /// A client has all that it had missed.
    pub(crate) fn replayed(&self, user: &str, transport: Transport, back: &Back) {
        let mut replays = self.replays.borrow_mut();
        let replays = replays.entry(transport).or_default();
        let whole = micros(back.syn.elapsed());
        replays.whole.push(whole);
        replays.welcomed.extend(back.welcomed.map(|at| micros(at.elapsed())));
        let mut slowest = self.slowest.borrow_mut();
        if slowest.0 < whole {
            let at = self.start.elapsed().as_secs_f64();
            *slowest = (whole, format!("{at:.3} s, {user} ({}): {back}", transport.as_str()));
        }
    }

    /// By transport, and `all`.
    pub(crate) fn replay(&self) -> BTreeMap<&'static str, Replay> {
        let replays = self.replays.take();
        let mut all = Replays::default();
        let report = |Replays { whole, welcomed }: Replays| Replay {
            count: whole.len(),
            whole: Latency::of(whole),
            from_welcome: Latency::of(welcomed),
        };
        let mut out = BTreeMap::new();
        for (transport, replays) in replays {
            all.whole.extend(&replays.whole);
            all.welcomed.extend(&replays.welcomed);
            out.insert(transport.as_str(), report(replays));
        }
        out.insert("all", report(all));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_knows_what_is_out() {
        let mut course = Course::default();
        let start = Instant::now();
        assert_eq!(course.begin(), 0);
        assert_eq!((course.begun, course.done_at(Instant::now())), (1, 0));
        course.end(true);
        assert_eq!(course.begin(), 1);
        course.end(false);
        let before = start.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!((course.done_at(Instant::now()), course.done_at(before)), (2, 0));
        assert!(course.unsure.contains(&1) && !course.unsure.contains(&0));
    }
}
