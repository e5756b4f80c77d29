//! Costs of the rooms in CPU time and memory, printed. Run by hand, one at a time, in a build that is
//! worth measuring:
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib rooms::cost::one -- --ignored --nocapture`.

use super::tests::{NOW, user, visitor};
use super::*;
use crate::os::process::usage;

/// Prints the nanoseconds of CPU for one of `count`.
fn timed(what: &str, count: usize, work: impl FnOnce()) {
    let start = usage().cpu_us;
    work();
    println!("{what}: {} ns", (usage().cpu_us - start) * 1000 / count as u64);
}

/// `count` rooms with `each` members of so many users, at four workers.
fn measure(count: usize, each: u32) {
    let names: Vec<_> = (0..count).map(|n| format!("room-{n}")).collect();
    let users: Vec<_> = (0..each).map(|n| user(&format!("user-{}", n.wrapping_mul(48_271)))).collect();
    let mut rooms = Rooms::new(Limits { history: 50, rooms: count, bytes: 16 << 20 });
    println!("{count} rooms with {each} members");
    let all = count * each as usize;
    let before = usage().rss;
    let members = || names.iter().flat_map(|name| (0..each).map(move |n| (name, n)));
    timed("  enter", all, || {
        for (name, n) in members() {
            rooms.enter(name, n % 4 + 1, visitor(u128::from(n), &users[n as usize]), NOW);
        }
    });
    println!("  a member: {} bytes", (usage().rss.saturating_sub(before)) / all as u64);
    timed("  told", count, || {
        assert_eq!(rooms.due(NOW).inspect(|it| _ = std::hint::black_box(it)).count(), count);
    });
    let before = usage().rss;
    timed("  publish", 1_000_000, || {
        for n in 0..1_000_000 {
            rooms.publish(&names[n * 48_271 % count], &[0; 200]);
        }
    });
    let counts = rooms.counts();
    let bytes = usage().rss.saturating_sub(before) / counts.messages as u64;
    println!("  {} messages of 200 bytes: {bytes} bytes each", counts.messages);
    timed("  away", all, || {
        members().for_each(|(name, n)| rooms.away(name, n % 4 + 1, SessionId(u128::from(n)), NOW));
    });
    timed("  back", all, || {
        for (name, n) in members() {
            rooms.enter(name, n % 4 + 1, visitor(u128::from(n), &users[n as usize]), NOW);
        }
    });
    timed("  death of a worker, for each member of all", all, || rooms.worker_gone(1, NOW));
    timed("  leave", all, || {
        members().for_each(|(name, n)| rooms.leave(name, n % 4 + 1, SessionId(u128::from(n)), NOW));
    });
    rooms.configure(Limits { history: 0, rooms: count, bytes: 0 });
    assert_eq!(rooms.counts(), Counts::default());
}

#[test]
#[ignore = "prints, decides nothing"]
fn one_large_room() {
    measure(1, 10_000);
}

#[test]
#[ignore = "prints, decides nothing"]
fn many_rooms() {
    measure(1000, 100);
}

#[test]
#[ignore = "prints, decides nothing"]
fn as_many_rooms_as_may_be() {
    measure(10_000, 1);
}
