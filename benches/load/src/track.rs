//! Checks that one client hears all messages of a channel, once and in order. They are numbered 0, 1, 2 and so on.

/// The numbers that one client has heard of one channel.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// The next number.
    next: u32,
    /// Up to here a gap was admitted (`resumed: false`), or the client was not there yet.
    admitted: u32,
    /// A gap up to `admitted` is none: the client was not there yet.
    absent: bool,
    /// Whether newcomers hear the last messages first: messages before an admitted gap may come again.
    history: bool,
    /// Never heard, and nobody has admitted it.
    missing: Vec<u32>,
    /// Not heard, and it was said.
    pub(crate) said: u32,
    pub(crate) heard: u32,
    pub(crate) duplicates: u32,
    /// Heard after a later one.
    pub(crate) disorder: u32,
}

/// How a message fits after those before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Next,
    /// Comes after so many that have not been heard.
    Gap(u32),
    Late,
    /// Out of the channel's history.
    Known,
    Again,
}

impl Track {
    /// Starts for a client that comes after so many publications.
    pub(crate) fn from(published: u32) -> Self {
        Self { admitted: published, absent: published > 0, ..Self::default() }
    }

    /// Whether newcomers hear the last messages first.
    pub(crate) fn with_history(self, history: bool) -> Self {
        Self { history, ..self }
    }

    /// The next number that is expected.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Whether none of so many is still to come.
    pub(crate) fn has_all(&self, published: u32) -> bool {
        self.next.max(self.admitted) >= published
    }

    /// The server has said that there is a gap; so many had been published then.
    pub(crate) fn admit(&mut self, published: u32) {
        self.admitted = self.admitted.max(published);
    }

    pub(crate) fn hear(&mut self, number: u32) -> Step {
        self.heard += 1;
        if number >= self.next {
            let gap = self.skip(number);
            self.next = number + 1;
            return if gap > 0 { Step::Gap(gap) } else { Step::Next };
        }
        if let Some(at) = self.missing.iter().position(|missing| *missing == number) {
            self.missing.swap_remove(at);
            self.disorder += 1;
            return Step::Late;
        }
        if self.history && number < self.admitted {
            return Step::Known;
        }
        self.duplicates += 1;
        Step::Again
    }

    /// Nothing below that number is to come any more; returns how many are missing.
    fn skip(&mut self, to: u32) -> u32 {
        let known = self.admitted.clamp(self.next, to);
        if !self.absent {
            self.said += known - self.next;
        }
        self.absent = false;
        self.missing.extend(known..to);
        self.next = to.max(self.next);
        to - known
    }

    /// The end, when so many should have come.
    pub(crate) fn end(&mut self, published: u32) -> &[u32] {
        if published > self.next {
            self.skip(published);
        }
        &self.missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(track: &mut Track, numbers: &[u32], published: u32) -> (Vec<u32>, [u32; 3]) {
        numbers.iter().for_each(|number| _ = track.hear(*number));
        let missing = track.end(published).to_vec();
        (missing, [track.said, track.duplicates, track.disorder])
    }

    #[test]
    fn gaps_duplicates_and_disorder_are_told_apart() {
        for (numbers, published, missing, others) in [
            (&[0, 1, 2][..], 3, &[][..], [0, 0, 0]),
            (&[0, 2], 3, &[1], [0, 0, 0]),
            (&[0, 1], 4, &[2, 3], [0, 0, 0]),
            (&[0, 1, 1, 2], 3, &[], [0, 1, 0]),
            (&[0, 2, 1], 3, &[], [0, 0, 1]),
            (&[0, 2, 1, 1], 3, &[], [0, 1, 1]),
            (&[], 2, &[0, 1], [0, 0, 0]),
        ] {
            let got = after(&mut Track::default(), numbers, published);
            assert_eq!(got, (missing.to_vec(), others), "{numbers:?}");
        }
        assert_eq!(Track::default().hear(2), Step::Gap(2));
    }

    #[test]
    fn only_what_was_admitted_is_excused() {
        let mut track = Track::default();
        track.hear(0);
        track.hear(2);
        track.admit(5);
        assert_eq!(after(&mut track, &[6], 7), (vec![1, 5], [2, 0, 0]));
        let mut track = Track::default();
        assert!(!track.has_all(3));
        track.admit(3);
        assert!(track.has_all(3) && !track.has_all(4));
        assert_eq!(after(&mut track, &[2], 4), (vec![3], [2, 0, 0]), "one of them came all the same");
        let mut track = Track::default();
        track.admit(3);
        assert_eq!(after(&mut track, &[], 3), (vec![], [3, 0, 0]));
    }

    #[test]
    fn a_history_may_come_again_behind_a_gap_only() {
        let mut track = Track::from(3).with_history(true);
        assert_eq!(after(&mut track, &[1, 2, 3, 4], 5), (vec![], [0, 0, 0]));
        track.admit(7);
        let steps = [3, 4, 5, 6, 7, 7].map(|number| track.hear(number));
        assert_eq!(steps, [Step::Known, Step::Known, Step::Next, Step::Next, Step::Next, Step::Again]);
    }

    #[test]
    fn who_comes_later_has_missed_nothing() {
        assert_eq!(after(&mut Track::from(5), &[5, 6], 7), (vec![], [0, 0, 0]));
        assert_eq!(after(&mut Track::from(5), &[4, 5], 6), (vec![], [0, 0, 0]), "on its way meanwhile");
        assert_eq!(after(&mut Track::from(5), &[6], 7), (vec![5], [0, 0, 0]));
        let mut track = Track::from(5);
        track.hear(5);
        track.admit(8);
        assert_eq!(after(&mut track, &[8], 9), (vec![], [2, 0, 0]));
    }
}
