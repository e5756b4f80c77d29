//! Tests of the planner: from any distribution it gets even, by as few moves as that needs, and stays calm then.

use super::*;
use proptest::prelude::*;

const RATE: Rate = Rate { count: 100, per: Duration::from_secs(1) };

fn second(n: u64) -> Mono {
    Mono((n + 1) * 1_000_000_000)
}

fn loads(all: &[u32]) -> Vec<Load> {
    (1..).zip(all).map(|(worker, sessions)| Load { worker, sessions: *sessions, bound: 0 }).collect()
}

fn apply(all: &mut [u32], moves: &[Move]) {
    for each in moves {
        all[each.from as usize - 1] -= each.sessions;
        all[each.to as usize - 1] += each.sessions;
    }
}

fn whole(moved: u32) -> Counts {
    Counts { moved, ..Counts::default() }
}

/// Sessions that must move so that all are even.
fn needed(all: &[u32]) -> u32 {
    let mut order = all.to_vec();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let (sum, workers) = (order.iter().sum::<u32>(), u32::try_from(order.len()).unwrap());
    let target = |at: u32| sum / workers + u32::from(at < sum % workers);
    (0..).zip(order).map(|(at, own)| own.saturating_sub(target(at))).sum()
}

/// Lets seconds pass, until `until` says so; each move ends in the second in which it began.
fn run(balance: &mut Balance, all: &mut [u32], from: u64, seconds: u64) -> Vec<(u64, u32)> {
    let mut rounds = Vec::new();
    for n in from..from + seconds {
        let moves = balance.plan(&loads(all), true, second(n));
        apply(all, &moves);
        for each in &moves {
            balance.ended(whole(each.sessions), second(n));
        }
        let sum: u32 = moves.iter().map(|each| each.sessions).sum();
        rounds.extend((sum > 0).then_some((n, sum)));
    }
    rounds
}

#[test]
fn a_new_worker_gets_its_share_soon() {
    let (mut balance, mut all) = (Balance::new(RATE), vec![100, 100, 100]);
    assert_eq!(run(&mut balance, &mut all, 0, 100), []);
    all.push(0);
    let rounds = run(&mut balance, &mut all, 100, 20);
    assert_eq!((all, rounds), (vec![75, 75, 75, 75], vec![(102, 75)]));
    // With a small rate it takes longer, and with none it waits for an operator.
    let (mut balance, mut all) = (Balance::new(Rate { count: 10, ..RATE }), vec![100, 100, 100]);
    run(&mut balance, &mut all, 0, 1);
    all.push(0);
    assert_eq!(run(&mut balance, &mut all, 1, 20).len(), 8);
    let (mut balance, mut all) = (Balance::new(Rate::OFF), vec![300, 0]);
    assert_eq!(run(&mut balance, &mut all, 0, 100), []);
    balance.ask();
    assert_eq!(run(&mut balance, &mut all, 100, 5), [(100, 150)]);
    assert_eq!(balance.take_outcome(), Some(whole(150)));
    assert!(!balance.is_asked());
}

#[test]
fn workers_are_patient_with_a_difference_that_may_go_by_itself() {
    let (mut balance, mut all) = (Balance::new(RATE), vec![108, 100]);
    assert_eq!(run(&mut balance, &mut all, 0, 60), [], "a little is none");
    all[0] = 140;
    assert_eq!(run(&mut balance, &mut all, 60, 9), []);
    all[0] = 100;
    assert_eq!(run(&mut balance, &mut all, 69, 1), [], "it begins anew");
    all[0] = 140;
    assert_eq!(run(&mut balance, &mut all, 70, 30), [(80, 20)]);
}

#[test]
fn a_replacement_hands_over_by_itself() {
    let (mut balance, now) = (Balance::new(RATE), second);
    balance.plan(&loads(&[100, 100]), true, now(0));
    // The second worker has a successor, which gets all of it.
    let of =
        |sessions| vec![Load { worker: 1, sessions: 100, bound: 0 }, Load { worker: 3, sessions, bound: 0 }];
    assert_eq!(balance.plan(&of(0), false, now(1)), []);
    assert_eq!(balance.plan(&of(50), false, now(4)), []);
    assert_eq!(balance.plan(&of(100), true, now(5)), []);
    assert_eq!(balance.plan(&of(100), true, now(9)), []);
}

#[test]
fn a_round_that_moves_nothing_is_followed_by_a_rest() {
    let (mut balance, all) = (Balance::new(RATE), loads(&[100, 0]));
    let mut rounds = Vec::new();
    for n in 0..100 {
        let moves = balance.plan(&all, true, second(n));
        if !moves.is_empty() {
            rounds.push(n);
            assert_eq!(balance.plan(&all, true, second(n)), [], "one after the other");
            balance.ended(Counts { left: 50, ..Counts::default() }, second(n));
        }
    }
    assert_eq!(rounds, [10, 80], "patience, a rest of a minute, patience");
}

#[test]
fn what_an_operator_asks_for_has_an_end_though_clients_come_and_go() {
    let (mut balance, mut all) = (Balance::new(RATE), vec![1000, 700]);
    balance.ask();
    let mut rounds = 0;
    for n in 0..8 {
        let moves = balance.plan(&loads(&all), true, second(n));
        rounds += usize::from(!moves.is_empty());
        for Move { from, to, sessions } in moves {
            all[from as usize - 1] -= sessions;
            all[to as usize - 1] += sessions;
            balance.ended(whole(sessions), second(n));
        }
        all[0] += 10;
    }
    assert_eq!((rounds, balance.is_asked()), (2, false));
    assert_eq!(balance.take_outcome(), Some(whole(155)));
}

#[test]
fn a_worker_full_of_tls_gives_the_rest_to_the_others() {
    let load = |worker, sessions, bound| Load { worker, sessions, bound };
    let all = [load(1, 1000, 990), load(2, 200, 0), load(3, 0, 0)];
    assert_eq!(targets(&all), [990, 105, 105]);
    let order = |from, to, sessions| Move { from, to, sessions };
    assert_eq!(moves(&all, 1000), [order(1, 3, 10), order(2, 3, 95)]);
    let secured = [load(1, 500, 500), load(2, 20, 20), load(3, 0, 0)];
    assert_eq!((moves(&secured, 1000), differ(&secured)), (vec![], 0));
}

fn rate() -> impl Strategy<Value = Rate> {
    (1..300u32, 1..90u64).prop_map(|(count, secs)| Rate { count, per: Duration::from_millis(secs * 100) })
}

proptest! {
    #[test]
    fn from_any_distribution_it_gets_even_and_then_rests(
        all in proptest::collection::vec(0..3000u32, 1..9), rate in rate(), asked: bool,
    ) {
        let (mut balance, mut now) = (Balance::new(rate), all.clone());
        if asked {
            balance.ask();
        }
        let (before, began) = (needed(&all), differ(&loads(&all)) > strict(&loads(&all)));
        // A round is asked for each second.
        let each = u64::try_from(rate.per.as_millis().div_ceil(1000)).unwrap();
        let bound = u64::from(before.div_ceil(rate.count) + 1) * each + PATIENCE.as_secs() + 1;
        let rounds = run(&mut balance, &mut now, 0, bound);
        prop_assert!(rounds.iter().map(|(_, sessions)| sessions).sum::<u32>() <= before, "no more than needed");
        for (at, _) in &rounds {
            let window = rounds.iter().filter(|(n, _)| n >= at && u128::from(n - at) * 1000 < rate.per.as_millis());
            let sum: u32 = window.map(|(_, sessions)| sessions).sum();
            prop_assert!(sum <= rate.count, "{sum} within {:?}", rate.per);
        }
        if asked || began {
            let most = if asked { 1 } else { slack(&loads(&now)) };
            prop_assert!(differ(&loads(&now)) <= most, "{all:?} {now:?} after {bound} s");
        } else {
            prop_assert_eq!(&now, &all);
        }
        prop_assert_eq!(now.iter().sum::<u32>(), all.iter().sum::<u32>());
        prop_assert_eq!(run(&mut balance, &mut now, bound, 100), []);
    }

    /// Sessions over TLS stay where they are, and are not asked to move again and again.
    #[test]
    fn what_cannot_move_is_not_ordered_to(
        mut all in proptest::collection::vec((0..500u32, 0..3000u32), 1..9), asked: bool,
    ) {
        let of = |all: &[(u32, u32)]| -> Vec<Load> {
            let load = |(worker, (free, bound)): (_, &(u32, u32))| Load { worker, sessions: free + bound, bound: *bound };
            (1..).zip(all).map(load).collect()
        };
        let mut balance = Balance::new(RATE);
        if asked {
            balance.ask();
        }
        let free: u32 = all.iter().map(|(free, _)| free).sum();
        let (mut moved, mut last) = (0, 0);
        for n in 0..300 {
            let loads = of(&all);
            let spread = differ(&loads);
            let moves = balance.plan(&loads, true, second(n));
            for Move { from, to, sessions } in moves {
                prop_assert!(all[from as usize - 1].0 >= sessions, "more than can move");
                all[from as usize - 1].0 -= sessions;
                all[to as usize - 1].0 += sessions;
                (moved, last) = (moved + sessions, n);
                balance.ended(whole(sessions), second(n));
            }
            prop_assert!(differ(&of(&all)) <= spread);
        }
        prop_assert!(moved <= free && last < 100, "{moved} of {free} until {last}");
        if asked {
            prop_assert!(differ(&of(&all)) <= 1, "{all:?}");
        }
    }

    /// Sessions come and go while others move: none moves back within the same rounds.
    #[test]
    fn a_worker_that_gives_does_not_take(
        mut all in proptest::collection::vec(0..500u32, 2..6),
        changes in proptest::collection::vec((0..6usize, 0..6u32, any::<bool>()), 60),
    ) {
        let mut balance = Balance::new(RATE);
        for (n, (at, by, more)) in (0..).zip(changes) {
            let at = at % all.len();
            all[at] = if more { all[at] + by } else { all[at].saturating_sub(by) };
            let moves = balance.plan(&loads(&all), true, second(n));
            let from: BTreeSet<_> = moves.iter().map(|each| each.from).collect();
            prop_assert!(moves.iter().all(|each| each.from != each.to && !from.contains(&each.to)));
            let before = differ(&loads(&all));
            apply(&mut all, &moves);
            prop_assert!(moves.is_empty() || differ(&loads(&all)) <= before);
            moves.iter().for_each(|each| balance.ended(whole(each.sessions), second(n)));
        }
    }
}
