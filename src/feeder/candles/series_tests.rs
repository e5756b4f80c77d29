//! Candles of one symbol: examples, and random histories.

use super::*;
use proptest::prelude::*;

/// The first second of an hour.
const NOON: i64 = 1_763_640_000_000;

fn price(cents: u32) -> Price {
    Price::parse(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap()
}

/// A series, its journal, and what is known to be true of it.
#[derive(Clone, Debug, Default)]
struct Watched {
    series: Series,
    facts: Vec<Fact>,
    now: i64,
}

impl Watched {
    fn from_noon() -> Self {
        Self { now: NOON, ..Self::default() }
    }

    fn tick(&mut self, ms: i64, cents: u32) {
        self.now += ms;
        self.series.tick(Wall(self.now), (price(cents), PairSet::UNKNOWN), &mut self.facts);
    }

    fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.series.pass(Wall(self.now), &mut self.facts);
    }

    /// The series restored from the journal.
    fn read_again(&self) -> Series {
        read(&self.facts)
    }

    fn shown(&self, of: Interval) -> Vec<String> {
        self.series.newest(of, usize::MAX).iter().map(show).collect()
    }
}

fn read(facts: &[Fact]) -> Series {
    let mut series = Series::default();
    facts.iter().for_each(|fact| series.apply(fact).unwrap());
    series.cut(&mut Vec::new());
    series
}

fn show(candle: &Candle) -> String {
    let Candle { time, open, high, low, close, ticks, partial, .. } = candle;
    let seconds = (time.0 - NOON) / 1_000;
    format!("{seconds}: {open} {high} {low} {close} x{ticks}{}", if *partial { " partial" } else { "" })
}

#[test]
fn a_second_a_minute_and_an_hour() {
    let mut one = Watched::from_noon();
    one.tick(0, 100);
    one.tick(500, 300);
    one.tick(499, 50);
    one.tick(1, 200);
    assert_eq!(one.shown(Interval::Second), ["0: 1.00 3.00 0.50 0.50 x3", "1: 2.00 2.00 2.00 2.00 x1"]);
    assert_eq!(one.shown(Interval::Minute), ["0: 1.00 3.00 0.50 2.00 x4"]);
    one.tick(59_500, 400);
    assert_eq!(one.shown(Interval::Minute), ["0: 1.00 3.00 0.50 2.00 x4", "60: 4.00 4.00 4.00 4.00 x1"]);
    one.tick(3_600_000, 500);
    let hours = ["0: 1.00 4.00 0.50 4.00 x5", "3600: 5.00 5.00 5.00 5.00 x1"];
    assert_eq!(one.shown(Interval::Hour), hours, "an exchange was silent: nothing is partial");
    assert_eq!(one.series.newest(Interval::Hour, 1).len(), 1);
    assert_eq!(one.series.newest(Interval::Hour, 0).len(), 0);
    assert_eq!(one.shown(Interval::Second).len(), 4, "seconds without a price are not there");
}

#[test]
fn what_begins_late_is_partial_and_what_is_open_is_not() {
    let mut one = Watched::from_noon();
    one.tick(30_500, 100);
    one.tick(1_000, 100);
    let second = "1.00 1.00 1.00 1.00 x1";
    assert_eq!(one.shown(Interval::Second), [format!("30: {second} partial"), format!("31: {second}")]);
    one.tick(60_000, 100);
    let minutes = one.series.newest(Interval::Minute, 9);
    assert_eq!(minutes.iter().map(|minute| minute.partial).collect::<Vec<_>>(), [true, false]);
    assert!(one.series.newest(Interval::Hour, 9)[0].partial);
}

#[test]
fn a_gap_makes_partial_what_it_touches() {
    let mut one = Watched::from_noon();
    one.tick(0, 100);
    one.pass(59_000);
    one.pass(1_000);
    one.tick(30_000, 100);
    one.series.cut(&mut one.facts);
    // Away from 12:01:30 to 12:02:00 sharp.
    one.tick(30_000, 100);
    one.tick(60_000, 100);
    let partial = |series: &Series, of| {
        series.newest(of, 9).iter().map(|candle| (show(candle).contains("partial"), candle.ticks)).collect()
    };
    let minutes: Vec<_> = partial(&one.series, Interval::Minute);
    assert_eq!(minutes, [(false, 1), (true, 1), (false, 1), (false, 1)]);
    let hours: Vec<_> = partial(&one.series, Interval::Hour);
    assert_eq!(hours, [(true, 4)]);
    let mut again = one.clone();
    again.series.cut(&mut again.facts);
    assert_eq!(again.read_again().newest(Interval::Minute, 9), again.series.newest(Interval::Minute, 9));
}

#[test]
fn a_clock_that_was_set_back_takes_its_candles_along() {
    let mut one = Watched::from_noon();
    for _ in 0..200 {
        one.tick(1_000, 100);
    }
    one.tick(-1_900, 300);
    assert_eq!(one.series.newest(Interval::Second, 1)[0].ticks, 2, "jitter");
    one.tick(-98_100, 500);
    // 200 s after noon back to 100 s.
    let seconds = one.series.newest(Interval::Second, usize::MAX);
    assert_eq!((seconds.len(), show(&seconds[99])), (100, "100: 5.00 5.00 5.00 5.00 x1".to_owned()));
    let minutes = ["0: 1.00 1.00 1.00 1.00 x59", "60: 1.00 5.00 1.00 5.00 x41 partial"];
    assert_eq!(one.shown(Interval::Minute)[1..], minutes[1..]);
    assert_eq!(one.shown(Interval::Hour), ["0: 1.00 5.00 1.00 5.00 x100 partial"]);
    one.tick(-7_200_000, 600);
    assert_eq!(one.shown(Interval::Hour), ["-7200: 6.00 6.00 6.00 6.00 x1 partial"]);
    assert_eq!(
        one.read_again().newest(Interval::Hour, 9),
        one.series.newest(Interval::Hour, 0),
        "all is gone"
    );
}

#[test]
fn it_stays_within_its_bounds() {
    let mut one = Watched::default();
    for _ in 0..(CAPACITY[0] + 100) {
        one.tick(1_000, 100);
    }
    for _ in 0..(CAPACITY[1] * 2) {
        one.tick(1_800_000, 100);
        one.facts.clear();
    }
    for (level, of) in Interval::ALL.into_iter().enumerate() {
        let kept = one.series.newest(of, usize::MAX).len();
        assert!((CAPACITY[level]..=CAPACITY[level] + 2).contains(&kept), "{of}: {kept}");
        let own = &one.series.levels[level].closed;
        assert!(own.capacity() <= CAPACITY[level] + 8, "{}", own.capacity());
    }
    let kept: usize = one.series.levels.iter().map(|level| level.closed.capacity() * 48).sum();
    assert!(kept < 280_000, "{kept} bytes of a symbol");
}

#[test]
fn what_is_kept_is_what_is_shown() {
    let mut one = Watched::from_noon();
    for n in 0..9_000 {
        one.tick(700, 100 + n % 90);
    }
    one.series.cut(&mut one.facts);
    let all: Vec<_> = one.series.facts().collect();
    let copy = read(&all);
    for of in Interval::ALL {
        assert_eq!(copy.newest(of, usize::MAX), one.series.newest(of, usize::MAX));
    }
}

#[test]
fn unsound_facts_are_refused() {
    let good = Candle::new(Wall(NOON), price(100), false);
    let mut series = Series::default();
    series.apply(&Fact::Begin(Wall(NOON - 1_000))).unwrap();
    series.apply(&Fact::Closed(good)).unwrap();
    let later = |time| Candle { time: Wall(time), ..good };
    let bad = [
        Fact::Begin(Wall(-1)),
        Fact::Seen(Wall(i64::MAX)),
        Fact::Closed(good),
        Fact::Closed(later(NOON + 1_500)),
        Fact::Closed(Candle { ticks: 0, ..later(NOON + 1_000) }),
        Fact::Closed(Candle { high: price(50), ..later(NOON + 1_000) }),
        Fact::Closed(later(i64::MAX - 999)),
        Fact::Kept(Interval::Second, good),
        Fact::Kept(Interval::Minute, later(NOON - 60_000)),
    ];
    for fact in bad {
        assert_eq!(series.clone().apply(&fact), Err(Unsound), "{fact:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Tick(i64, u32),
    Late(i64, u32),
    Pass(i64),
    Away(i64),
    Restart,
    Back(i64),
}

fn act(back: bool) -> impl Strategy<Value = Act> {
    let pause = prop_oneof![5 => 0i64..1_500, 2 => 1_000i64..90_000, 1 => 60_000i64..7_200_000];
    prop_oneof![
        20 => (pause.clone(), 1u32..10_000).prop_map(|(ms, cents)| Act::Tick(ms, cents)),
        2 => (-1_900i64..0, 1u32..10_000).prop_map(|(ms, cents)| Act::Late(ms, cents)),
        4 => pause.clone().prop_map(Act::Pass),
        1 => pause.prop_map(Act::Away),
        1 => Just(Act::Restart),
        u32::from(back) => (3_000i64..400_000).prop_map(Act::Back),
    ]
}

/// Plays the history; returns the number of prices and the times without watching.
fn play(one: &mut Watched, acts: &[Act]) -> (u32, Vec<(i64, i64)>) {
    let (mut ticks, mut gaps, mut away) = (0, Vec::new(), Some(i64::MIN));
    for act in acts {
        match *act {
            Act::Late(ms, cents) if away.is_none() => {
                one.tick(ms, cents);
                one.now -= ms;
                ticks += 1;
            }
            Act::Late(..) => {}
            Act::Tick(ms, cents) => {
                one.tick(ms, cents);
                if let Some(since) = away.take() {
                    gaps.push((since, one.now));
                }
                ticks += 1;
            }
            Act::Pass(ms) => one.pass(ms),
            Act::Away(ms) => {
                one.series.cut(&mut one.facts);
                away = away.or(Some(one.now));
                one.now += ms;
            }
            Act::Restart => {
                one.series.cut(&mut one.facts);
                away = away.or(Some(one.now));
                one.series = one.read_again();
                one.facts = one.series.facts().collect();
            }
            Act::Back(ms) => one.now -= ms,
        }
    }
    (ticks, gaps)
}

fn check_shape(series: &Series) -> Result<(), TestCaseError> {
    for (level, of) in Interval::ALL.into_iter().enumerate() {
        let all = series.newest(of, usize::MAX);
        prop_assert!(all.len() <= CAPACITY[level] + 2);
        prop_assert!(all.iter().all(|candle| candle.is_sound(of)), "{of}: {all:?}");
        prop_assert!(all.windows(2).all(|two| two[0].time < two[1].time), "{of}: {all:?}");
        for few in [1, 2, 5] {
            prop_assert_eq!(&all[all.len().saturating_sub(few)..], &series.newest(of, few)[..]);
        }
    }
    Ok(())
}

/// Each longer candle equals the sum of its shorter ones.
fn check_merge(series: &Series, partial_too: bool) -> Result<(), TestCaseError> {
    for (shorter, longer) in [(Interval::Second, Interval::Minute), (Interval::Minute, Interval::Hour)] {
        let parts = series.newest(shorter, usize::MAX);
        for candle in series.newest(longer, usize::MAX) {
            let inside = parts.iter().filter(|part| longer.start(part.time) == candle.time);
            let merged = inside.copied().reduce(|mut all, part| {
                all.merge(&part);
                all
            });
            let Some(merged) = merged else { return Err(TestCaseError::fail(format!("{candle:?} of none"))) };
            if !candle.partial || partial_too {
                let expected = Candle { time: candle.time, partial: candle.partial, ..merged };
                prop_assert_eq!(candle, expected);
            }
            prop_assert!(candle.partial || !merged.partial, "{candle:?} of {merged:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn candles_are_true(acts in proptest::collection::vec(act(false), 0..120)) {
        let mut one = Watched::from_noon();
        let (ticks, gaps) = play(&mut one, &acts);
        check_shape(&one.series)?;
        check_merge(&one.series, true)?;
        for of in Interval::ALL {
            let all = one.series.newest(of, usize::MAX);
            prop_assert_eq!(all.iter().map(|candle| candle.ticks).sum::<u32>(), ticks);
            for candle in all.iter().filter(|candle| !candle.partial) {
                let (start, end) = (candle.time.0, candle.time.0 + of.millis());
                // Up to a second of jitter at its edges.
                let touched = gaps.iter().find(|gap| gap.0 < end - 1_000 && gap.1 > start + 1_000);
                prop_assert!(touched.is_none(), "{of} {candle:?} and a gap {touched:?}");
            }
        }
    }

    #[test]
    fn candles_keep_their_shape_when_the_clock_is_set_back(
        acts in proptest::collection::vec(act(true), 0..120),
    ) {
        let mut one = Watched::from_noon();
        play(&mut one, &acts);
        check_shape(&one.series)?;
        check_merge(&one.series, false)?;
    }

    #[test]
    fn what_was_written_down_makes_it_again(acts in proptest::collection::vec(act(false), 0..120)) {
        let mut one = Watched::from_noon();
        play(&mut one, &acts);
        one.series.cut(&mut one.facts);
        let again = one.read_again();
        for of in Interval::ALL {
            prop_assert_eq!(again.newest(of, usize::MAX), one.series.newest(of, usize::MAX));
        }
    }

    #[test]
    fn a_doubt_is_never_whole(acts in proptest::collection::vec(act(false), 1..60), lost in any::<prop::sample::Index>()) {
        let mut one = Watched::from_noon();
        play(&mut one, &acts);
        one.series.cut(&mut one.facts);
        let lost = lost.index(one.facts.len().max(1));
        let mut torn = Series::default();
        for (at, fact) in one.facts.iter().enumerate() {
            if at == lost || torn.apply(fact).is_err() {
                torn.doubt();
            }
        }
        torn.cut(&mut Vec::new());
        check_shape(&torn)?;
        let whole = one.series.newest(Interval::Minute, usize::MAX);
        for candle in torn.newest(Interval::Minute, usize::MAX).iter().filter(|candle| !candle.partial) {
            prop_assert!(whole.contains(candle), "{candle:?} lacks something");
        }
    }
}
