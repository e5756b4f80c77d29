//! Comings and goings on an endpoint that announces them: counted, and told at most once a second, so that ten
//! thousand simultaneous arrivals are some messages to each session, not ten thousand.

use crate::model::Mono;
use std::time::Duration;

/// The least time between two messages of one kind.
const PAUSE: Duration = Duration::from_secs(1);
/// Most clients named in one message.
const NAMED: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// True: the clients came. False: they went.
    pub came: bool,
    /// Count since the last message.
    pub count: u32,
    /// The first clients.
    pub clients: Vec<String>,
}

#[derive(Debug, Default)]
struct Side {
    count: u32,
    clients: Vec<String>,
    told: Option<Mono>,
}

/// Comings and goings that are not told yet.
#[derive(Debug, Default)]
pub struct Arrivals {
    came: Side,
    went: Side,
}

impl Arrivals {
    pub(super) fn note(&mut self, came: bool, name: impl FnOnce() -> String) {
        let side = if came { &mut self.came } else { &mut self.went };
        side.count += 1;
        if side.clients.len() < NAMED {
            side.clients.push(name());
        }
    }

    /// Takes the messages that are due.
    pub fn due(&mut self, now: Mono) -> impl Iterator<Item = News> {
        let came = self.came.due(now).map(|(count, clients)| News { came: true, count, clients });
        let went = self.went.due(now).map(|(count, clients)| News { came: false, count, clients });
        came.into_iter().chain(went)
    }

    /// The moment of the next message.
    #[must_use]
    pub fn next(&self) -> Option<Mono> {
        self.came.next().into_iter().chain(self.went.next()).min()
    }
}

impl Side {
    fn next(&self) -> Option<Mono> {
        (self.count > 0).then(|| self.told.map_or(Mono(0), |told| told.after(PAUSE)))
    }

    fn due(&mut self, now: Mono) -> Option<(u32, Vec<String>)> {
        self.next().filter(|at| *at <= now)?;
        self.told = Some(now);
        Some((std::mem::take(&mut self.count), std::mem::take(&mut self.clients)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_is_told_at_once_and_a_crowd_a_second_later() {
        let (mut arrivals, now) = (Arrivals::default(), Mono(5_000_000_000));
        assert_eq!((arrivals.next(), arrivals.due(now).count()), (None, 0));
        arrivals.note(true, || "first".into());
        let first = News { came: true, count: 1, clients: vec!["first".into()] };
        assert_eq!(arrivals.due(now).collect::<Vec<_>>(), [first]);
        (0..10_000).for_each(|n| arrivals.note(true, || format!("c{n}")));
        arrivals.note(false, || "gone".into());
        let told: Vec<_> = arrivals.due(now).collect();
        assert_eq!(told, [News { came: false, count: 1, clients: vec!["gone".into()] }]);
        assert_eq!(arrivals.next(), Some(now.after(PAUSE)));
        let crowd: Vec<_> = arrivals.due(now.after(PAUSE)).collect();
        assert_eq!((crowd.len(), crowd[0].count, crowd[0].clients.len()), (1, 10_000, NAMED));
    }

    proptest! {
        #[test]
        fn all_are_counted_once_and_told_at_most_once_a_second(
            steps in proptest::collection::vec((0u64..400, any::<bool>(), 0u32..4), 1..100)
        ) {
            let (mut arrivals, mut now, mut owed, mut told) = (Arrivals::default(), Mono(1 << 40), [0; 2], [0; 2]);
            let mut last = [None::<Mono>; 2];
            for (ms, came, count) in steps {
                now = now.after(Duration::from_millis(ms));
                (0..count).for_each(|_| arrivals.note(came, String::new));
                owed[usize::from(came)] += count;
                for news in arrivals.due(now).collect::<Vec<_>>() {
                    let side = usize::from(news.came);
                    prop_assert!(last[side].is_none_or(|last| now.since(last) >= PAUSE));
                    last[side] = Some(now);
                    told[side] += news.count;
                }
            }
            told[1] += arrivals.due(now.after(PAUSE)).map(|news| news.count * u32::from(news.came)).sum::<u32>();
            prop_assert_eq!(told[1], owed[1]);
        }
    }
}
