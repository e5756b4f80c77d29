//! Masters, one after another: when one is late, how long the next one is waited for, when it is given up. Pure.

use crate::model::Mono;
use crate::protocol::keeper::{Before, End};
use std::time::Duration;

/// The pause before a new master: none after the first early death, this one after the second, then it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest one after a master that did not serve.
const LONGEST: Duration = Duration::from_millis(3_200);
/// The longest one after a master that served: all that it lets wait are clients.
const LONGEST_SERVED: Duration = PAUSE;
/// A master that has served and lived so long did not die early.
const STABLE: Duration = Duration::from_secs(5);
/// Masters in a row that die before they serve, after which the daemon ends: systemd starts it anew, with nothing that
/// could be broken. One that serves is replaced however often it dies: sessions live on meanwhile.
const GIVEN_UP: u32 = 10;
/// Time for a master that takes the place of another until its first beat, and for the first one when it is to stop.
const START: Duration = Duration::from_secs(15);
/// A tick that comes later than this says that the keeper itself stood still: the master may have, too.
const STOOD_STILL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next master is to be started then.
    Pause {
        until: Mono,
    },
    Lives {
        pid: u32,
        since: Mono,
        within: Option<Duration>,
        late: Option<Mono>,
        silent: bool,
        serves: bool,
    },
    /// There will be no other.
    Over,
}

/// What follows from the death of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another one, after the pause.
    Another,
    /// It never served: its status is the daemon's.
    NeverServed,
    /// Too many have died.
    GivenUp,
}

/// The masters of one daemon.
#[derive(Debug)]
pub(super) struct Reign {
    phase: Phase,
    /// The longest silence that leaves time before systemd's watchdog ends everything.
    cap: Option<Duration>,
    /// Whether a master has served.
    served: bool,
    deaths: u32,
    /// Early deaths in a row.
    early: u32,
    /// Of masters in a row that did not serve.
    failed: u32,
    /// The master before and the moment of its end.
    before: Option<(Before, Mono)>,
}

impl Reign {
    /// `watchdog`: the limit of systemd.
    pub(super) fn new(watchdog: Option<Duration>, now: Mono) -> Self {
        let cap = watchdog.map(|limit| (limit * 3 / 4).max(Duration::from_secs(2)));
        let phase = Phase::Pause { until: now };
        Self { phase, cap, served: false, deaths: 0, early: 0, failed: 0, before: None }
    }

    /// Whether a master is to be started now.
    pub(super) fn is_due(&self, now: Mono) -> bool {
        matches!(self.phase, Phase::Pause { until } if until <= now)
    }

    /// A master has been started. Returns what it must know of the one before.
    pub(super) fn started(&mut self, pid: u32, now: Mono) -> Option<Before> {
        let before = self.before.map(|(before, ended)| Before { pause: now.since(ended), ..before });
        let late = before.map(|_| now.after(START));
        self.phase = Phase::Lives { pid, since: now, within: None, late, silent: false, serves: false };
        before
    }

    pub(super) fn beat(&mut self, limit: Duration, now: Mono) {
        let limit = self.cap.map_or(limit, |cap| limit.min(cap));
        if let Phase::Lives { within, late, silent: false, .. } = &mut self.phase {
            *within = Some(limit);
            *late = Some(now.after(limit));
        }
    }

    /// The master serves.
    pub(super) fn serves(&mut self) {
        self.served = true;
        if let Phase::Lives { serves, .. } = &mut self.phase {
            *serves = true;
        }
    }

    /// The master was told to stop: one that has not beaten yet has some time for it.
    pub(super) fn told_to_stop(&mut self, now: Mono) {
        if let Phase::Lives { within: None, late: late @ None, .. } = &mut self.phase {
            *late = Some(now.after(START));
        }
    }

    /// Whether the master is to be killed now, for its silence.
    pub(super) fn is_silent(&mut self, now: Mono) -> bool {
        let Phase::Lives { within, late: late @ Some(_), silent, .. } = &mut self.phase else { return false };
        let Some(at) = *late else { return false };
        if at > now {
            return false;
        }
        if now.since(at) > STOOD_STILL {
            *late = Some(now.after(within.unwrap_or(START)));
            return false;
        }
        (*late, *silent) = (None, true);
        true
    }

    /// The master has ended, or could not be started.
    pub(super) fn ended(&mut self, end: End, now: Mono) -> After {
        let (pid, since, silent, serves) = match self.phase {
            Phase::Lives { pid, since, silent, serves, .. } => (pid, since, silent, serves),
            Phase::Pause { .. } | Phase::Over => (0, now, false, false),
        };
        self.deaths += 1;
        self.early = if serves && now.since(since) >= STABLE { 1 } else { self.early.saturating_add(1) };
        self.failed = if serves { 0 } else { self.failed + 1 };
        self.before = Some((Before { pid, end, silent, deaths: self.deaths, pause: Duration::ZERO }, now));
        if !self.served || self.failed >= GIVEN_UP {
            self.phase = Phase::Over;
            return if self.served { After::GivenUp } else { After::NeverServed };
        }
        self.phase = Phase::Pause { until: now.after(self.pause(serves)) };
        After::Another
    }

    fn pause(&self, served: bool) -> Duration {
        let longest = if served { LONGEST_SERVED } else { LONGEST };
        let doubled = |n: u32| PAUSE.saturating_mul(1 << n.min(16)).min(longest);
        self.early.checked_sub(2).map_or(Duration::ZERO, doubled)
    }

    /// The master has ended so that another one can take over, which [`Reign::hurry`] starts.
    pub(super) fn replaced(&mut self, end: End, now: Mono) {
        if let Phase::Lives { pid, silent, .. } = self.phase {
            let before = Before { pid, end, silent, deaths: self.deaths, pause: Duration::ZERO };
            self.before = Some((before, now));
        }
        (self.early, self.failed) = (0, 0);
        self.phase = Phase::Pause { until: Mono(u64::MAX) };
    }

    /// There is to be no other master.
    pub(super) fn over(&mut self) {
        self.phase = Phase::Over;
    }

    /// The next master is started at once.
    pub(super) fn hurry(&mut self, now: Mono) {
        if let Phase::Pause { until } = &mut self.phase {
            *until = (*until).min(now);
        }
    }

    pub(super) fn lives(&self) -> bool {
        matches!(self.phase, Phase::Lives { .. })
    }

    /// Whether the keeper killed the master before because it was silent.
    pub(super) fn follows_silence(&self) -> bool {
        self.before.is_some_and(|(before, _)| before.silent)
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Pause { until } => Some(until),
            Phase::Lives { late, .. } => late,
            Phase::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(5);
    const KILLED: End = End::Signal { signal: 9, core: false };

    fn moment(ms: u64) -> Mono {
        Mono(1_000_000_000_000 + ms * 1_000_000)
    }

    fn serving() -> Reign {
        let mut reign = Reign::new(None, moment(0));
        assert!(reign.is_due(moment(0)));
        assert_eq!(reign.started(1, moment(0)), None);
        reign.serves();
        reign
    }

    #[test]
    fn a_master_that_never_served_ends_the_daemon() {
        let mut reign = Reign::new(None, moment(0));
        reign.started(1, moment(0));
        assert_eq!(reign.next_deadline(), None, "systemd limits a start");
        assert_eq!(reign.ended(End::Status(78), moment(1)), After::NeverServed);
        assert_eq!((reign.is_due(moment(99_999)), reign.next_deadline()), (false, None));
    }

    /// Lets masters die at once, each of which serves or not, until the daemon ends or so many have. Returns the pauses
    /// in milliseconds.
    fn die(reign: &mut Reign, now: &mut Mono, most: usize, serves: bool) -> Vec<u128> {
        let mut pauses = Vec::new();
        while pauses.len() < most && reign.ended(KILLED, *now) == After::Another {
            let at = reign.next_deadline().unwrap();
            pauses.push(at.since(*now).as_millis());
            *now = at;
            assert!(reign.is_due(*now));
            let before = reign.started(2, *now).unwrap();
            assert_eq!(before.pause.as_millis(), *pauses.last().unwrap());
            if serves {
                reign.serves();
            }
        }
        pauses
    }

    #[test]
    fn pauses_double_and_ten_that_do_not_serve_are_the_end() {
        let (mut reign, mut now) = (serving(), moment(0));
        let pauses = die(&mut reign, &mut now, 99, false);
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 3200, 3200, 3200]);
        assert!(!reign.is_due(now.after(SECOND * 99)));
    }

    #[test]
    fn masters_that_serve_are_replaced_however_often_they_die_and_soon() {
        let (mut reign, mut now) = (serving(), moment(0));
        let pauses = die(&mut reign, &mut now, 60, true);
        assert_eq!((&pauses[..3], pauses.len()), (&[0, 100, 100][..], 60));
        assert!(pauses[3..].iter().all(|pause| *pause == 100));
        // Nine in a row that do not serve, then one that does.
        for _ in 0..5 {
            assert_eq!(die(&mut reign, &mut now, 9, false).len(), 9);
            reign.serves();
        }
        now = now.after(STABLE);
        assert_eq!(die(&mut reign, &mut now, 1, true), [0], "one that lived long");
    }

    #[test]
    fn deaths_with_a_stable_time_between_them_have_no_pause() {
        let (mut reign, mut now) = (serving(), moment(0));
        for _ in 0..50 {
            now = now.after(STABLE);
            assert_eq!(reign.ended(KILLED, now), After::Another);
            assert!(reign.is_due(now), "at once");
            reign.started(3, now);
            reign.serves();
        }
    }

    #[test]
    fn without_a_beat_it_is_silent_once() {
        let mut reign = serving();
        reign.beat(LIMIT, moment(0));
        assert!(!reign.is_silent(moment(4_999)));
        reign.beat(LIMIT, moment(4_999));
        assert!(!reign.is_silent(moment(9_998)));
        assert!(reign.is_silent(moment(9_999)));
        assert!(!reign.is_silent(moment(10_000)), "it is killed already");
        reign.beat(LIMIT, moment(10_001));
        assert!(!reign.is_silent(moment(99_999)));
        assert_eq!(reign.ended(KILLED, moment(99_999)), After::Another);
        assert!(reign.follows_silence());
        let before = reign.started(2, moment(99_999)).unwrap();
        assert!(before.silent);
        let first_beat = reign.next_deadline().unwrap();
        assert_eq!(first_beat.since(moment(99_999)), START);
        assert!(reign.is_silent(first_beat));
    }

    #[test]
    fn a_keeper_that_stood_still_itself_grants_the_time_anew() {
        let mut reign = serving();
        reign.beat(LIMIT, moment(0));
        assert!(!reign.is_silent(moment(60_000)), "the whole group was stopped");
        assert!(!reign.is_silent(moment(64_999)));
        assert!(reign.is_silent(moment(65_000)));
    }

    #[test]
    fn systemds_watchdog_leaves_time_for_another_master() {
        let mut reign = Reign::new(Some(SECOND * 8), moment(0));
        reign.started(1, moment(0));
        reign.beat(SECOND * 60, moment(0));
        assert_eq!(reign.next_deadline(), Some(moment(6_000)));
        let mut reign = Reign::new(Some(Duration::from_micros(1)), moment(0));
        reign.started(1, moment(0));
        reign.beat(SECOND * 60, moment(0));
        assert_eq!(reign.next_deadline(), Some(moment(2_000)), "no limit is so short that it could be kept");
    }

    #[test]
    fn whoever_hangs_at_its_start_can_be_stopped() {
        let mut reign = Reign::new(None, moment(0));
        reign.started(1, moment(0));
        reign.told_to_stop(moment(10));
        assert!(reign.is_silent(reign.next_deadline().unwrap()));
    }
}
