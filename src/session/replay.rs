//! Messages that a session was sent and is not known to have. A client that comes back gets what it missed, in order
//! and once.
//!
//! Answers and channel messages are *numbered*, 1 for the first after a welcome. They are kept until the client is
//! known to have them (a pong, a cursor), within [`Bounds`]: if older ones are missed, there is a gap. State is not
//! kept, for only the newest counts.

use super::Answer;
use super::outbox::NO_TICKET;
use crate::model::Mono;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// A ping goes out after so many messages, besides those of the heartbeat.
const ASK: u32 = 8;
/// A frame in memory beside its bytes: its count of users, and the allocator's own.
const FRAME: usize = 64;
/// The position of a message that has not left yet.
const NOT_YET: u64 = u64::MAX;

/// Limits of what is kept for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At most so many messages.
    pub messages: usize,
    /// At most so many bytes of them.
    pub bytes: usize,
}

/// A numbered message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The whole WebSocket frame.
    #[serde(with = "super::octets")]
    frame: Bytes,
    /// Set if the message answers a POST: it can be made anew with a true age.
    answer: Option<Box<Answer>>,
    made: Mono,
    /// Bytes that had left over the connection when the message had.
    end: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    messages: VecDeque<Kept>,
    bytes: usize,
    asked: u32,
    /// The last message that was forgotten although the client is not known to have it, and its position.
    forgotten: Option<(u32, u64)>,
}

/// The numbered messages of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The secret that a client must know to take the session over.
    pub secret: u128,
    last: u32,
    /// Set while something is kept: most sessions have nothing.
    ring: Option<Box<Ring>>,
}

impl Kept {
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The request that it answers, and what it quotes.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_deref()
    }
}

impl Replay {
    /// Nothing said yet.
    #[must_use]
    pub fn new(secret: u128) -> Self {
        Self { secret, last: 0, ring: None }
    }

    /// Of a session whose process has died after so many messages. Of those none is kept; all of them end within the
    /// first so many bytes of the connection as it is counted from now on.
    #[must_use]
    pub fn adopted(secret: u128, last: u32, position: u64) -> Self {
        let forgotten = (last > 0 && position > 0).then_some((last, position));
        let ring = forgotten.map(|_| Box::new(Ring { forgotten, ..Ring::default() }));
        Self { secret, last, ring }
    }

    /// The number of the last message.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Whether the counts agree; a value that comes from elsewhere may be any.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.ring.as_ref().is_none_or(|ring| {
            let sum: usize = ring.messages.iter().map(|kept| kept.frame.len()).sum();
            let forgotten = ring.forgotten.is_none_or(|(number, _)| number <= self.confirmed());
            sum == ring.bytes && self.len() <= self.last && ring.asked <= self.last && forgotten
        })
    }

    fn len(&self) -> u32 {
        self.ring.as_ref().map_or(0, |ring| u32::try_from(ring.messages.len()).unwrap_or(u32::MAX))
    }

    /// The client is known to have all messages up to this number.
    #[must_use]
    pub fn confirmed(&self) -> u32 {
        self.last.saturating_sub(self.len())
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.bytes)
    }

    /// Bytes of memory of what is kept, some more or less.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| {
            // Half of a ring that has grown is empty.
            size_of::<Ring>()
                + ring.bytes
                + ring.messages.capacity() * size_of::<Kept>()
                + ring.messages.len() * FRAME
        })
    }

    /// Keeps messages in common with others that came here with it: of each frame one is enough.
    pub fn share(&mut self, frames: &mut HashSet<Bytes, RandomState>) {
        let kept = self.ring.iter_mut().flat_map(|ring| &mut ring.messages);
        for kept in kept.filter(|kept| kept.answer.is_none()) {
            kept.frame = frames.get_or_insert_with(&kept.frame, Bytes::clone).clone();
        }
    }

    /// Numbers a message and keeps it. What is over the bounds then is forgotten, the oldest first.
    pub fn push(&mut self, frame: Bytes, answer: Option<Box<Answer>>, now: Mono, bounds: Bounds) -> u32 {
        self.last += 1;
        let ring = self.ring.get_or_insert_default();
        ring.bytes += frame.len();
        ring.messages.push_back(Kept { frame, answer, made: now, end: NOT_YET });
        while ring.messages.len() > bounds.messages || ring.bytes > bounds.bytes {
            let number = self.last - u32::try_from(ring.messages.len()).unwrap_or(u32::MAX) + 1;
            let Some(old) = ring.messages.pop_front() else { break };
            ring.bytes -= old.frame.len();
            ring.forgotten = Some((number, old.end));
        }
        self.last
    }

    /// The client has all messages up to that number.
    pub fn confirm(&mut self, number: u32) {
        let known = number.min(self.last).saturating_sub(self.confirmed());
        let Some(ring) = &mut self.ring else { return };
        ring.forgotten = ring.forgotten.filter(|(forgotten, _)| *forgotten > number);
        for _ in 0..known {
            if let Some(old) = ring.messages.pop_front() {
                ring.bytes -= old.frame.len();
            }
        }
        if ring.messages.is_empty() && ring.forgotten.is_none() {
            self.ring = None;
        }
    }

    /// Takes messages made before that moment for confirmed, if they are among so many bytes of the connection.
    pub fn confirm_before(&mut self, moment: Mono, position: u64) {
        let is_old = |kept: &&Kept| kept.made < moment && kept.end <= position;
        let old = self.ring.iter().flat_map(|ring| ring.messages.iter().take_while(is_old));
        let old = u32::try_from(old.count()).unwrap_or(u32::MAX);
        self.confirm(self.confirmed().saturating_add(old));
    }

    /// All messages up to that number have left whole: so many bytes have gone over the connection.
    pub fn left(&mut self, number: u32, position: u64) {
        let Some(back) = self.last.checked_sub(number) else { return };
        let Some(ring) = &mut self.ring else { return };
        if let Some((forgotten, end @ NOT_YET)) = &mut ring.forgotten
            && *forgotten <= number
        {
            *end = position;
        }
        for kept in ring.messages.iter_mut().rev().skip(back as usize).take_while(|kept| kept.end == NOT_YET)
        {
            kept.end = position;
        }
    }

    /// The last message of which all bytes are among the first so many of the connection. `None`: a message that is no
    /// longer kept is not among them.
    #[must_use]
    pub fn within(&self, position: u64) -> Option<u32> {
        let forgotten = self.ring.as_ref().and_then(|ring| ring.forgotten);
        if forgotten.is_some_and(|(_, end)| end > position) {
            return None;
        }
        let beyond = self.ring.iter().flat_map(|ring| ring.messages.iter().rev());
        let beyond = beyond.take_while(|kept| kept.end > position).count();
        Some(self.last - u32::try_from(beyond).unwrap_or(u32::MAX))
    }

    /// All that is kept.
    pub fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.ring.iter().flat_map(|ring| &ring.messages)
    }

    /// The messages after that number; `None`: some of them are no longer kept.
    #[must_use]
    pub fn after(&self, number: u32) -> Option<impl Iterator<Item = &Kept>> {
        let known = number.checked_sub(self.confirmed()).filter(|_| number <= self.last)?;
        Some(self.ring.iter().flat_map(move |ring| ring.messages.iter().skip(known as usize)))
    }

    /// Makes anew each answer that was made more than `age` ago.
    pub fn refresh(&mut self, now: Mono, age: Duration, mut make: impl FnMut(&Answer) -> Option<Bytes>) {
        let Some(ring) = &mut self.ring else { return };
        for kept in &mut ring.messages {
            let Some(answer) = kept.answer.as_mut().filter(|answer| now.since(answer.made) > age) else {
                continue;
            };
            if let Some(frame) = make(answer) {
                ring.bytes = ring.bytes - kept.frame.len() + frame.len();
                (kept.frame, answer.made) = (frame, now);
            }
        }
    }

    /// Takes out the worker's tickets that wait for kept messages.
    pub fn take_tickets(&mut self) -> Vec<u64> {
        let kept = self.ring.iter_mut().flat_map(|ring| ring.messages.iter_mut());
        let tickets = kept.filter_map(|kept| kept.answer.as_mut().map(|answer| &mut answer.ticket));
        tickets.map(std::mem::take).filter(|ticket| *ticket != NO_TICKET).collect()
    }

    /// Whether the client should be asked now how far it is. Counts as asked.
    pub fn ask(&mut self) -> bool {
        let last = self.last;
        let Some(ring) = &mut self.ring else { return false };
        let due = last - ring.asked.min(last) >= ASK && ring.messages.len() >= ASK as usize;
        if due {
            ring.asked = last;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { messages: 4, bytes: 20 };

    fn frames(replay: &Replay, number: u32) -> Option<Vec<u8>> {
        Some(replay.after(number)?.map(|kept| kept.frame[0]).collect())
    }

    fn push(replay: &mut Replay, byte: u8, len: usize) -> u32 {
        replay.push(Bytes::from(vec![byte; len]), None, Mono(u64::from(byte)), BOUNDS)
    }

    #[test]
    fn messages_of_sessions_that_come_together_are_in_memory_once() {
        let mut shared = HashSet::default();
        let mut all = [Replay::new(1), Replay::new(2)];
        for replay in &mut all {
            (1..=3).for_each(|n| _ = push(replay, n, 2));
            replay.share(&mut shared);
        }
        let places = |replay: &Replay| -> Vec<_> {
            replay.after(0).unwrap().map(|kept| (kept.frame.as_ptr(), kept.frame.len())).collect()
        };
        assert_eq!(places(&all[0]), places(&all[1]));
        assert_eq!((frames(&all[1], 0), all[1].is_sound()), (Some(vec![1, 2, 3]), true));
    }

    #[test]
    fn what_is_missed_comes_again_and_a_gap_is_said() {
        let mut replay = Replay::new(1);
        assert_eq!((frames(&replay, 0), frames(&replay, 1)), (Some(vec![]), None));
        for n in 1..=4 {
            assert_eq!(push(&mut replay, n, 2), u32::from(n));
        }
        assert_eq!(frames(&replay, 2), Some(vec![3, 4]));
        replay.confirm(2);
        assert_eq!((frames(&replay, 1), frames(&replay, 2)), (None, Some(vec![3, 4])));
        push(&mut replay, 5, 17);
        assert_eq!((frames(&replay, 2), frames(&replay, 3)), (None, Some(vec![4, 5])));
        assert_eq!((frames(&replay, 5), frames(&replay, 6)), (Some(vec![]), None));
        push(&mut replay, 6, 21);
        assert_eq!((replay.bytes(), frames(&replay, 6)), (0, Some(vec![])), "larger than all bounds");
    }

    #[test]
    fn old_ones_are_taken_for_confirmed() {
        let mut replay = Replay::new(1);
        (1..=4).for_each(|n| _ = push(&mut replay, n, 1));
        replay.left(3, 30);
        replay.confirm_before(Mono(3), 30);
        assert_eq!(replay.confirmed(), 2);
        replay.confirm_before(Mono(9), 29);
        assert_eq!(replay.confirmed(), 2, "not acknowledged");
        replay.confirm_before(Mono(9), 30);
        assert_eq!(replay.confirmed(), 3, "the last has not left");
    }

    #[test]
    fn what_is_forgotten_and_was_not_acknowledged_is_a_gap() {
        let mut replay = Replay::new(1);
        (1..=6).for_each(|n| _ = push(&mut replay, n, 1));
        assert_eq!(replay.within(1000), None, "two are forgotten that have not left");
        replay.left(2, 20);
        assert_eq!((replay.within(19), replay.within(20)), (None, Some(2)));
        push(&mut replay, 7, 1);
        replay.confirm(2);
        assert_eq!(replay.within(1000), None, "the third is forgotten, too");
        replay.confirm(3);
        assert_eq!(replay.within(0), Some(3));
    }

    #[test]
    fn an_old_answer_is_made_anew_and_its_bytes_are_counted() {
        let mut replay = Replay::new(1);
        let symbol = crate::model::Symbol::new("BTC-USD").unwrap();
        let answer = Answer { ticket: 7, id: crate::model::RequestId(1), symbol, made: Mono(0) };
        replay.push(Bytes::from_static(b"old"), Some(Box::new(answer)), Mono(0), BOUNDS);
        push(&mut replay, 9, 2);
        replay.refresh(Mono(10), Duration::from_nanos(10), |_| panic!("it is not old"));
        replay.refresh(Mono(11), Duration::from_nanos(10), |_| Some(Bytes::from_static(b"longer")));
        assert_eq!((replay.bytes(), frames(&replay, 0)), (8, Some(vec![b'l', 9])));
        assert_eq!((replay.take_tickets(), replay.take_tickets()), (vec![7], vec![]));
        replay.confirm(2);
        assert_eq!(replay.bytes(), 0);
    }

    #[test]
    fn the_connection_tells_how_far_a_client_is_that_does_not_count() {
        let mut replay = Replay::new(1);
        (1..=4).for_each(|n| _ = push(&mut replay, n, 1));
        assert_eq!(replay.within(100), Some(0), "nothing has left");
        replay.left(2, 20);
        replay.left(3, 30);
        assert_eq!([10, 20, 29, 30, 99].map(|at| replay.within(at).unwrap()), [0, 2, 2, 3, 3]);
        replay.confirm(3);
        assert_eq!(replay.within(0), Some(3));
    }

    #[test]
    fn a_client_is_asked_now_and_then() {
        let mut replay = Replay::new(1);
        let bounds = Bounds { messages: 100, bytes: 1000 };
        let asked: Vec<u32> = (1..=30)
            .filter(|_| {
                replay.push(Bytes::from_static(b"x"), None, Mono(0), bounds);
                replay.ask()
            })
            .collect();
        assert_eq!(asked, [8, 16, 24]);
        replay.confirm(30);
        assert!(!replay.ask());
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Say(usize),
        /// The client has so many of what is on its way.
        Hear(usize),
        Confirm,
        ComeBack,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (1usize..9).prop_map(Act::Say),
            3 => (0usize..5).prop_map(Act::Hear),
            2 => Just(Act::Confirm),
            1 => Just(Act::ComeBack),
        ]
    }

    proptest! {
        #[test]
        fn a_client_that_comes_back_has_all_once_or_is_told(acts in proptest::collection::vec(act(), 0..200)) {
            let (mut replay, mut said, mut heard, mut seen) = (Replay::new(1), 0u8, Vec::new(), 0);
            let mut way: VecDeque<u8> = VecDeque::new();
            for act in acts {
                match act {
                    Act::Say(len) => {
                        said = said.wrapping_add(1);
                        push(&mut replay, said, len);
                        way.push_back(said);
                    }
                    Act::Hear(most) => {
                        let got: Vec<u8> = way.drain(..most.min(way.len())).collect();
                        seen += u32::try_from(got.len()).unwrap();
                        heard.extend(got);
                    }
                    Act::Confirm => replay.confirm(seen),
                    Act::ComeBack => {
                        let unheard: Vec<u8> = way.drain(..).collect();
                        match frames(&replay, seen) {
                            Some(missed) => {
                                prop_assert_eq!(&missed, &unheard);
                                heard.extend(missed);
                            }
                            None => {
                                let (count, bytes) = (unheard.len(), replay.bytes());
                                prop_assert!(count > replay.len() as usize, "{} {}", count, bytes);
                                heard.extend(unheard);
                            }
                        }
                        (replay, seen) = (Replay::new(2), 0);
                    }
                }
                prop_assert!(replay.bytes() <= BOUNDS.bytes && replay.len() as usize <= BOUNDS.messages);
                prop_assert_eq!(replay.bytes() == 0, replay.len() == 0);
            }
            heard.extend(way);
            let all: Vec<u8> = (1..=heard.len()).map(|n| u8::try_from(n % 256).unwrap()).collect();
            prop_assert_eq!(heard, all);
        }
    }
}
