//! How many handshakes a worker computes in one turn of its loop: one costs as much as some hundred deliveries, and a
//! thousand newcomers at once must not delay the sessions that are there.
//!
//! A connection asks when its first message is complete, so that silent clients hold up nobody. In each turn the next
//! handshakes begin, one of each address in a circle: a flood from one address delays its own handshakes.

use crate::model::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Names a handshake that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(u64);

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The handshake goes on in this turn.
    Begin,
    /// The connection is closed: it would come to its time limit half served, and cost as much as one that succeeds.
    Late,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    turn: Turn,
    until: Mono,
}

/// Handshakes that wait, by address (`K`). There are no more than connections, which have limits of their own.
#[derive(Debug)]
pub struct Turns<K> {
    /// Never empty, the longest wait first.
    lines: BTreeMap<K, VecDeque<Waiting>>,
    /// Each key of `lines` once, the next one first.
    order: VecDeque<K>,
    made: u64,
    most: u32,
    patience: Duration,
}

impl<K: Ord + Clone> Turns<K> {
    /// At most `most` handshakes begin in a turn. `limit`: the time that a whole handshake may take; half of it may be
    /// spent waiting.
    #[must_use]
    pub fn new(most: u32, limit: Duration) -> Self {
        let (lines, order) = (BTreeMap::new(), VecDeque::new());
        Self { lines, order, made: 0, most: most.max(1), patience: limit / 2 }
    }

    /// Takes other limits, for those who come from now on.
    pub fn adopt(&mut self, most: u32, limit: Duration) {
        (self.most, self.patience) = (most.max(1), limit / 2);
    }

    /// A handshake from this address waits from now on. The answer comes from [`Turns::next`], unless
    /// [`Turns::leave`] is called before.
    pub fn ask(&mut self, of: &K, now: Mono) -> Turn {
        self.made += 1;
        let turn = Turn(self.made);
        let waiting = Waiting { turn, until: now.after(self.patience) };
        let line = self.lines.entry(of.clone()).or_default();
        if line.is_empty() {
            self.order.push_back(of.clone());
        }
        line.push_back(waiting);
        turn
    }

    /// The connection of a handshake that waits has ended.
    pub fn leave(&mut self, of: &K, turn: Turn) {
        let Some(line) = self.lines.get_mut(of) else { return };
        line.retain(|waiting| waiting.turn != turn);
        if line.is_empty() {
            self.lines.remove(of);
            self.order.retain(|other| other != of);
        }
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// To be called once in each turn of the loop while somebody waits.
    pub fn next(&mut self, now: Mono) -> Vec<(Turn, Fate)> {
        let (mut fates, mut begun) = (Vec::new(), 0);
        while begun < self.most
            && let Some(of) = self.order.pop_front()
        {
            let Some(line) = self.lines.get_mut(&of) else { continue };
            while let Some(waiting) = line.pop_front() {
                if waiting.until >= now {
                    fates.push((waiting.turn, Fate::Begin));
                    begun += 1;
                    break;
                }
                fates.push((waiting.turn, Fate::Late));
            }
            if line.is_empty() {
                self.lines.remove(&of);
            } else {
                self.order.push_back(of);
            }
        }
        fates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn a_flood_from_one_address_does_not_delay_another() {
        let mut turns = Turns::new(4, LIMIT);
        for _ in 0..1000 {
            turns.ask(&1, at(0));
        }
        let other = turns.ask(&2, at(0));
        let fates = turns.next(at(0));
        assert_eq!(fates.len(), 4);
        assert_eq!(fates[1], (other, Fate::Begin), "one of each in a circle");
        assert_eq!((1..).take_while(|_| !turns.next(at(1)).is_empty()).count(), 250);
        assert!(turns.is_empty());
    }

    #[test]
    fn who_waited_half_of_its_time_is_not_begun() {
        let mut turns = Turns::new(2, LIMIT);
        let early: Vec<_> = (0..3).map(|_| turns.ask(&1, at(0))).collect();
        let late = turns.ask(&1, at(2000));
        assert_eq!(turns.next(at(4000)), [(early[0], Fate::Begin), (early[1], Fate::Begin)]);
        assert_eq!(turns.next(at(5001)), [(early[2], Fate::Late), (late, Fate::Begin)]);
        assert!(turns.is_empty());
        turns.adopt(0, LIMIT);
        let only = turns.ask(&1, at(9000));
        assert_eq!(turns.next(at(9000)), [(only, Fate::Begin)], "there is always one");
    }

    proptest! {
        #[test]
        fn each_wait_ends_once(
            most in 1u32..5,
            steps in prop::collection::vec((0u8..4, 0u8..3, 0u64..3000), 1..120),
        ) {
            let (mut turns, mut now) = (Turns::new(most, LIMIT), 0);
            // Those who wait: address, when they came, and which turn may be their last.
            let mut waiting = BTreeMap::<Turn, (u8, u64)>::new();
            for (act, address, wait) in steps {
                match act {
                    0 | 1 => {
                        prop_assert!(waiting.insert(turns.ask(&address, at(now)), (address, now)).is_none());
                    }
                    2 => {
                        let gone = waiting.iter().find(|(_, (of, _))| *of == address).map(|(turn, _)| *turn);
                        if let Some(turn) = gone {
                            waiting.remove(&turn);
                            turns.leave(&address, turn);
                        }
                    }
                    _ => {
                        now += wait;
                        let fates = turns.next(at(now));
                        let begun = fates.iter().filter(|(_, fate)| *fate == Fate::Begin).count();
                        prop_assert!(begun <= most as usize);
                        for (turn, fate) in fates {
                            let (of, came) = waiting.remove(&turn).expect("answered twice, or never asked");
                            prop_assert_eq!(fate == Fate::Begin, now - came <= 5000);
                            let older = waiting.iter().any(|(_, (other, at))| *other == of && *at < came);
                            prop_assert!(!older, "overtaken from its own address");
                        }
                        prop_assert!(begun == most as usize || waiting.is_empty(), "room is left while some wait");
                    }
                }
                prop_assert_eq!(turns.is_empty(), waiting.is_empty());
                prop_assert_eq!(turns.order.len(), turns.lines.len());
            }
        }
    }
}
