//! Tests of the rooms, rule by rule.

use super::room::NAMED;
use super::*;

pub(super) const NOW: Mono = Mono(1_000_000_000_000);
pub(super) const LIMITS: Limits = Limits { history: 3, rooms: 2, bytes: 1000 };

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// A session of one address.
pub(super) fn visitor(session: u128, user: &UserId) -> Visitor<'_> {
    Visitor { session: SessionId(session), user, address: [192, 0, 2, 1].into() }
}

/// Somebody of the address of that number enters.
fn enter_from(rooms: &mut Rooms, room: &str, session: u128, address: u8) -> Entry {
    let user = user("somebody");
    let who = Visitor { session: SessionId(session), user: &user, address: [192, 0, 2, address].into() };
    rooms.enter(room, 1, who, NOW)
}

/// `session` is of the user of that number.
pub(super) fn enter(rooms: &mut Rooms, room: &str, worker: Generation, session: u128) -> Entry {
    rooms.enter(room, worker, visitor(session, &user(&format!("u{session}"))), NOW)
}

fn leave(rooms: &mut Rooms, room: &str, worker: Generation, session: u128) {
    rooms.leave(room, worker, SessionId(session), NOW);
}

fn said(rooms: &Rooms, room: &str) -> Vec<String> {
    rooms.history(room).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

fn at(rooms: &Rooms, room: &str) -> Vec<Generation> {
    rooms.rooms.get(room).into_iter().flat_map(Room::workers).collect()
}

/// Users, sessions and workers of the rooms that are due.
fn due(rooms: &mut Rooms, now: Mono) -> Vec<(String, usize, usize, Vec<Generation>)> {
    rooms.due(now).map(|it| (it.room.to_string(), it.users, it.sessions, it.workers)).collect()
}

#[test]
fn who_enters_finds_the_last_messages_in_their_order() {
    let mut rooms = Rooms::new(LIMITS);
    for text in ["a", "b", "c", "d"] {
        assert_eq!(rooms.publish("x", text.as_bytes()), Entry::Accepted);
    }
    assert_eq!(enter(&mut rooms, "x", 1, 1), Entry::Accepted);
    assert_eq!((said(&rooms, "x"), said(&rooms, "y")), (vec!["b".into(), "c".into(), "d".into()], vec![]));
    assert_eq!(rooms.counts(), Counts { rooms: 1, messages: 3, bytes: 3 });
}

#[test]
fn a_history_that_is_too_long_for_a_message_is_cut_to_its_newest() {
    let mut rooms = Rooms::new(LIMITS);
    for text in ["aaa", "bb", "ccc"] {
        rooms.publish("x", text.as_bytes());
    }
    let cut = [(0, ""), (2, ""), (3, "ccc"), (4, "ccc"), (5, "bbccc"), (8, "aaabbccc"), (99, "aaabbccc")];
    for (most, expected) in cut {
        assert_eq!(rooms.newest("x", most), expected.as_bytes(), "{most} bytes");
    }
    assert_eq!(rooms.newest("nowhere", 9), b"");
}

#[test]
fn the_room_that_has_most_bytes_loses_its_oldest_message_first() {
    let mut rooms = Rooms::new(Limits { bytes: 6, ..LIMITS });
    for (room, text) in [("x", "1"), ("y", "22"), ("y", "33")] {
        rooms.publish(room, text.as_bytes());
    }
    rooms.publish("y", b"44");
    assert_eq!((said(&rooms, "x"), said(&rooms, "y")), (vec!["1".into()], vec!["33".into(), "44".into()]));
    rooms.publish("y", b"longer than all of it");
    assert_eq!(rooms.counts(), Counts { rooms: 2, messages: 3, bytes: 5 });
    rooms.publish("y", b"555555");
    assert_eq!((said(&rooms, "x").len(), said(&rooms, "y").len()), (1, 0), "it had too much alone");
}

#[test]
fn who_has_most_rooms_or_bytes_gives_way_and_nobody_to_one_that_has_more() {
    let mut rooms = Rooms::new(Limits { history: 50, rooms: 6, bytes: 100 });
    assert_eq!(enter_from(&mut rooms, "quiet", 1, 1), Entry::Accepted);
    rooms.publish("quiet", &[1; 20]);
    for n in 0..9 {
        let name = format!("loud-{n}");
        let entry = enter_from(&mut rooms, &name, 100 + n, 2);
        assert_eq!(entry == Entry::Accepted, n < 5, "{name}");
        (0..9).filter(|_| n < 5).for_each(|_| _ = rooms.publish(&name, &[2; 9]));
    }
    assert_eq!((rooms.counts().rooms, said(&rooms, "quiet").len()), (6, 1), "nothing of it has gone");
    // Somebody else comes: the loud one loses one of its rooms, first one in which nobody is present.
    rooms.away("loud-3", 1, SessionId(103), NOW);
    assert_eq!(enter_from(&mut rooms, "new", 2, 3), Entry::Accepted);
    assert!(!rooms.rooms.contains_key("loud-3") && rooms.rooms.contains_key("quiet"));
    assert_eq!(enter_from(&mut rooms, "new-2", 2, 3), Entry::Accepted);
    assert!(!rooms.rooms.contains_key("loud-0"), "then the one that was used longest ago");
    assert_eq!(enter_from(&mut rooms, "loud-3", 103, 2), Entry::Full, "who has most has no more");
    rooms.away("quiet", 1, SessionId(1), NOW);
    assert_eq!(
        enter_from(&mut rooms, "loud-3", 103, 2),
        Entry::Full,
        "not even for one that is away: it has half"
    );
    leave(&mut rooms, "loud-0", 1, 100);
    assert_eq!(due(&mut rooms, NOW.after(PAUSE)).len(), 5, "nobody is told of a room that is no more");
}

#[test]
fn a_session_that_made_many_rooms_loses_one_to_another_of_its_address() {
    let mut rooms = Rooms::new(Limits { rooms: 4, ..LIMITS });
    for room in ["a", "b", "c", "d"] {
        assert_eq!(enter(&mut rooms, room, 1, 1), Entry::Accepted);
    }
    assert_eq!(enter(&mut rooms, "mine", 1, 2), Entry::Accepted);
    assert_eq!((at(&rooms, "a"), at(&rooms, "b")), (vec![], vec![1]), "the one used longest ago has gone");
    assert_eq!(enter(&mut rooms, "a", 1, 1), Entry::Full, "who has most has no more");
    assert_eq!(enter(&mut rooms, "mine-too", 1, 2), Entry::Accepted);
    assert_eq!(enter(&mut rooms, "third", 1, 2), Entry::Full, "both have two");
    assert_eq!(enter(&mut rooms, "other", 1, 3), Entry::Accepted, "a third one has none");
    assert_eq!(enter_from(&mut rooms, "far", 4, 2), Entry::Accepted);
    assert_eq!((at(&rooms, "mine"), at(&rooms, "d")), (vec![], vec![1]), "of who has most of that address");
}

#[test]
fn a_new_room_takes_the_place_of_the_one_that_nobody_is_in_and_nobody_used() {
    let mut rooms = Rooms::new(LIMITS);
    rooms.publish("old", b"1");
    rooms.publish("new", b"2");
    rooms.publish("old", b"3");
    assert_eq!(enter(&mut rooms, "third", 1, 1), Entry::Accepted);
    assert_eq!((said(&rooms, "new").len(), said(&rooms, "old").len()), (0, 2));
    assert_eq!(enter(&mut rooms, "old", 1, 1), Entry::Accepted);
    assert_eq!(enter(&mut rooms, "fourth", 1, 2), Entry::Full);
    assert_eq!(rooms.publish("fourth", b"4"), Entry::Full);
    assert_eq!(enter(&mut rooms, "third", 1, 2), Entry::Accepted, "one that is there is not full");
    leave(&mut rooms, "old", 1, 1);
    assert_eq!(rooms.publish("fourth", b"4"), Entry::Accepted);
    assert_eq!((said(&rooms, "fourth"), rooms.counts().messages), (vec!["4".into()], 1));
}

#[test]
fn one_that_is_away_still_gets_messages_and_is_seen_by_nobody() {
    let mut rooms = Rooms::new(LIMITS);
    enter(&mut rooms, "x", 1, 1);
    enter(&mut rooms, "x", 2, 2);
    assert_eq!(due(&mut rooms, NOW), [("x".into(), 2, 2, vec![1, 2])]);
    rooms.away("x", 1, SessionId(1), NOW);
    let then = NOW.after(PAUSE);
    assert_eq!((rooms.next(), due(&mut rooms, NOW)), (Some(then), vec![]));
    assert_eq!((at(&rooms, "x"), due(&mut rooms, then)), (vec![1, 2], vec![("x".into(), 1, 1, vec![2])]));
    rooms.away("x", 2, SessionId(2), then);
    assert_eq!((at(&rooms, "x"), rooms.next()), (vec![1, 2], None), "nobody to tell");
    leave(&mut rooms, "x", 1, 1);
    leave(&mut rooms, "x", 2, 2);
    assert_eq!(rooms.counts(), Counts::default());
}

#[test]
fn one_that_has_moved_is_left_alone_by_the_old_process() {
    let mut rooms = Rooms::new(LIMITS);
    enter(&mut rooms, "x", 1, 1);
    rooms.away("x", 1, SessionId(1), NOW);
    enter(&mut rooms, "x", 2, 1);
    rooms.away("x", 1, SessionId(1), NOW);
    leave(&mut rooms, "x", 1, 1);
    rooms.worker_gone(1, NOW);
    assert_eq!((at(&rooms, "x"), due(&mut rooms, NOW)), (vec![2], vec![("x".into(), 1, 1, vec![2])]));
}

#[test]
fn a_dead_process_takes_its_members_and_no_history() {
    let mut rooms = Rooms::new(LIMITS);
    enter(&mut rooms, "x", 1, 1);
    enter(&mut rooms, "x", 1, 2);
    enter(&mut rooms, "x", 2, 3);
    enter(&mut rooms, "y", 1, 1);
    rooms.away("x", 1, SessionId(2), NOW);
    rooms.publish("x", b"1");
    due(&mut rooms, NOW);
    rooms.worker_gone(1, NOW);
    assert_eq!((at(&rooms, "x"), said(&rooms, "x").len(), rooms.counts().rooms), (vec![2], 1, 1));
    assert_eq!(due(&mut rooms, NOW.after(PAUSE)), [("x".into(), 1, 1, vec![2])]);
}

#[test]
fn fifty_users_are_named_in_their_order_and_all_are_counted() {
    let mut rooms = Rooms::new(LIMITS);
    for n in (0..120u128).rev() {
        rooms.enter("x", 1, visitor(n, &user(&format!("u{:02}", n / 2))), NOW);
    }
    let told: Vec<_> = rooms.due(NOW).collect();
    assert_eq!((told.len(), told[0].users, told[0].sessions, told[0].first.len()), (1, 60, 120, NAMED));
    assert_eq!((&told[0].first[0], &told[0].first[49]), (&(user("u00"), 2), &(user("u49"), 2)));
}

#[test]
fn what_is_not_taken_stays_due() {
    let mut rooms = Rooms::new(LIMITS);
    enter(&mut rooms, "x", 1, 1);
    enter(&mut rooms, "y", 1, 1);
    assert_eq!(rooms.due(NOW).take(1).map(|it| it.room.to_string()).collect::<Vec<_>>(), ["x"]);
    assert_eq!((rooms.next(), due(&mut rooms, NOW).len()), (Some(NOW), 1));
}

#[test]
fn smaller_limits_are_enforced_at_once_and_put_nobody_out() {
    let mut rooms = Rooms::new(Limits { rooms: 4, ..LIMITS });
    for room in ["a", "b", "c", "d"] {
        (0..3).for_each(|_| _ = rooms.publish(room, b"12"));
    }
    enter(&mut rooms, "a", 1, 1);
    enter(&mut rooms, "b", 1, 1);
    rooms.configure(Limits { history: 2, rooms: 3, bytes: 10 });
    assert_eq!(rooms.counts(), Counts { rooms: 3, messages: 5, bytes: 10 });
    assert_eq!((said(&rooms, "a").len(), said(&rooms, "c").len(), said(&rooms, "d").len()), (2, 0, 1));
    rooms.configure(Limits { history: 0, rooms: 1, bytes: 10 });
    assert_eq!(rooms.counts(), Counts { rooms: 2, messages: 0, bytes: 0 });
    assert_eq!(enter(&mut rooms, "e", 1, 1), Entry::Full);
    rooms.worker_gone(1, NOW);
    assert_eq!(enter(&mut rooms, "e", 1, 1), Entry::Accepted);
}

#[test]
fn memory_comes_back_when_a_crowd_has_left() {
    let mut rooms = Rooms::new(Limits { history: 0, rooms: 10_000, bytes: 0 });
    let names: Vec<_> = (0..10_000).map(|n| format!("r{n}")).collect();
    names.iter().for_each(|name| _ = enter(&mut rooms, name, 1, 1));
    (0..10_000).for_each(|session| _ = enter(&mut rooms, "r0", 1, session));
    names.iter().for_each(|name| leave(&mut rooms, name, 1, 1));
    (10..10_000).for_each(|session| leave(&mut rooms, "r0", 1, session));
    rooms.tidy();
    let (all, members) = (rooms.rooms.capacity(), rooms.rooms["r0"].capacity());
    assert!(all <= SMALL && members <= SMALL * 2, "{all}, {members}");
}
