//! Tests of the router: each outcome once. What it said is what [`Said`] holds.

use super::*;
use crate::master::directory::tests::{ceilings, limits};
use crate::model::SessionId;
use crate::protocol::cluster::{Endpoint, Open, Transport};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(super) const START: Mono = Mono(1_000_000_000_000);
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Collects what is said, in order.
#[derive(Default)]
pub(super) struct Said {
    pub(super) pushes: Vec<(Generation, u64)>,
    pub(super) publishes: Vec<(Generation, u64)>,
    pub(super) receipts: Vec<(Generation, u64, Outcome)>,
    pub(super) sums: Vec<(Generation, u64, u32)>,
    /// Links that take nothing.
    pub(super) lost: BTreeMap<Generation, Lost>,
}

impl Sink for Said {
    fn push(&mut self, to: Generation, ticket: u64, order: &Order<'_>) -> Result<(), Lost> {
        assert!(!order.frame.is_empty());
        self.lost.get(&to).map_or(Ok(()), |lost| Err(*lost))?;
        self.pushes.push((to, ticket));
        Ok(())
    }

    fn publish(&mut self, to: Generation, ticket: u64, _: &Publication<'_>) -> Result<(), Lost> {
        self.lost.get(&to).map_or(Ok(()), |lost| Err(*lost))?;
        self.publishes.push((to, ticket));
        Ok(())
    }

    fn receipt(&mut self, to: Generation, request: u64, outcome: Outcome) {
        self.receipts.push((to, request, outcome));
    }

    fn publish_receipt(&mut self, to: Generation, request: u64, sessions: u32) {
        self.sums.push((to, request, sessions));
    }
}

pub(super) const OFF: Rates = Rates { user: Rate::OFF, poster: Rate::OFF };
const POSTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub(super) fn order(request: u64, user: &str) -> Order<'_> {
    let deadline = START.after(TIMEOUT);
    Order { request, id: RequestId(1), user, symbol: "BTC-USD", frame: b"frame", deadline, poster: POSTER }
}

pub(super) fn publication(request: u64) -> Publication<'static> {
    Publication {
        request,
        channel: "news",
        frame: b"frame",
        deadline: START.after(TIMEOUT),
        skip: None,
        of: None,
    }
}

pub(super) fn join(
    directory: &mut Directory,
    worker: Generation,
    session: u128,
    user: &str,
    endpoint: Endpoint,
) {
    let open = Open {
        session: SessionId(session),
        user,
        device: None,
        endpoint,
        transport: Transport::Websocket,
        address: IpAddr::from([127, 0, 0, 1]),
        since: 0,
        tag: 0,
    };
    directory.open(worker, &open, &limits(), START);
}

/// Three workers; "both" is at 1 (one session) and 2 (two), "one" at 1, "echo" has no session for quotes.
fn scene() -> (Directory, Router, Said) {
    let mut directory = Directory::new(ceilings(u32::MAX));
    (1..=3).for_each(|generation| directory.worker_born(generation, 1));
    for (worker, session, user) in [(1, 1, "both"), (2, 2, "both"), (2, 3, "both"), (1, 4, "one")] {
        join(&mut directory, worker, session, user, Endpoint::Ws);
    }
    join(&mut directory, 3, 5, "echo", Endpoint::Echo);
    join(&mut directory, 3, 6, "both", Endpoint::Echo);
    (directory, Router::new(OFF), Said::default())
}

pub(super) fn tally(delivered: u32, slow: u32, waiting: u32) -> Tally {
    Tally { delivered, slow, waiting }
}

#[test]
fn what_needs_no_worker_is_answered_at_once_and_in_the_documented_order() {
    let (directory, mut router, mut said) = scene();
    let empty = |user| Order { frame: b"", ..order(1, user) };
    router.set_rates(Rates { user: Rate::parse("1/s").unwrap(), ..OFF });
    router.deliver(3, &empty("nobody"), &directory, START, &mut said);
    router.deliver(3, &empty("nobody"), &directory, START, &mut said);
    router.deliver(3, &empty("echo"), &directory, START, &mut said);
    router.deliver(3, &empty("one"), &directory, START, &mut said);
    let late = Order { deadline: START, ..order(1, "both") };
    router.deliver(3, &late, &directory, START, &mut said);
    let outcomes: Vec<_> = said.receipts.iter().map(|(.., outcome)| *outcome).collect();
    assert!(matches!(outcomes[1], Outcome::Limited(wait) if !wait.is_zero()));
    assert_eq!(outcomes[0], Outcome::NotConnected);
    assert_eq!(outcomes[2..], [Outcome::NotConnected, Outcome::NoPrice, Outcome::Unknown]);
    assert!(said.pushes.is_empty() && router.pending() == 0);
    assert_eq!(router.users.len(), 4);
    router.tidy(START.after(TIMEOUT));
    assert_eq!(router.users.len(), 0);
}

/// The outcome of a quote to "both" when workers 1 and 2 say this (`None`: nothing until the deadline).
fn heard(first: Option<Tally>, second: Option<Tally>) -> Outcome {
    let (directory, mut router, mut said) = scene();
    router.deliver(3, &order(7, "both"), &directory, START, &mut said);
    assert_eq!(said.pushes.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [1, 2]);
    let ticket = said.pushes[0].1;
    for (worker, tally) in [(1, first), (2, second)] {
        if let Some(tally) = tally {
            assert!(said.receipts.is_empty());
            router.delivered(worker, ticket, tally, &mut said);
        }
    }
    router.expire(Mono(START.after(TIMEOUT).0 - 1), &mut said);
    assert_eq!(said.receipts.is_empty(), first.is_none() || second.is_none());
    router.expire(START.after(TIMEOUT), &mut said);
    assert_eq!((said.receipts.len(), router.pending(), router.next_deadline()), (1, 0, None));
    assert_eq!((said.receipts[0].0, said.receipts[0].1), (3, 7));
    said.receipts[0].2
}

#[test]
fn the_tallies_make_the_outcome() {
    let delivered = |sessions, unconfirmed| Outcome::Delivered { sessions, unconfirmed };
    assert_eq!(heard(Some(tally(1, 0, 0)), Some(tally(2, 0, 0))), delivered(3, 0));
    assert_eq!(heard(Some(tally(0, 1, 0)), Some(tally(1, 0, 1))), delivered(1, 1));
    assert_eq!(heard(Some(tally(1, 0, 0)), None), delivered(1, 2));
    assert_eq!(heard(Some(tally(0, 0, 0)), Some(tally(0, 0, 0))), Outcome::NotConnected);
    assert_eq!(heard(Some(tally(0, 1, 0)), Some(tally(0, 0, 0))), Outcome::Slow);
    assert_eq!(heard(Some(tally(0, 1, 0)), Some(tally(0, 0, 2))), Outcome::Unknown);
    assert_eq!(heard(Some(tally(0, 1, 0)), None), Outcome::Unknown);
    assert_eq!(heard(None, None), Outcome::Unknown);
}

#[test]
fn a_full_link_is_slow_and_a_broken_one_is_nobody() {
    let (directory, mut router, mut said) = scene();
    said.lost.insert(1, Lost::Full);
    router.deliver(3, &order(1, "one"), &directory, START, &mut said);
    router.deliver(3, &order(2, "both"), &directory, START, &mut said);
    router.delivered(2, said.pushes[0].1, tally(0, 0, 0), &mut said);
    said.lost.insert(1, Lost::Gone);
    router.deliver(3, &order(3, "one"), &directory, START, &mut said);
    let expected = [(3, 1, Outcome::Slow), (3, 2, Outcome::Slow), (3, 3, Outcome::NotConnected)];
    assert_eq!(said.receipts, expected);
}

#[test]
fn a_death_makes_the_rest_unknown_and_the_dead_are_not_answered() {
    let (directory, mut router, mut said) = scene();
    router.deliver(3, &order(1, "one"), &directory, START, &mut said);
    router.deliver(3, &order(2, "both"), &directory, START, &mut said);
    router.deliver(1, &order(3, "both"), &directory, START, &mut said);
    let ticket = said.pushes[1].1;
    router.worker_gone(1, &mut said);
    assert_eq!(said.receipts, [(3, 1, Outcome::Unknown)]);
    router.delivered(1, ticket, tally(1, 0, 0), &mut said);
    router.delivered(2, ticket, tally(2, 0, 0), &mut said);
    router.delivered(2, ticket, tally(2, 0, 0), &mut said);
    assert_eq!(said.receipts[1..], [(3, 2, Outcome::Delivered { sessions: 2, unconfirmed: 1 })]);
    assert_eq!(router.pending(), 0);
}

#[test]
fn the_number_of_a_finished_ticket_finds_nothing() {
    let (directory, mut router, mut said) = scene();
    router.deliver(3, &order(1, "one"), &directory, START, &mut said);
    router.delivered(1, said.pushes[0].1, tally(1, 0, 0), &mut said);
    router.deliver(3, &order(2, "one"), &directory, START, &mut said);
    assert_ne!(said.pushes[0].1, said.pushes[1].1);
    router.delivered(1, said.pushes[0].1, tally(1, 0, 0), &mut said);
    assert_eq!((said.receipts.len(), router.pending()), (1, 1));
}

#[test]
fn a_message_is_summed_over_the_ready_workers() {
    let (_, mut router, mut said) = scene();
    router.publish(0, &publication(1), [], START, &mut said);
    router.publish(0, &publication(2), [1, 2, 3], START, &mut said);
    let ticket = said.publishes[0].1;
    router.published(1, ticket, 4, &mut said);
    router.delivered(2, ticket, tally(9, 0, 0), &mut said);
    router.worker_gone(2, &mut said);
    router.published(3, ticket, 5, &mut said);
    router.publish(0, &publication(3), [1, 3], START, &mut said);
    router.published(1, said.publishes[3].1, 1, &mut said);
    router.expire(START.after(TIMEOUT), &mut said);
    let late = Publication { deadline: START, ..publication(4) };
    router.publish(0, &late, [1, 3], START, &mut said);
    assert_eq!(said.sums, [(0, 1, 0), (0, 2, 9), (0, 3, 1), (0, 4, 0)]);
    assert_eq!((said.publishes.len(), router.pending()), (5, 0));
}

#[test]
fn a_flood_of_one_poster_uses_up_no_user() {
    let (directory, mut router, mut said) = scene();
    let once = Rate::parse("1/s").unwrap();
    router.set_rates(Rates { user: once, poster: once });
    let from = |request, user, last| Order {
        poster: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        ..order(request, user)
    };
    for (request, user, last) in
        [(1, "nobody", 1), (2, "one", 1), (3, "one", 1), (4, "one", 2), (5, "both", 2)]
    {
        router.deliver(3, &from(request, user, last), &directory, START, &mut said);
    }
    let limited = said.receipts.iter().filter(|(.., outcome)| matches!(outcome, Outcome::PosterLimited(_)));
    let limited: Vec<_> = limited.map(|(_, request, _)| *request).collect();
    assert_eq!(limited, [2, 3, 5], "the second poster still finds the user's quote");
    assert_eq!(router.pending(), 1);
    router.deliver(3, &from(6, "one", 3), &directory, START, &mut said);
    assert!(matches!(said.receipts.last(), Some((_, 6, Outcome::Limited(_)))));
}
