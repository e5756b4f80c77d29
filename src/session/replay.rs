//! What a session has been told lately and is not known to have: so that a client that comes back gets what it missed,
//! in order and once.
//!
//! Answers and channel messages are *numbered*, 1 for the first after a welcome. They are kept until the client is known
//! to have them (a pong, a cursor), and no more than so many of them: of older ones it can only be said that there is a
//! gap. State is not kept, for only the newest counts.

use super::Answer;
use crate::model::Mono;
use bytes::Bytes;
use std::collections::VecDeque;

/// The number of what is not numbered.
pub const UNNUMBERED: u32 = 0;

/// The ticket of an answer for which nobody waits.
pub const NO_TICKET: u64 = 0;

/// A ping asks whether so many have come; the heartbeat's pings ask, too.
const ASK: u32 = 8;
/// The position of what has not left yet.
const NOT_YET: u64 = u64::MAX;

/// How much is kept for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At most so many messages.
    pub messages: usize,
    /// At most so many bytes of them.
    pub bytes: usize,
}

/// One numbered message.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The whole WebSocket frame.
    pub frame: Bytes,
    /// Where it answers a POST, so that it can be made anew with a true age.
    pub answer: Option<Box<Answer>>,
    made: Mono,
    /// How many bytes had left over its connection when it had.
    end: u64,
}

#[derive(Debug, Default)]
struct Ring {
    messages: VecDeque<Kept>,
    bytes: usize,
    asked: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Replay {
    /// What a client must know to take the session over.
    pub secret: u128,
    last: u32,
    /// There only while something is kept: most sessions have nothing.
    ring: Option<Box<Ring>>,
}

impl Replay {
    /// Nothing said yet.
    #[must_use]
    pub fn new(secret: u128) -> Self {
        Self { secret, last: UNNUMBERED, ring: None }
    }

    /// The number of the last message.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last
    }

    fn len(&self) -> u32 {
        self.ring.as_ref().map_or(0, |ring| u32::try_from(ring.messages.len()).unwrap_or(u32::MAX))
    }

    /// All up to this number are known to be there.
    #[must_use]
    pub fn confirmed(&self) -> u32 {
        self.last - self.len()
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.bytes)
    }

    /// Numbers a message and keeps it. What is over the bounds then is forgotten, the oldest first.
    pub fn push(&mut self, frame: Bytes, answer: Option<Box<Answer>>, now: Mono, bounds: Bounds) -> u32 {
        self.last += 1;
        let ring = self.ring.get_or_insert_default();
        ring.bytes += frame.len();
        ring.messages.push_back(Kept { frame, answer, made: now, end: NOT_YET });
        while ring.messages.len() > bounds.messages || ring.bytes > bounds.bytes {
            let Some(old) = ring.messages.pop_front() else { break };
            ring.bytes -= old.frame.len();
        }
        if ring.messages.is_empty() {
            self.ring = None;
        }
        self.last
    }

    /// The client has all up to that number.
    pub fn confirm(&mut self, number: u32) {
        let known = number.min(self.last).saturating_sub(self.confirmed());
        let Some(ring) = &mut self.ring else { return };
        for _ in 0..known {
            if let Some(old) = ring.messages.pop_front() {
                ring.bytes -= old.frame.len();
            }
        }
        if ring.messages.is_empty() {
            self.ring = None;
        }
    }

    /// Those made before that moment are taken for confirmed.
    pub fn confirm_before(&mut self, moment: Mono) {
        let old =
            self.ring.iter().flat_map(|ring| ring.messages.iter().take_while(|kept| kept.made < moment));
        let old = u32::try_from(old.count()).unwrap_or(u32::MAX);
        self.confirm(self.confirmed().saturating_add(old));
    }

    /// The message of that number, and all before it, have left whole: so many bytes have gone over the connection.
    pub fn left(&mut self, number: u32, position: u64) {
        let Some(back) = self.last.checked_sub(number) else { return };
        let Some(ring) = &mut self.ring else { return };
        for kept in ring.messages.iter_mut().rev().skip(back as usize).take_while(|kept| kept.end == NOT_YET)
        {
            kept.end = position;
        }
    }

    /// The last number of which all bytes are among the first so many of the connection.
    #[must_use]
    pub fn within(&self, position: u64) -> u32 {
        let beyond = self.ring.iter().flat_map(|ring| ring.messages.iter().rev());
        let beyond = beyond.take_while(|kept| kept.end > position).count();
        self.last - u32::try_from(beyond).unwrap_or(u32::MAX)
    }

    /// What comes after that number; `None`: not all of it is here.
    pub fn after(&mut self, number: u32) -> Option<impl Iterator<Item = &mut Kept>> {
        let known = number.checked_sub(self.confirmed()).filter(|_| number <= self.last)?;
        Some(self.ring.iter_mut().flat_map(move |ring| ring.messages.iter_mut().skip(known as usize)))
    }

    /// The worker's tickets that wait for what is kept; they wait no longer.
    pub fn take_tickets(&mut self) -> Vec<u64> {
        let kept = self.ring.iter_mut().flat_map(|ring| ring.messages.iter_mut());
        let tickets = kept.filter_map(|kept| kept.answer.as_mut().map(|answer| &mut answer.ticket));
        tickets.map(std::mem::take).filter(|ticket| *ticket != NO_TICKET).collect()
    }

    /// Whether the client should be asked now how far it is; that is then asked.
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

    fn frames(replay: &mut Replay, number: u32) -> Option<Vec<u8>> {
        Some(replay.after(number)?.map(|kept| kept.frame[0]).collect())
    }

    fn push(replay: &mut Replay, byte: u8, len: usize) -> u32 {
        replay.push(Bytes::from(vec![byte; len]), None, Mono(u64::from(byte)), BOUNDS)
    }

    #[test]
    fn what_is_missed_comes_again_and_a_gap_is_said() {
        let mut replay = Replay::new(1);
        assert_eq!((frames(&mut replay, 0), frames(&mut replay, 1)), (Some(vec![]), None));
        for n in 1..=4 {
            assert_eq!(push(&mut replay, n, 2), u32::from(n));
        }
        assert_eq!(frames(&mut replay, 2), Some(vec![3, 4]));
        replay.confirm(2);
        assert_eq!((frames(&mut replay, 1), frames(&mut replay, 2)), (None, Some(vec![3, 4])));
        push(&mut replay, 5, 17);
        assert_eq!((frames(&mut replay, 2), frames(&mut replay, 3)), (None, Some(vec![4, 5])));
        assert_eq!((frames(&mut replay, 5), frames(&mut replay, 6)), (Some(vec![]), None));
        push(&mut replay, 6, 21);
        assert_eq!((replay.bytes(), frames(&mut replay, 6)), (0, Some(vec![])), "larger than all bounds");
    }

    #[test]
    fn old_ones_are_taken_for_confirmed() {
        let mut replay = Replay::new(1);
        (1..=4).for_each(|n| _ = push(&mut replay, n, 1));
        replay.confirm_before(Mono(3));
        assert_eq!(replay.confirmed(), 2);
    }

    #[test]
    fn the_connection_tells_how_far_a_client_is_that_does_not_count() {
        let mut replay = Replay::new(1);
        (1..=4).for_each(|n| _ = push(&mut replay, n, 1));
        assert_eq!(replay.within(100), 0, "nothing has left");
        replay.left(2, 20);
        replay.left(3, 30);
        assert_eq!([10, 20, 29, 30, 99].map(|position| replay.within(position)), [0, 2, 2, 3, 3]);
        replay.confirm(3);
        assert_eq!(replay.within(0), 3);
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
                        match frames(&mut replay, seen) {
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
                prop_assert_eq!(replay.bytes() == 0, replay.ring.is_none());
            }
            heard.extend(way);
            let all: Vec<u8> = (1..=heard.len()).map(|n| u8::try_from(n % 256).unwrap()).collect();
            prop_assert_eq!(heard, all);
        }
    }
}
