//! What clients noticed of one event, and which promise that breaks.

use super::kind::{Class, Kind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Messages of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Flow {
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    /// Before or after its turn.
    pub(crate) disorder: u32,
}

impl Flow {
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

/// Sums over all clients, from the beginning of an event to that of the next.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Noticed {
    /// Connections that the server ended, by close code (1006: without one).
    pub(crate) closed: BTreeMap<u16, u32>,
    /// Of those: with something under way when their worker died.
    pub(crate) under_way: u32,
    /// Connections that were not accepted, by status (0: none).
    pub(crate) refused: BTreeMap<u16, u32>,
    /// Answers to questions over a session.
    pub(crate) answers: Flow,
    /// Messages of a channel, of a room and of /chat.
    pub(crate) messages: Flow,
    /// Messages to /chat that nobody heard, not even their speaker, so that it knows.
    pub(crate) unheard: u32,
    /// Accepted POSTs.
    pub(crate) quotes: Flow,
    /// Prices older than one that was heard before.
    pub(crate) prices_back: u32,
    /// POSTs by answer.
    pub(crate) posts: BTreeMap<String, u32>,
    /// 404 for a user who was connected.
    pub(crate) denied: u32,
    pub(crate) resumed: u32,
    /// `resumed: false`, of those who were connected or away for a moment.
    pub(crate) not_resumed: u32,
    /// `resumed: true`, and something was missing.
    pub(crate) lies: u32,
    /// Messages `moved`, and the longest silence that they tell.
    pub(crate) moved: u32,
    pub(crate) told_silence_ms: u32,
}

fn add<K: Ord + Clone>(to: &mut BTreeMap<K, u32>, from: &BTreeMap<K, u32>) {
    from.iter().for_each(|(key, count)| *to.entry(key.clone()).or_default() += count);
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disorder += other.disorder;
    }
}

impl AddAssign<&Self> for Noticed {
    fn add_assign(&mut self, other: &Self) {
        add(&mut self.closed, &other.closed);
        add(&mut self.refused, &other.refused);
        add(&mut self.posts, &other.posts);
        self.under_way += other.under_way;
        self.answers += other.answers;
        self.messages += other.messages;
        self.unheard += other.unheard;
        self.quotes += other.quotes;
        self.prices_back += other.prices_back;
        self.denied += other.denied;
        self.resumed += other.resumed;
        self.not_resumed += other.not_resumed;
        self.lies += other.lies;
        self.moved += other.moved;
        self.told_silence_ms = self.told_silence_ms.max(other.told_silence_ms);
    }
}

/// Connections that a dying worker may be writing to at that moment, which nobody else can know.
pub(crate) const AT_THE_MOMENT: u32 = 1;

/// An event, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "by_name")]
    pub(crate) event: Kind,
    /// What was done, to which process.
    pub(crate) detail: String,
    /// The second in which it began.
    pub(crate) second: f64,
    /// Until everything was ready again; `None`: it never was.
    pub(crate) took_ms: Option<u32>,
    /// It could not be done here, for this reason.
    pub(crate) skipped: Option<String>,
    /// The daemon did not do what was asked.
    pub(crate) failed: Option<String>,
    /// Connections at the beginning.
    pub(crate) connected: u32,
    /// Of those at a dying worker: with something under way.
    pub(crate) dirty: u32,
    pub(crate) silence_ms: u32,
    /// Longest time to an answer over a session.
    pub(crate) answer_ms: u32,
    pub(crate) accepted: u32,
    pub(crate) noticed: Noticed,
    pub(crate) rss_bytes: u64,
    pub(crate) descriptors: usize,
}

fn by_name<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl Row {
    pub(crate) fn new(event: Kind) -> Self {
        Self {
            event,
            detail: String::new(),
            second: 0.0,
            took_ms: None,
            skipped: None,
            failed: None,
            connected: 0,
            dirty: 0,
            silence_ms: 0,
            answer_ms: 0,
            accepted: 0,
            noticed: Noticed::default(),
            rss_bytes: 0,
            descriptors: 0,
        }
    }

    pub(crate) fn closed(&self) -> u32 {
        self.noticed.closed.values().sum()
    }

    /// Names the promises that are broken. `silence`: the longest one that is allowed.
    pub(crate) fn broken(&self, silence: Option<u32>) -> Vec<String> {
        if self.skipped.is_some() {
            return vec![];
        }
        let (noticed, class) = (&self.noticed, self.event.class());
        let mut broken = Vec::new();
        let mut check = |count: u32, what: &str| {
            if count > 0 {
                broken.push(format!("{count} {what}"));
            }
        };
        match class {
            Class::Worker => {
                let clean = self.closed() - noticed.under_way.min(self.closed());
                check(clean.saturating_sub(AT_THE_MOMENT), "closed with nothing under way");
            }
            Class::Planned | Class::Middle => {
                check(self.closed(), "closed");
                check(noticed.not_resumed, "not resumed");
                check(noticed.denied, "POSTs answered 404 for a connected user");
            }
        }
        if class == Class::Planned {
            let of = |status: &str| noticed.posts.get(status).copied().unwrap_or(0);
            check(of("503") + of("504"), "POSTs refused");
            check(noticed.refused.values().sum(), "connections refused");
            check(noticed.unheard, "messages to /chat unheard");
        }
        for (flow, name) in
            [(noticed.answers, "answers"), (noticed.messages, "messages"), (noticed.quotes, "quotes")]
        {
            check(flow.lost, &format!("{name} lost"));
            check(flow.doubled, &format!("{name} doubled"));
            check(flow.disorder, &format!("{name} out of order"));
        }
        check(noticed.prices_back, "prices that go back");
        check(noticed.lies, "resumed: true with something missing");
        if let Some(most) = silence
            && self.silence_ms > most
        {
            broken.push(format!("{} ms of silence", self.silence_ms));
        }
        if let Some(failed) = &self.failed {
            broken.push(failed.clone());
        } else if self.took_ms.is_none() {
            broken.push("not ready again".to_owned());
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(event: Kind, change: impl FnOnce(&mut Noticed)) -> Row {
        let mut row = Row { took_ms: Some(5), silence_ms: 300, ..Row::new(event) };
        change(&mut row.noticed);
        row
    }

    #[test]
    fn nothing_noticed_breaks_nothing() {
        for event in [Kind::Usr2, Kind::KillMaster, Kind::KillWorker] {
            assert_eq!(row(event, |_| ()).broken(None), [] as [&str; 0]);
            assert_eq!(row(event, |_| ()).broken(Some(300)), [] as [&str; 0]);
            assert_eq!(row(event, |_| ()).broken(Some(299)), ["300 ms of silence"]);
        }
    }

    #[test]
    fn only_the_death_of_a_worker_closes_and_only_what_is_under_way() {
        let closes = |noticed: &mut Noticed| {
            noticed.closed = [(1006, 3), (1012, 2)].into();
            noticed.under_way = 4;
        };
        assert_eq!(row(Kind::Usr2, closes).broken(None), ["5 closed"]);
        assert_eq!(row(Kind::KillFeeder, closes).broken(None), ["5 closed"]);
        assert_eq!(row(Kind::KillWorker, closes).broken(None), [] as [&str; 0], "one may be written to");
        let closes = |noticed: &mut Noticed| {
            closes(noticed);
            noticed.under_way = 2;
        };
        assert_eq!(row(Kind::KillWorker, closes).broken(None), ["2 closed with nothing under way"]);
    }

    #[test]
    fn each_fault_is_named() {
        type Change = fn(&mut Noticed);
        let always: [(Change, &str); 9] = [
            (|n| n.answers.lost = 1, "1 answers lost"),
            (|n| n.answers.doubled = 1, "1 answers doubled"),
            (|n| n.messages.lost = 2, "2 messages lost"),
            (|n| n.messages.doubled = 1, "1 messages doubled"),
            (|n| n.messages.disorder = 1, "1 messages out of order"),
            (|n| n.quotes.lost = 1, "1 quotes lost"),
            (|n| n.quotes.doubled = 1, "1 quotes doubled"),
            (|n| n.prices_back = 1, "1 prices that go back"),
            (|n| n.lies = 1, "1 resumed: true with something missing"),
        ];
        for (change, name) in always {
            for event in [Kind::Usr2, Kind::StopMaster, Kind::StopWorker] {
                assert_eq!(row(event, change).broken(None), [name]);
            }
        }
        let change = |n: &mut Noticed| {
            (n.not_resumed, n.denied, n.unheard) = (1, 2, 4);
            (n.posts, n.refused) = ([("503".to_owned(), 3), ("202".to_owned(), 9)].into(), [(429, 1)].into());
        };
        let [not, denied] = ["1 not resumed", "2 POSTs answered 404 for a connected user"];
        assert_eq!(
            row(Kind::Usr2, change).broken(None),
            [not, denied, "3 POSTs refused", "1 connections refused", "4 messages to /chat unheard"]
        );
        assert_eq!(row(Kind::KillMaster, change).broken(None), [not, denied]);
        assert_eq!(row(Kind::KillWorker, change).broken(None), [] as [&str; 0]);
    }

    #[test]
    fn an_event_that_fails_is_told_and_one_that_is_skipped_is_none() {
        let mut row = row(Kind::Upgrade, |noticed| noticed.lies = 1);
        row.took_ms = None;
        assert_eq!(row.broken(None).last().unwrap(), "not ready again");
        row.failed = Some("ctl upgrade: exit 2".to_owned());
        assert_eq!(row.broken(None).last().unwrap(), "ctl upgrade: exit 2");
        row.skipped = Some("no cgroup".to_owned());
        assert_eq!(row.broken(None), [] as [&str; 0]);
    }

    #[test]
    fn sums_are_taken() {
        let mut sum = row(Kind::Usr2, |n| n.closed = [(1006, 1)].into()).noticed;
        let other = row(Kind::Usr2, |n| {
            (n.closed, n.told_silence_ms) = ([(1006, 2), (1012, 1)].into(), 7);
            n.messages.lost = 2;
        });
        sum += &other.noticed;
        assert_eq!((sum.closed, sum.told_silence_ms), ([(1006, 3), (1012, 1)].into(), 7));
        assert!(!sum.messages.is_clean() && sum.quotes.is_clean());
    }
}
