//! Costs of the directory and the router in CPU time and memory, printed. Run by hand, one at a time, in a build
//! that is worth measuring: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib cost::plain -- --ignored --nocapture`.

use super::tests::{OFF, START, TIMEOUT, join, order, tally};
use super::*;
use crate::master::directory::tests::ceilings;
use crate::model::SessionId;
use crate::os::process::usage;
use crate::protocol::cluster::Endpoint;
use std::time::Duration;

const SESSIONS: u32 = 100_000;
const ROUNDS: u32 = 10;

/// Answers nothing and keeps nothing but the last ticket.
#[derive(Default)]
struct Bare {
    last: (Generation, u64),
    receipts: u64,
}

impl Sink for Bare {
    fn push(&mut self, to: Generation, ticket: u64, order: &Order<'_>) -> Result<(), Lost> {
        std::hint::black_box(order.frame);
        self.last = (to, ticket);
        Ok(())
    }

    fn publish(&mut self, _: Generation, _: u64, _: &Publication<'_>) -> Result<(), Lost> {
        Ok(())
    }

    fn receipt(&mut self, _: Generation, _: u64, _: Outcome) {
        self.receipts += 1;
    }

    fn publish_receipt(&mut self, _: Generation, _: u64, _: u32) {}
}

/// Runs `work` for each name, in an order that is no order of memory, and prints the nanoseconds of CPU for one.
fn timed(what: &str, names: &[String], rounds: u32, mut work: impl FnMut(usize, &str)) {
    let start = usage().cpu_us;
    for round in 0..rounds as usize {
        for step in 0..names.len() {
            let at = (step * 48_271 + round) % names.len();
            work(at, &names[at]);
        }
    }
    let ns = (usage().cpu_us - start) * 1000 / (names.len() as u64 * u64::from(rounds));
    println!("{what}: {ns} ns");
}

fn measure(ranked: bool) {
    let names: Vec<_> = (0..SESSIONS)
        .map(|n| SessionId(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c)).to_string())
        .collect();
    let (mut directory, mut sink) = (Directory::new(ceilings(u32::MAX)), Bare::default());
    directory.configure(ranked, ceilings(u32::MAX));
    (1..=4).for_each(|generation| directory.worker_born(generation, 1));
    let before = usage().rss;
    timed("open", &names, 1, |at, name| {
        join(&mut directory, at as u32 % 4 + 1, at as u128, name, Endpoint::Ws);
    });
    let bytes = (usage().rss - before) / u64::from(SESSIONS);
    println!("a session: {bytes} bytes, of a user of its own, users ranked: {ranked}");
    for (rate, what) in [("0", "deliver, no limit"), ("1000/s", "deliver, limited")] {
        let mut router = Router::new(Rates { user: Rate::parse(rate).unwrap(), ..OFF });
        timed(what, &names, ROUNDS, |at, name| {
            router.deliver(1, &order(at as u64, name), &directory, START, &mut sink);
            let (worker, ticket) = sink.last;
            router.delivered(worker, ticket, tally(1, 0, 0), &mut sink);
        });
        assert_eq!(router.pending(), 0);
        timed("deliver, 100,000 under way", &names, 1, |at, name| {
            router.deliver(1, &order(at as u64, name), &directory, START, &mut sink);
        });
        router.expire(START.after(TIMEOUT), &mut sink);
    }
    assert_eq!(sink.receipts, u64::from(SESSIONS) * u64::from(ROUNDS + 1) * 2);
    let start = usage().cpu_us;
    let shown: usize = (0..1000).map(|_| directory.first_users(50).count()).sum();
    println!("first {} users: {} ns", shown / 1000, usage().cpu_us - start);
    let start = usage().cpu_us;
    assert_eq!(directory.worker_gone(1), 25_000);
    println!("death of a worker with 25,000: {:?}", Duration::from_micros(usage().cpu_us - start));
    timed("close", &names, 1, |at, _| {
        directory.closed(at as u32 % 4 + 1, SessionId(at as u128));
    });
    assert_eq!(directory.totals().sessions, 0);
}

#[test]
#[ignore = "prints, decides nothing"]
fn plain() {
    measure(false);
}

#[test]
#[ignore = "prints, decides nothing"]
fn ranked() {
    measure(true);
}
