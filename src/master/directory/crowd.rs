//! A crowd: the statistics stay small however many there are.

use super::tests::{NOW, ceilings, directory, limits, open};
use crate::model::Wall;
use crate::stats::{FeederRow, Statistics, UserRow, WorkerRow};

const USERS: u32 = 100_000;
const WORKERS: u32 = 64;

#[test]
fn the_statistics_of_a_hundred_thousand_users_stay_small() {
    let mut directory = directory(WORKERS);
    directory.configure(true, ceilings(u32::MAX));
    // The longest names there are, and one user who is everywhere.
    let names: Vec<_> = (0..USERS).map(|n| format!("{n:0>128}")).collect();
    for (n, name) in (0..USERS).zip(&names) {
        directory.open(n % WORKERS + 1, &open(u128::from(n), name), &limits(), NOW);
    }
    for n in 1..WORKERS {
        directory.open(n + 1, &open(u128::from(USERS + n), &names[7 * WORKERS as usize]), &limits(), NOW);
    }
    let counts = directory.totals();
    let users = directory.first_users(50).map(|presence| UserRow {
        user_id: presence.user.as_str(),
        sessions: presence.sessions,
        workers: presence.workers,
    });
    let users: Vec<_> = users.collect();
    assert_eq!((users[0].sessions, users[0].workers.len()), (WORKERS, WORKERS as usize));
    assert_eq!(users[1].user_id, names[0]);
    assert_eq!((users.len(), counts.users), (50, USERS as usize));
    let worker = |id| WorkerRow {
        id,
        pid: Some(u32::MAX),
        state: "starting",
        uptime_s: 100_000_000,
        restarts: 1_000_000,
        sessions: directory.counts(id.into()).0,
        users: directory.counts(id.into()).1,
        cpu_pct: 100.1,
        rss_bytes: 1 << 40,
        messages_in: 1 << 50,
        messages_out: 1 << 50,
        lag_ms: 12_345.6,
        age_ms: Some(12_345),
    };
    let statistics = Statistics {
        time: Wall(1_763_640_863_120),
        uptime_s: 100_000_000,
        version: "0.1.0",
        workers: (1..=u16::try_from(WORKERS).unwrap()).map(worker).collect(),
        feeder: FeederRow { pid: Some(1), state: "ready", restarts: 0 },
        totals: crate::stats::Totals {
            workers: WORKERS as usize,
            sessions: counts.sessions,
            users: counts.users,
            by_endpoint: counts.by_endpoint,
            by_transport: counts.by_transport,
        },
        price: None,
        users_truncated: Some(counts.users - users.len()),
        users: Some(users),
    };
    let size = statistics.message().len();
    assert!(size < 64 << 10, "{size} bytes");
    assert_eq!((counts.sessions, statistics.users_truncated), (100_063, Some(99_950)));
}
