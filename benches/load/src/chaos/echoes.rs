//! Numbered questions of one client over one session, each of which must be answered once and in order.

use std::collections::VecDeque;
use std::time::Instant;

#[derive(Debug)]
struct Question {
    number: u32,
    asked: Instant,
    /// The connection ended before the answer: it may never come.
    excused: bool,
}

/// The questions of one client.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    next: u32,
    open: VecDeque<Question>,
}

/// How an answer fits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The one that is due; when it was asked.
    Due(Instant),
    /// An earlier question has no answer yet.
    Early,
    Again,
    /// Nobody has asked this.
    Strange,
}

impl Echoes {
    /// The number of the next question.
    pub(crate) fn ask(&mut self, now: Instant) -> u32 {
        self.next += 1;
        self.open.push_back(Question { number: self.next - 1, asked: now, excused: false });
        self.next - 1
    }

    /// The last question was not sent.
    pub(crate) fn unask(&mut self) {
        self.open.pop_back();
        self.next = self.next.saturating_sub(1);
    }

    /// An answer has come.
    pub(crate) fn hear(&mut self, number: u32) -> Answer {
        if number >= self.next {
            return Answer::Strange;
        }
        let Some(at) = self.open.iter().position(|open| open.number == number) else { return Answer::Again };
        let early = self.open.iter().take(at).any(|before| !before.excused);
        let Some(question) = self.open.remove(at) else { return Answer::Again };
        if early { Answer::Early } else { Answer::Due(question.asked) }
    }

    /// The connection has ended.
    pub(crate) fn cut(&mut self) {
        self.open.iter_mut().for_each(|question| question.excused = true);
    }

    /// Answers that are due.
    pub(crate) fn pending(&self) -> usize {
        self.open.iter().filter(|question| !question.excused).count()
    }

    /// Questions without an answer that nothing excuses, by the moment they were asked.
    pub(crate) fn lost(&self) -> impl Iterator<Item = Instant> {
        self.open.iter().filter(|question| !question.excused).map(|question| question.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(count: u32) -> Echoes {
        let mut echoes = Echoes::default();
        (0..count).for_each(|number| assert_eq!(echoes.ask(Instant::now()), number));
        echoes
    }

    #[test]
    fn each_fault_has_its_verdict() {
        let mut echoes = asked(3);
        assert!(matches!(echoes.hear(0), Answer::Due(_)));
        assert_eq!(echoes.hear(0), Answer::Again);
        assert_eq!(echoes.hear(2), Answer::Early);
        assert!(matches!(echoes.hear(1), Answer::Due(_)), "it comes late, and once");
        assert_eq!((echoes.hear(2), echoes.hear(3)), (Answer::Again, Answer::Strange));
        assert_eq!(echoes.lost().count(), 0);
        assert_eq!(asked(2).lost().count(), 2);
    }

    #[test]
    fn only_a_cut_excuses() {
        let mut echoes = asked(2);
        echoes.cut();
        assert_eq!(echoes.pending(), 0);
        assert_eq!(echoes.ask(Instant::now()), 2);
        assert!(matches!(echoes.hear(1), Answer::Due(_)), "answers of before may come again");
        assert_eq!(echoes.hear(1), Answer::Again);
        assert_eq!(echoes.lost().count(), 1);
        assert!(matches!(echoes.hear(2), Answer::Due(_)), "the excused one is not waited for");
        assert_eq!(echoes.lost().count(), 0);
    }

    #[test]
    fn an_unsent_question_is_none() {
        let mut echoes = asked(1);
        echoes.unask();
        assert_eq!(echoes.pending(), 0);
        assert_eq!(echoes.ask(Instant::now()), 0);
    }
}
