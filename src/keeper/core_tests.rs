//! Single decisions of the keeper.

use super::*;
use crate::protocol::keeper::Before;
use std::rc::Rc;

const LIMIT: Duration = Duration::from_secs(5);
const KILLED: End = End::Signal { signal: 9, core: false };

impl Share for Rc<()> {
    fn share(&self) -> Option<Self> {
        Some(self.clone())
    }
}

type Deeds = Vec<Deed<Rc<()>>>;

/// A keeper at a moment, and a descriptor that counts its copies.
struct Bench {
    keeper: Keeper<Rc<()>>,
    now: Mono,
    one: Rc<()>,
}

impl Bench {
    fn new() -> Self {
        let one = Rc::new(());
        let passed = vec![("http".into(), one.clone()), ("http".into(), one.clone())];
        let settings = Settings { pid: 1, watchdog: Some(LIMIT * 2), passed, sockets: 300, left: Vec::new() };
        let now = Mono(1_000_000_000_000);
        let mut bench = Self { keeper: Keeper::new(settings, now), now, one };
        let deeds = bench.tick(Duration::ZERO);
        assert!(matches!(deeds[..], [Deed::StartMaster(1, None)]), "{deeds:?}");
        bench
    }

    /// With a master that serves, and a worker.
    fn serving() -> Self {
        let mut bench = Self::new();
        bench.keeper.master_started(100, bench.now);
        bench.keeper.deeds();
        bench.order(ToKeeper::Serving, 0);
        bench.start(7);
        bench
    }

    fn tick(&mut self, by: Duration) -> Deeds {
        self.now = self.now.after(by);
        self.keeper.tick(self.now);
        self.keeper.deeds()
    }

    fn says(&mut self, who: Who, message: ToKeeper<'_>, descriptors: usize) -> Deeds {
        let with = (0..descriptors).map(|_| self.one.clone()).collect();
        self.keeper.hear(who, message, with, self.now);
        self.keeper.deeds()
    }

    fn order(&mut self, message: ToKeeper<'_>, descriptors: usize) -> Deeds {
        self.says(Who::Master(self.keeper.master), message, descriptors)
    }

    fn start(&mut self, generation: Generation) {
        let deeds = self.order(ToKeeper::Start { generation, role: Role::Worker(1) }, 1);
        let Some(Deed::Start(of, role, link, _)) = deeds.into_iter().next() else { panic!("no start") };
        self.keeper.started(of, role, 200 + of, link);
        let deeds = self.keeper.deeds();
        let started = FromKeeper::Started { generation, pid: 200 + of };
        assert_eq!(said(&deeds, Who::Child(generation)), [(&FromKeeper::Link, 1)]);
        assert_eq!(said(&deeds, Who::Master(self.keeper.master)), [(&started, 0)]);
    }

    fn ends(&mut self, who: Who, end: End) -> Deeds {
        self.keeper.ended(who, end, self.now);
        self.keeper.deeds()
    }

    fn signal(&mut self, signal: i32, stops: bool) -> Deeds {
        self.keeper.signal(signal, stops, self.now);
        self.keeper.deeds()
    }

    /// Another master is started. Returns what it is told.
    fn succeeds(&mut self) -> Deeds {
        let deeds = self.tick(Duration::ZERO);
        assert!(matches!(deeds[..], [Deed::StartMaster(..)]), "{deeds:?}");
        self.keeper.master_started(101, self.now);
        self.keeper.deeds()
    }
}

/// What was said to one, with counts of descriptors.
fn said(deeds: &Deeds, to: Who) -> Vec<(&FromKeeper, usize)> {
    let said = deeds.iter().filter_map(|deed| match deed {
        Deed::Say(who, message, with) if *who == to => Some((message, with.len())),
        _ => None,
    });
    said.collect()
}

fn begin(deeds: &Deeds) -> &Begin {
    let begin = deeds.iter().find_map(|deed| match deed {
        Deed::Say(_, FromKeeper::Begin(begin), _) => Some(begin),
        _ => None,
    });
    begin.expect("a beginning")
}

fn ending(deeds: &Deeds) -> Option<u8> {
    deeds.iter().find_map(|deed| if let Deed::End(status) = deed { Some(*status) } else { None })
}

#[test]
fn the_first_master_hears_what_systemd_passed_and_its_status_is_the_daemons_until_it_serves() {
    let mut bench = Bench::new();
    bench.keeper.master_started(100, bench.now);
    let deeds = bench.keeper.deeds();
    let held = FromKeeper::Held { name: "http".into() };
    let first =
        FromKeeper::Begin(Begin { version: VERSION, pid: 1, beat: Some(LIMIT), ..begin(&deeds).clone() });
    assert_eq!(said(&deeds, Who::Master(1)), [(&held, 1), (&held, 1), (&first, 0)]);
    bench.start(1);
    let deeds = bench.ends(Who::Master(1), End::Status(78));
    assert!(matches!(deeds[..], [Deed::Kill(Who::Child(1))]), "{deeds:?}");
    assert_eq!(ending(&bench.ends(Who::Child(1), KILLED)), Some(78));
}

#[test]
fn ctrl_c_that_ends_a_newborn_master_is_a_stop() {
    for (ends, status) in [(2, 0), (11, 1)] {
        let mut bench = Bench::new();
        bench.keeper.master_started(100, bench.now);
        bench.signal(2, true);
        let deeds = bench.ends(Who::Master(1), End::Signal { signal: ends, core: false });
        assert_eq!((ending(&deeds), deeds.len()), (Some(status), 1 + usize::from(status)));
    }
}

#[test]
fn a_master_that_cannot_be_started_is_complained_of() {
    let mut bench = Bench::new();
    bench.keeper.master_not_started("no memory", bench.now);
    let deeds = bench.keeper.deeds();
    assert!(
        matches!(&deeds[..], [Deed::Complain(text), Deed::End(1)] if text.contains("no memory")),
        "{deeds:?}"
    );
}

#[test]
fn the_next_master_hears_who_lives_what_is_held_and_how_the_one_before_ended() {
    let mut bench = Bench::serving();
    bench.start(8);
    bench.order(ToKeeper::Hold { name: "kept/http/x" }, 1);
    bench.order(ToKeeper::Hold { name: "kept/http/x" }, 1);
    bench.order(ToKeeper::Hold { name: "gone" }, 1);
    bench.order(ToKeeper::Release { name: "gone" }, 0);
    bench.ends(Who::Child(8), End::Status(1));
    assert_eq!(bench.ends(Who::Master(1), KILLED).len(), 0, "the worker lives on");
    let deeds = bench.succeeds();
    let names: Vec<_> = said(&deeds, Who::Master(2))
        .iter()
        .filter_map(|(message, _)| match message {
            FromKeeper::Held { name } => Some(&**name),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["http", "http", "kept/http/x"]);
    let begin = begin(&deeds);
    assert_eq!(begin.children, [Running { generation: 7, role: Role::Worker(1), pid: 207 }]);
    assert_eq!((begin.last_generation, &begin.gone[..]), (8, &[(8, End::Status(1))][..]));
    let before = Before { pid: 100, end: KILLED, silent: false, deaths: 1, pause: Duration::ZERO };
    assert_eq!(begin.before, Some(before));
    let late = bench.says(Who::Master(1), ToKeeper::Kill { generation: 7 }, 0);
    assert!(matches!(late[..], [Deed::Kill(Who::Master(1))]), "it is another's to say");
}

#[test]
fn a_silent_master_is_killed_and_the_next_one_gets_the_watchdogs_time() {
    let mut bench = Bench::serving();
    let fed = bench.order(ToKeeper::Beat { within: LIMIT, well: true }, 0);
    assert!(matches!(&fed[..], [Deed::Notify(text, _)] if **text == *"WATCHDOG=1"), "{fed:?}");
    assert_eq!(bench.order(ToKeeper::Beat { within: LIMIT, well: false }, 0).len(), 0);
    let deeds = bench.tick(LIMIT);
    assert!(matches!(deeds[..], [Deed::Kill(Who::Master(1))]), "{deeds:?}");
    bench.ends(Who::Master(1), KILLED);
    let deeds = bench.succeeds();
    assert!(begin(&deeds).before.unwrap().silent);
    assert!(matches!(deeds.last(), Some(Deed::Notify(text, _)) if **text == *"WATCHDOG=1"));
}

#[test]
fn signals_wait_for_the_next_master_and_a_stop_is_told_to_each() {
    let mut bench = Bench::serving();
    let told = bench.signal(1, false);
    assert_eq!(said(&told, Who::Master(1)), [(&FromKeeper::Signal(1), 0)]);
    bench.signal(10, false);
    bench.order(ToKeeper::Heard { signal: 10 }, 0);
    bench.ends(Who::Master(1), KILLED);
    assert_eq!(bench.signal(12, false).len(), 0, "1 was told to a master that has not heard it");
    let deeds = bench.succeeds();
    let all = said(&deeds, Who::Master(2));
    assert_eq!(all[all.len() - 2..], [(&FromKeeper::Signal(1), 0), (&FromKeeper::Signal(12), 0)]);
    bench.ends(Who::Master(2), KILLED);
    assert_eq!(bench.tick(Duration::ZERO).len(), 0, "there is a pause");
    bench.signal(1, false);
    bench.signal(15, true);
    for number in 3..6 {
        let deeds = bench.succeeds();
        let all = said(&deeds, Who::Master(number));
        let last = &all[all.len() - 2..];
        assert!(matches!(last, [(FromKeeper::Begin(_), 0), (FromKeeper::Signal(15), 0)]), "{last:?}");
        bench.ends(Who::Master(number), KILLED);
    }
}

#[test]
fn the_daemon_ends_with_the_status_that_the_master_gave_when_all_have_gone() {
    let mut bench = Bench::serving();
    bench.order(ToKeeper::Done { status: 3 }, 0);
    let deeds = bench.ends(Who::Master(1), End::Status(0));
    assert!(matches!(deeds[..], [Deed::Kill(Who::Child(7))]), "{deeds:?}");
    assert_eq!(ending(&bench.tick(GOING - Duration::from_millis(1))), None);
    assert_eq!(ending(&bench.tick(Duration::from_millis(1))), Some(3), "it hangs in the kernel");
}

#[test]
fn a_number_is_used_once_and_a_link_must_come() {
    let mut bench = Bench::serving();
    for (generation, descriptors, words) in
        [(7, 1, "started before"), (3, 1, "started before"), (9, 0, "did not come")]
    {
        let deeds = bench.order(ToKeeper::Start { generation, role: Role::Feeder }, descriptors);
        let all = said(&deeds, Who::Master(1));
        assert!(
            matches!(all[..], [(FromKeeper::NotStarted { error, .. }, 0)] if error.contains(words)),
            "{all:?}"
        );
    }
    assert_eq!(bench.order(ToKeeper::Relink { generation: 9 }, 1).len(), 0);
    let deeds = bench.order(ToKeeper::Relink { generation: 7 }, 1);
    assert_eq!(said(&deeds, Who::Child(7)), [(&FromKeeper::Link, 1)]);
}

#[test]
fn what_a_dead_process_gave_is_fetched_in_pages_and_kept_until_it_is_forgotten() {
    let mut bench = Bench::serving();
    bench.start(8);
    let (dead, heir) = (Who::Child(7), Who::Child(8));
    bench.says(dead, ToKeeper::Cells, 1);
    for key in 0..320 {
        let deeds = bench.says(dead, ToKeeper::Keep { key }, 1);
        let unkept = FromKeeper::Unkept { key };
        let told = if key < 300 { vec![] } else { vec![(&unkept, 0)] };
        assert_eq!(said(&deeds, dead), told);
    }
    assert_eq!(bench.keeper.vault.len(), 300, "the rest has no cover");
    (0..50).for_each(|key| _ = bench.says(dead, ToKeeper::Drop { key }, 0));
    let fetch = |keys| ToKeeper::Fetch { request: 5, of: 7, keys };
    let none = |bench: &mut Bench| {
        assert_eq!(bench.says(heir, fetch(None), 0).len(), 0, "it lives");
        bench.keeper.drained(heir);
        let deeds = bench.keeper.deeds();
        let nothing = FromKeeper::Sockets { request: 5, of: 7, keys: vec![], last: true };
        assert_eq!(said(&deeds, heir), [(&nothing, 0)]);
    };
    none(&mut bench);
    bench.ends(dead, KILLED);
    let deeds = bench.says(heir, fetch(None), 0);
    assert_eq!(said(&deeds, heir), [(&FromKeeper::Cells { request: 5, of: 7 }, 1)]);
    let mut got = Vec::new();
    while bench.keeper.wanted_by().contains(&heir) {
        bench.keeper.drained(heir);
        for deed in bench.keeper.deeds() {
            let Deed::Say(_, FromKeeper::Sockets { keys, .. }, with) = deed else { panic!("{deed:?}") };
            assert_eq!(keys.len(), with.len());
            got.extend(keys);
        }
    }
    assert_eq!(got, (50..300).collect::<Vec<_>>());
    bench.says(heir, ToKeeper::Forget { of: 7, keys: Some(vec![60, 61, 999]) }, 0);
    bench.says(heir, fetch(Some(vec![60, 62])), 0);
    bench.keeper.drained(heir);
    let deeds = bench.keeper.deeds();
    let one = FromKeeper::Sockets { request: 5, of: 7, keys: vec![62], last: true };
    assert_eq!(said(&deeds, heir), [(&one, 1)]);
    bench.says(heir, ToKeeper::Forget { of: 7, keys: None }, 0);
    none(&mut bench);
}

#[test]
fn what_nobody_fetches_is_closed_after_a_while() {
    let mut bench = Bench::serving();
    bench.says(Who::Child(7), ToKeeper::Keep { key: 1 }, 1);
    bench.ends(Who::Child(7), KILLED);
    bench.ends(Who::Master(1), KILLED);
    assert_eq!(begin(&bench.succeeds()).left, [7]);
    let left = bench.keeper.next_deadline().unwrap().since(bench.now);
    assert!(left <= Duration::from_secs(30), "{left:?}");
    bench.tick(Duration::from_secs(30));
    assert_eq!(bench.keeper.vault.len(), 0);
}

#[test]
fn whoever_says_what_is_not_its_to_say_is_killed() {
    let mut bench = Bench::serving();
    for message in [ToKeeper::Serving, ToKeeper::Done { status: 0 }, ToKeeper::Kill { generation: 7 }] {
        let deeds = bench.says(Who::Child(7), message, 0);
        assert!(matches!(deeds[..], [Deed::Kill(Who::Child(7))]), "{deeds:?}");
    }
    let deeds = bench.order(ToKeeper::Keep { key: 1 }, 1);
    assert!(matches!(deeds[..], [Deed::Kill(Who::Master(1))]), "{deeds:?}");
}

/// The master and the workers that are to be killed.
fn killed(deeds: &Deeds) -> Vec<Who> {
    deeds.iter().filter_map(|deed| if let Deed::Kill(who) = deed { Some(*who) } else { None }).collect()
}

/// Whether a master of another program than the keeper's own is started.
fn starts_other(deeds: &Deeds) -> Option<bool> {
    deeds
        .iter()
        .find_map(|deed| if let Deed::StartMaster(_, image) = deed { Some(image.is_some()) } else { None })
}

impl Bench {
    /// Another program takes over from a serving master and its worker 7, whose pack and socket are held.
    fn switched() -> Self {
        let mut bench = Self::serving();
        bench.order(ToKeeper::Hold { name: "pack/7" }, 1);
        bench.says(Who::Child(7), ToKeeper::Keep { key: 3 }, 1);
        let deeds = bench.order(ToKeeper::Switch { within: LIMIT }, 1);
        assert_eq!(killed(&deeds), [Who::Child(7), Who::Master(1)]);
        assert_eq!(starts_other(&bench.ends(Who::Master(1), KILLED)), None);
        assert_eq!(starts_other(&bench.tick(Duration::ZERO)), None, "the worker lives");
        bench.ends(Who::Child(7), KILLED);
        assert_eq!(starts_other(&bench.tick(Duration::ZERO)), Some(true));
        bench.keeper.master_started(102, bench.now);
        let deeds = bench.keeper.deeds();
        assert!(begin(&deeds).left.is_empty(), "what is in a pack is nobody's to adopt");
        bench
    }

    /// The program before is in use again.
    fn fell_back(&mut self, deeds: &Deeds) {
        let starts = starts_other(deeds).or_else(|| starts_other(&self.tick(Duration::ZERO)));
        assert_eq!(starts, Some(false));
        self.keeper.master_started(103, self.now);
        let deeds = self.keeper.deeds();
        let held = said(&deeds, Who::Master(3));
        assert!(held.contains(&(&FromKeeper::Held { name: "pack/7".into() }, 1)), "{held:?}");
        assert_eq!(self.keeper.vault.contents(7).map(|(_, keys)| keys), Some(vec![3]));
    }
}

#[test]
fn another_program_takes_over_and_stays() {
    let mut bench = Bench::switched();
    bench.order(ToKeeper::Serving, 0);
    bench.order(ToKeeper::Settled, 0);
    bench.order(ToKeeper::Beat { within: LIMIT, well: true }, 0);
    bench.ends(Who::Master(2), KILLED);
    assert_eq!(starts_other(&bench.tick(Duration::from_secs(5))), Some(true));
}

#[test]
fn a_spare_beyond_the_bound_is_refused_aloud() {
    let mut bench = Bench::serving();
    let me = Who::Child(7);
    for key in (0..300).chain([7]) {
        assert!(bench.says(me, ToKeeper::Keep { key }, 1).is_empty(), "{key}");
    }
    let deeds = bench.says(me, ToKeeper::Keep { key: 300 }, 1);
    assert_eq!(said(&deeds, me), [(&FromKeeper::Unkept { key: 300 }, 0)]);
    bench.says(me, ToKeeper::Drop { key: 7 }, 0);
    let deeds = bench.says(me, ToKeeper::KeepAll { keys: vec![301, 302] }, 2);
    assert_eq!(said(&deeds, me), [(&FromKeeper::Unkept { key: 302 }, 0)]);
}

#[test]
fn a_program_that_ends_before_it_serves_is_taken_back() {
    let mut bench = Bench::switched();
    let deeds = bench.ends(Who::Master(2), End::Status(1));
    bench.fell_back(&deeds);
    let mut bench = Bench::switched();
    bench.start(8);
    assert_eq!(ending(&bench.order(ToKeeper::Done { status: 1 }, 0)), None);
    let deeds = bench.ends(Who::Master(2), End::Status(1));
    assert_eq!(killed(&deeds), [Who::Child(8)]);
    let deeds = bench.ends(Who::Child(8), KILLED);
    bench.fell_back(&deeds);
}

#[test]
fn a_program_that_does_not_serve_in_time_is_taken_back() {
    let mut bench = Bench::switched();
    bench.order(ToKeeper::Beat { within: LIMIT * 9, well: true }, 0);
    let deeds = bench.tick(LIMIT);
    assert_eq!(killed(&deeds), [Who::Master(2)]);
    let deeds = bench.ends(Who::Master(2), KILLED);
    bench.fell_back(&deeds);
}

impl Bench {
    /// Another program takes over from a master, whose worker 7 lives on.
    fn succeeded() -> Self {
        let mut bench = Self::serving();
        let deeds = bench.order(ToKeeper::Succeed { within: LIMIT }, 1);
        assert_eq!(killed(&deeds), [Who::Master(1)]);
        let deeds = bench.ends(Who::Master(1), KILLED);
        assert_eq!(starts_other(&deeds).or_else(|| starts_other(&bench.tick(Duration::ZERO))), Some(true));
        bench.keeper.master_started(102, bench.now);
        let deeds = bench.keeper.deeds();
        let begin = begin(&deeds);
        assert_eq!((begin.children.len(), begin.before.map(|before| before.deaths)), (1, Some(0)));
        bench
    }

    /// The program before goes on with worker 7.
    fn goes_on(&mut self, deeds: &Deeds) {
        let starts = starts_other(deeds).or_else(|| starts_other(&self.tick(Duration::ZERO)));
        assert_eq!(starts, Some(false));
        self.keeper.master_started(103, self.now);
        assert_eq!(begin(&self.keeper.deeds()).children.len(), 1);
    }
}

#[test]
fn a_program_that_takes_over_from_living_processes_stays_once_it_serves() {
    let mut bench = Bench::succeeded();
    bench.order(ToKeeper::Beat { within: LIMIT * 9, well: true }, 0);
    assert!(killed(&bench.tick(LIMIT * 2)).is_empty(), "replacing processes takes its time");
    bench.order(ToKeeper::Serving, 0);
    bench.ends(Who::Master(2), KILLED);
    assert_eq!(starts_other(&bench.tick(Duration::from_secs(5))), Some(true));
    bench.keeper.master_started(103, bench.now);
    assert!(killed(&bench.tick(LIMIT)).is_empty(), "it need not say so again");
}

#[test]
fn one_that_fails_before_leaves_the_living_processes_to_the_program_before() {
    let mut bench = Bench::succeeded();
    let deeds = bench.ends(Who::Master(2), End::Status(1));
    assert!(killed(&deeds).is_empty());
    bench.goes_on(&deeds);
    let mut bench = Bench::succeeded();
    let deeds = bench.tick(LIMIT);
    assert_eq!(killed(&deeds), [Who::Master(2)], "it hangs");
    let deeds = bench.ends(Who::Master(2), KILLED);
    bench.goes_on(&deeds);
    let mut bench = Bench::succeeded();
    bench.order(ToKeeper::Beat { within: LIMIT, well: true }, 0);
    let deeds = bench.order(ToKeeper::GiveBack, 0);
    assert_eq!(killed(&deeds), [Who::Master(2)]);
    let deeds = bench.ends(Who::Master(2), KILLED);
    bench.goes_on(&deeds);
    assert!(killed(&bench.order(ToKeeper::GiveBack, 0)).is_empty(), "there is nothing to give back");
}

#[test]
fn a_stop_while_a_program_takes_over_is_a_stop() {
    let mut bench = Bench::switched();
    bench.signal(15, true);
    bench.order(ToKeeper::Done { status: 0 }, 0);
    assert_eq!(ending(&bench.ends(Who::Master(2), End::Status(0))), Some(0));
}

#[test]
fn what_is_left_with_systemd_is_packs_sockets_and_the_journal() {
    let mut bench = Bench::serving();
    bench.order(ToKeeper::Hold { name: "pack/7" }, 1);
    bench.order(ToKeeper::Hold { name: "legacy" }, 1);
    bench.order(ToKeeper::Hold { name: "journal" }, 1);
    bench.says(Who::Child(7), ToKeeper::Keep { key: 3 }, 1);
    bench.order(ToKeeper::Store, 0);
    bench.ends(Who::Child(7), KILLED);
    bench.signal(15, true);
    let deeds = bench.ends(Who::Master(1), KILLED);
    let [Deed::Store(all), .., Deed::End(0)] = &deeds[..] else { panic!("{deeds:?}") };
    let names: Vec<_> = all.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["pack/7", "legacy", "journal", "session/7/3"]);
    let left = vec![(7, 3, bench.one.clone())];
    let settings = Settings { pid: 1, watchdog: None, passed: Vec::new(), sockets: 300, left };
    let mut next = Keeper::new(settings, bench.now);
    next.tick(bench.now);
    next.deeds();
    next.master_started(9, bench.now);
    let deeds = next.deeds();
    assert_eq!((begin(&deeds).last_generation, &begin(&deeds).left), (7, &vec![7]));
}
