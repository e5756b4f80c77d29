//! Who gives way to whom, rule by rule, and random histories.

use super::tests::{NOW, directory, limits};
use super::*;
use crate::config::Share;
use proptest::prelude::*;

fn session(id: u128, last: u8, transport: Transport) -> Open<'static> {
    Open { address: IpAddr::from([10, 0, 0, last]), transport, ..super::tests::open(id, "a") }
}

fn poll(id: u128, last: u8) -> Open<'static> {
    session(id, last, Transport::Poll)
}

fn socket(id: u128, last: u8) -> Open<'static> {
    session(id, last, Transport::Websocket)
}

fn local(id: u128, last: u8) -> Open<'static> {
    Open { address: IpAddr::from([127, 0, 0, last]), ..socket(id, 0) }
}

fn evicted(directory: &mut Directory) -> Vec<u128> {
    let session = |relief| match relief {
        Relief::Evicted { session, .. } => Some(session.0),
        Relief::Replaced { .. } | Relief::Shed { .. } | Relief::Silent { .. } => None,
    };
    directory.take_relief().into_iter().filter_map(session).collect()
}

/// The verdict, and who ended for it.
fn opened(directory: &mut Directory, open: &Open<'_>, limits: &LimitsSection) -> (Verdict, Vec<u128>) {
    let verdict = directory.open(1, open, limits, NOW);
    (verdict, evicted(directory))
}

#[test]
fn polls_that_nobody_has_taken_up_give_way_oldest_first() {
    let (mut directory, bounds) = (directory(1), LimitsSection { sessions: 3, ..limits() });
    for id in 1..=3 {
        assert_eq!(opened(&mut directory, &poll(id, 1), &bounds), (Verdict::Accepted, vec![]));
    }
    directory.taken_up(1, SessionId(1));
    assert_eq!(
        directory.admission((Endpoint::Ws, "b", IpAddr::from([10, 0, 0, 2])), &bounds, NOW),
        Verdict::Accepted
    );
    assert_eq!(opened(&mut directory, &socket(4, 2), &bounds), (Verdict::Accepted, vec![2]));
    assert_eq!(opened(&mut directory, &poll(5, 2), &bounds), (Verdict::Accepted, vec![3]));
    assert_eq!(
        opened(&mut directory, &poll(6, 2), &bounds),
        (Verdict::Accepted, vec![5]),
        "its own may be the oldest"
    );
    directory.taken_up(1, SessionId(6));
    assert_eq!(opened(&mut directory, &socket(7, 3), &bounds), (Verdict::Full, vec![]), "all are taken up");
    assert_eq!(directory.totals().sessions, 3);
    // The worker still has those that ended, until it says so.
    assert_eq!(directory.announced(1).unwrap().0, 7);
    for gone in [2, 3, 5, 7] {
        assert!(!directory.closed(1, SessionId(gone)));
    }
    assert_eq!(directory.announced(1).unwrap().0, 3);
}

#[test]
fn descriptors_and_polls_are_counted_apart() {
    let mut directory = directory(1);
    directory.configure(false, Ceilings { connected: 2, polling: 2 });
    let bounds = limits();
    for id in 1..=2 {
        assert_eq!(directory.open(1, &poll(id, 1), &bounds, NOW), Verdict::Accepted);
        directory.taken_up(1, SessionId(id));
        assert_eq!(directory.open(1, &socket(10 + id, 1), &bounds, NOW), Verdict::Accepted);
    }
    assert_eq!(directory.open(1, &poll(3, 1), &bounds, NOW), Verdict::Full);
    assert_eq!(directory.open(1, &socket(13, 1), &bounds, NOW), Verdict::Full);
    assert!(directory.closed(1, SessionId(11)));
    assert_eq!(
        directory.open(1, &poll(4, 1), &bounds, NOW),
        Verdict::Full,
        "a descriptor is no help for a poll"
    );
    assert_eq!(directory.open(1, &session(14, 1, Transport::Sse), &bounds, NOW), Verdict::Accepted);
}

#[test]
fn an_address_has_a_quarter() {
    let mut directory = directory(1);
    let bounds = LimitsSection { sessions: 9, sessions_per_address: Share::Auto, ..limits() };
    for id in 1..=3 {
        assert_eq!(directory.open(1, &socket(id, 1), &bounds, NOW), Verdict::Accepted);
    }
    assert_eq!(opened(&mut directory, &socket(4, 1), &bounds), (Verdict::AddressLimit, vec![]));
    for id in 5..=7 {
        assert_eq!(opened(&mut directory, &poll(id, 2), &bounds), (Verdict::Accepted, vec![]));
    }
    assert_eq!(
        opened(&mut directory, &socket(8, 2), &bounds),
        (Verdict::Accepted, vec![5]),
        "its own oldest poll"
    );
}

#[test]
fn a_local_address_may_have_more_until_others_come() {
    let mut directory = directory(1);
    let bounds = LimitsSection { sessions: 8, sessions_per_address: Share::Auto, ..limits() };
    for id in 1..=8 {
        assert_eq!(opened(&mut directory, &local(id, 1), &bounds), (Verdict::Accepted, vec![]));
    }
    assert_eq!(opened(&mut directory, &local(9, 1), &bounds), (Verdict::Full, vec![]));
    for id in 10..=11 {
        let (verdict, gone) = opened(&mut directory, &socket(id, 1), &bounds);
        assert_eq!((verdict, gone.len()), (Verdict::Accepted, 1));
        assert!(gone[0] <= 8);
        let (verdict, gone) = opened(&mut directory, &local(10 + id, 2), &bounds);
        assert_eq!((verdict, gone.len()), (Verdict::Accepted, 1));
    }
    assert_eq!(opened(&mut directory, &local(30, 2), &bounds).0, Verdict::Full, "it has a quarter");
    let (verdict, gone) = opened(&mut directory, &socket(31, 2), &bounds);
    assert_eq!((verdict, gone.len()), (Verdict::Accepted, 1), "the fullest has four, and a quarter is two");
    let off = LimitsSection { sessions_per_address: Share::Most(0), ..bounds };
    assert_eq!(opened(&mut directory, &socket(32, 3), &off), (Verdict::Full, vec![]), "there are no shares");
}

#[test]
fn where_there_is_little_room_for_polls_the_worker_with_most_sheds_one() {
    let mut directory = directory(2);
    directory.configure(false, Ceilings { connected: 100, polling: 32 });
    let shed = Relief::Shed { worker: 2 };
    for id in 1..=40 {
        let worker = if id % 3 == 0 { 1 } else { 2 };
        let verdict = directory.open(worker, &poll(id, 1), &limits(), NOW);
        directory.taken_up(worker, SessionId(id));
        assert_eq!(verdict == Verdict::Full, id > 32, "{id}");
        assert_eq!(directory.take_relief(), if id > 30 { vec![shed] } else { vec![] }, "{id}");
    }
    assert_eq!(directory.open(1, &socket(99, 1), &limits(), NOW), Verdict::Accepted);
    assert_eq!(directory.take_relief(), [], "a poll has no descriptor to give");
    let bounds = LimitsSection { sessions: 33, ..limits() };
    assert_eq!(directory.open(1, &socket(98, 1), &bounds, NOW), Verdict::Full);
    let silent = Relief::Silent { worker: 1, of: None };
    assert_eq!(directory.take_relief(), [shed, silent]);
}

#[test]
fn where_there_is_little_room_for_connections_workers_look_for_silent_clients() {
    let mut full = directory(2);
    full.configure(false, Ceilings { connected: 32, polling: 100 });
    let silent = |worker, of| Relief::Silent { worker, of };
    for id in 1..=40u8 {
        let verdict = full.open(1 + u32::from(id % 2), &socket(id.into(), id), &limits(), NOW);
        assert_eq!(verdict == Verdict::Full, id > 32, "{id}");
        let all = [silent(1, None), silent(2, None)];
        assert_eq!(full.take_relief(), if id > 30 { &all[..] } else { &[] }, "{id}");
    }
    assert_eq!(full.open(1, &poll(99, 1), &limits(), NOW), Verdict::Accepted);
    assert_eq!(full.take_relief(), [], "a connection's end is no room for a poll");
    let (mut directory, bounds) =
        (directory(2), LimitsSection { sessions_per_address: Share::Most(4), ..limits() });
    for id in 1..=5 {
        let verdict = directory.open(1, &socket(id, 7), &bounds, NOW);
        assert_eq!(verdict == Verdict::AddressLimit, id > 4, "{id}");
        let own = [silent(1, Some([10, 0, 0, 7].into()))];
        assert_eq!(directory.take_relief(), if id > 4 { &own[..] } else { &[] }, "{id}");
    }
}

#[derive(Clone, Debug)]
enum Event {
    Opens(u8, u8, bool),
    TakenUp(u8),
    Closed(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..40u8, 0..4u8, any::<bool>()).prop_map(|(id, last, polls)| Event::Opens(id, last, polls)),
        2 => (0..40u8).prop_map(Event::TakenUp),
        2 => (0..40u8).prop_map(Event::Closed),
    ]
}

/// Sessions 0 and 1 of the addresses are of this machine.
fn any_open(id: u8, last: u8, polls: bool) -> Open<'static> {
    let transport = if polls { Transport::Poll } else { Transport::Websocket };
    let address = IpAddr::from(if last < 2 { [127, 0, 0, last] } else { [10, 0, 0, last] });
    Open { transport, address, ..super::tests::open(id.into(), "a") }
}

proptest! {
    #[test]
    fn there_are_never_too_many_and_counts_are_true(
        events in proptest::collection::vec(event(), 1..150),
        limit in prop_oneof![Just(0u32), 4..12u32],
    ) {
        let mut directory = directory(1);
        directory.configure(false, Ceilings { connected: 8, polling: 6 });
        let bounds = LimitsSection { sessions: limit, sessions_per_address: Share::Auto, ..limits() };
        // By id: the address, whether it polls, whether it is taken up.
        let mut here: BTreeMap<u8, (IpAddr, bool, bool)> = BTreeMap::new();
        for event in events {
            match event {
                Event::Opens(id, last, polls) if !here.contains_key(&id) => {
                    let open = any_open(id, last, polls);
                    let (verdict, gone) = opened(&mut directory, &open, &bounds);
                    prop_assert!(gone.len() <= 1 && (gone.is_empty() || verdict == Verdict::Accepted));
                    for gone in gone {
                        let (address, polled, taken) = here.remove(&u8::try_from(gone).unwrap()).unwrap();
                        prop_assert!(address.is_loopback() || (polled && !taken), "{gone} was somebody's");
                    }
                    if verdict == Verdict::Accepted {
                        here.insert(id, (open.address, polls, !polls));
                    }
                }
                Event::Opens(..) => {}
                Event::TakenUp(id) => {
                    directory.taken_up(1, SessionId(id.into()));
                    here.entry(id).and_modify(|one| one.2 = true);
                }
                Event::Closed(id) => {
                    prop_assert_eq!(directory.closed(1, SessionId(id.into())), here.remove(&id).is_some());
                }
            }
            let polling = here.values().filter(|one| one.1).count();
            prop_assert!(polling <= 6 && (limit == 0 || here.len() <= limit as usize));
            prop_assert!(limit > 0 || here.len() - polling <= 8);
            prop_assert_eq!(directory.totals().sessions, here.len());
            for (address, held) in &directory.addresses {
                let of = |polls: bool| here.values().filter(|one| one.0 == *address && one.1 == polls).count();
                prop_assert_eq!((held.connected as usize, held.polling as usize), (of(false), of(true)));
                prop_assert_eq!(directory.locals.contains(address), address.is_loopback());
            }
            prop_assert!(directory.locals.len() <= directory.addresses.len());
        }
        for id in here.into_keys() {
            directory.closed(1, SessionId(id.into()));
        }
        prop_assert!(directory.addresses.is_empty() && directory.locals.is_empty() && directory.untaken.len() == 0);
    }
}
