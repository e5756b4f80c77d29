//! A 202 that says N sessions has been heard by N sessions of its user, by each of them once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Longest time that an accepted quote is on its way, beside the time of the events.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// So long a session of which the client knows nothing any more may count: its worker hangs, and does not see that its
/// connection has ended.
const HANGING: Duration = Duration::from_secs(6);

/// A POST that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) user: u32,
    /// Sessions that have it, by the receipt.
    pub(crate) sessions: u32,
    pub(crate) posted: Instant,
    pub(crate) answered: Instant,
}

#[derive(Debug, Default)]
struct Entry {
    accepted: Option<Accepted>,
    /// Clients, each as often as it heard.
    heard: Vec<(u32, Instant)>,
}

/// A time without a connection.
#[derive(Clone, Copy, Debug)]
struct Absence {
    from: Instant,
    /// `None`: it goes on.
    to: Option<Instant>,
    /// The session was resumed: nothing may be missing.
    resumed: bool,
}

impl Absence {
    fn touches(&self, accepted: &Accepted) -> bool {
        // One that was resumed is no session of its old worker any more.
        let left = if self.resumed { Duration::ZERO } else { HANGING };
        let late = self.to.is_some_and(|to| accepted.posted > to + left);
        self.from <= accepted.answered + ON_ITS_WAY && !late
    }
}

/// All POSTs, and what clients have heard of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: HashMap<u128, Entry>,
    /// By client.
    absences: HashMap<u32, Vec<Absence>>,
    /// By user: answers after which a delivery is possible (503, 504, none).
    unknown: HashMap<u32, u32>,
}

/// What is wrong with a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// So many sessions less than the receipt says have it. `lie`: one of the user's clients was told
    /// `resumed: true` at that time.
    Lost { sessions: u32, lie: bool },
    /// A client heard it again.
    Doubled,
    /// Heard by somebody, while all POSTs for that user were either accepted or refused for sure.
    Denied,
}

impl Ledger {
    /// A 202.
    pub(crate) fn accept(&mut self, request: u128, accepted: Accepted) {
        self.entries.entry(request).or_default().accepted = Some(accepted);
    }

    /// An answer that leaves open whether somebody hears it.
    pub(crate) fn doubt(&mut self, user: u32) {
        *self.unknown.entry(user).or_default() += 1;
    }

    /// A client heard a quote. `true`: again.
    pub(crate) fn hear(&mut self, request: u128, client: u32, now: Instant) -> bool {
        let entry = self.entries.entry(request).or_default();
        let again = entry.heard.iter().any(|(other, _)| *other == client);
        entry.heard.push((client, now));
        again
    }

    /// A client lost its connection.
    pub(crate) fn leave(&mut self, client: u32, from: Instant) {
        let absences = self.absences.entry(client).or_default();
        if absences.last().is_none_or(|last| last.to.is_some()) {
            absences.push(Absence { from, to: None, resumed: false });
        }
    }

    /// It has one again.
    pub(crate) fn come_back(&mut self, client: u32, now: Instant, resumed: bool) {
        if let Some(last) = self.absences.get_mut(&client).and_then(|absences| absences.last_mut())
            && last.to.is_none()
        {
            (last.to, last.resumed) = (Some(now), resumed);
        }
    }

    /// Whether a client was away at that moment, and whether it came back with `resumed: true`.
    pub(crate) fn was_away(&self, client: u32, moment: Instant) -> Option<bool> {
        let mut absences = self.absences.get(&client)?.iter();
        let at = |absence: &&Absence| {
            absence.from <= moment + ON_ITS_WAY && absence.to.is_none_or(|to| moment <= to)
        };
        absences.find(at).map(|absence| absence.resumed)
    }

    /// The last absence of a client, for people: how long ago it began and ended, and whether it was resumed.
    pub(crate) fn last(&self, client: u32) -> Option<(Duration, Option<Duration>, bool)> {
        let last = self.absences.get(&client)?.last()?;
        Some((last.from.elapsed(), last.to.map(|to| to.elapsed()), last.resumed))
    }

    /// The quote of a user that was posted at that moment, for people: its receipt, and which clients heard it when.
    pub(crate) fn quote(&self, user: u32, posted: Instant) -> Option<String> {
        let is_it = |accepted: &Accepted| (accepted.user, accepted.posted) == (user, posted);
        let found = |entry: &&Entry| entry.accepted.as_ref().is_some_and(is_it);
        let Entry { accepted, heard } = self.entries.values().find(found)?;
        let Accepted { sessions, answered, .. } = accepted.as_ref()?;
        let after = *answered - posted;
        let heard = heard.iter().map(|(client, at)| (client, at.saturating_duration_since(posted)));
        Some(format!("{sessions} sessions after {after:?}, heard: {:?}", heard.collect::<Vec<_>>()))
    }

    /// Faults, each with the moment of its POST (or of its hearing, where that is unknown) and its user. `clients`: those
    /// of a user; `owner`: the user of a client.
    pub(crate) fn faults<'a>(
        &self,
        clients: impl Fn(u32) -> &'a [u32],
        owner: impl Fn(u32) -> u32,
    ) -> Vec<(Instant, u32, Fault)> {
        let (mut faults, mut unasked) = (Vec::new(), HashMap::<u32, Vec<Instant>>::new());
        for entry in self.entries.values() {
            let mut distinct: Vec<u32> = entry.heard.iter().map(|(client, _)| *client).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let first = entry.heard.first();
            let moment = entry.accepted.map(|accepted| accepted.posted).or(first.map(|(_, at)| *at));
            let Some(moment) = moment else { continue };
            let user =
                entry.accepted.map_or_else(|| first.map(|(client, _)| owner(*client)), |it| Some(it.user));
            let Some(user) = user else { continue };
            faults.extend((distinct.len()..entry.heard.len()).map(|_| (moment, user, Fault::Doubled)));
            match (entry.accepted, first) {
                (Some(accepted), _) => {
                    let missing = self.missing(&accepted, clients(accepted.user), &distinct);
                    faults.extend(missing.map(|fault| (accepted.posted, user, fault)));
                }
                (None, Some((_, at))) => unasked.entry(user).or_default().push(*at),
                (None, None) => (),
            }
        }
        for (user, moments) in unasked {
            let known = self.unknown.get(&user).copied().unwrap_or(0) as usize;
            faults.extend(moments.iter().skip(known).map(|at| (*at, user, Fault::Denied)));
        }
        faults
    }

    fn missing(&self, accepted: &Accepted, clients: &[u32], heard: &[u32]) -> Option<Fault> {
        let (mut excused, mut lie) = (0, false);
        for client in clients {
            let absences = self.absences.get(client).into_iter().flatten();
            let touching: Vec<_> = absences.filter(|absence| absence.touches(accepted)).collect();
            // Nothing may be missing over a resume; without one it was told. A client that hears it in its new session may
            // have another one at a worker that hangs.
            let told = touching.iter().filter(|absence| !absence.resumed).count();
            excused += told;
            lie |= told == 0 && !touching.is_empty() && !heard.contains(client);
        }
        let lost = (accepted.sessions as usize).saturating_sub(heard.len() + excused);
        let sessions = u32::try_from(lost).unwrap_or(u32::MAX);
        (lost > 0).then_some(Fault::Lost { sessions, lie })
    }

    /// Quotes that were accepted, and their deliveries, since one moment and before another.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> (u32, u32) {
        let accepted = self
            .entries
            .values()
            .filter(|entry| entry.accepted.is_some_and(|accepted| (from..to).contains(&accepted.posted)));
        let sum = accepted.fold((0, 0), |(count, heard), entry| (count + 1, heard + entry.heard.len()));
        (sum.0, u32::try_from(sum.1).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients 0, 1, 2 are user 0's; client 10 is user 1's.
    const OF_USER: [&[u32]; 2] = [&[0, 1, 2], &[10]];

    struct Story {
        start: Instant,
        ledger: Ledger,
    }

    impl Story {
        fn new() -> Self {
            Self { start: Instant::now() + Duration::from_secs(1000), ledger: Ledger::default() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn post(&mut self, request: u128, user: u32, sessions: u32, second: u64) {
            let (posted, answered) = (self.at(second), self.at(second + 1));
            self.ledger.accept(request, Accepted { user, sessions, posted, answered });
        }

        fn hear(&mut self, request: u128, clients: &[u32]) {
            let now = self.at(1);
            clients.iter().for_each(|client| _ = self.ledger.hear(request, *client, now));
        }

        fn faults(&self) -> Vec<Fault> {
            let owner = |client| u32::from(client >= 10);
            let faults = self.ledger.faults(|user| OF_USER[user as usize], owner);
            faults.into_iter().map(|(.., fault)| fault).collect()
        }
    }

    #[test]
    fn all_is_well_when_as_many_hear_as_the_receipt_says() {
        let mut story = Story::new();
        story.post(1, 0, 2, 10);
        story.hear(1, &[0, 2]);
        story.post(2, 1, 1, 10);
        story.hear(2, &[10]);
        assert_eq!(story.faults(), []);
        assert_eq!(story.ledger.between(story.at(0), story.at(11)), (2, 3));
        assert_eq!(story.ledger.between(story.at(11), story.at(12)), (0, 0));
    }

    #[test]
    fn a_loss_and_a_double_are_seen() {
        let mut story = Story::new();
        story.post(1, 0, 3, 10);
        story.hear(1, &[0]);
        assert_eq!(story.faults(), [Fault::Lost { sessions: 2, lie: false }]);
        story.hear(1, &[1, 2, 2]);
        assert_eq!(story.faults(), [Fault::Doubled]);
    }

    #[test]
    fn who_was_away_is_excused_unless_it_was_told_that_nothing_is_missing() {
        for (posted, resumed, back, faults) in [
            (10, false, Some(12), vec![]),
            (10, true, Some(12), vec![Fault::Lost { sessions: 1, lie: true }]),
            (10, false, None, vec![]),
            // Its session of before may live on at a worker that hangs.
            (10, false, Some(8), vec![]),
            (15, false, Some(8), vec![Fault::Lost { sessions: 1, lie: false }]),
        ] {
            let mut story = Story::new();
            story.post(1, 1, 1, posted);
            story.ledger.leave(10, story.at(7));
            story.ledger.leave(10, story.at(11));
            if let Some(back) = back {
                story.ledger.come_back(10, story.at(back), resumed);
            }
            assert_eq!(story.faults(), faults, "{posted} {resumed} {back:?}");
        }
    }

    #[test]
    fn who_has_come_back_may_be_counted_twice_for_a_while() {
        for (posted, resumed, faults) in [
            (10, false, vec![]),
            (10, true, vec![Fault::Lost { sessions: 1, lie: false }]),
            (15, false, vec![Fault::Lost { sessions: 1, lie: false }]),
        ] {
            let mut story = Story::new();
            story.ledger.leave(10, story.at(7));
            story.ledger.come_back(10, story.at(8), resumed);
            story.post(1, 1, 2, posted);
            story.hear(1, &[10]);
            assert_eq!(story.faults(), faults, "{posted} {resumed}");
        }
    }

    #[test]
    fn a_quote_that_was_denied_is_not_heard() {
        let mut story = Story::new();
        story.hear(9, &[10]);
        assert_eq!(story.faults(), [Fault::Denied]);
        story.ledger.doubt(1);
        assert_eq!(story.faults(), []);
    }

    #[test]
    fn absences_are_found() {
        let mut story = Story::new();
        story.ledger.leave(3, story.at(10));
        story.ledger.come_back(3, story.at(20), true);
        let away = |second| story.ledger.was_away(3, story.at(second));
        assert_eq!((away(7), away(9), away(15), away(21)), (None, Some(true), Some(true), None));
    }
}
