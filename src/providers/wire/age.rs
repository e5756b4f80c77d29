//! How old an answer is by its head: caches on the way say so. A time, not a stamp: whether our wall clock is right does
//! not matter.

use super::reply::date;
use crate::model::Wall;
use http::header::{AGE, DATE, HeaderMap};
use std::time::Duration;
use tokio::time::Instant;

/// What an answer's head says of its age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::providers) struct Age {
    /// Time in caches.
    age: Option<Duration>,
    /// When its origin made it, on the origin's clock.
    date: Option<Wall>,
}

impl Age {
    pub(in crate::providers) fn of(headers: &HeaderMap) -> Self {
        let text =
            |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
        let age = text(AGE).and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Self { age, date: text(DATE).and_then(date) }
    }
}

/// The age of answers to one poll.
#[derive(Clone, Debug, Default)]
pub(in crate::providers) struct Ages {
    /// The newest `Date`, and when it was first seen.
    newest: Option<(Wall, Instant)>,
}

impl Ages {
    /// How old the answer is; `None`: made just now, as far as its head says. An answer is as old as `Age` says, and at
    /// least as old as the first one with the same `Date` or a later one.
    pub(in crate::providers) fn take(&mut self, said: &Age, now: Instant) -> Option<Duration> {
        let first = match (said.date, self.newest) {
            (Some(date), Some((newest, at))) if date <= newest => Some(now.saturating_duration_since(at)),
            (Some(date), _) => {
                self.newest = Some((date, now));
                None
            }
            (None, _) => None,
        };
        // The header counts whole seconds.
        let since = first.filter(|since| *since >= Duration::from_secs(2));
        said.age.max(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    fn said(age: Option<&'static str>, date: Option<&'static str>) -> Age {
        let mut headers = HeaderMap::new();
        age.map(|age| headers.insert(AGE, HeaderValue::from_static(age)));
        date.map(|date| headers.insert(DATE, HeaderValue::from_static(date)));
        Age::of(&headers)
    }

    #[test]
    fn an_answer_is_as_old_as_its_head_says() {
        let (mut ages, begin, s) = (Ages::default(), Instant::now(), Duration::from_secs);
        let (noon, later) = ("Wed, 18 Nov 2026 12:00:00 GMT", "Wed, 18 Nov 2026 12:00:30 GMT");
        let mut of = |age, date, at| ages.take(&said(age, date), begin + s(at)).map(|age| age.as_secs());
        assert_eq!(of(None, None, 0), None);
        assert_eq!(of(Some("300"), None, 0), Some(300));
        assert_eq!(of(Some("0"), None, 0), Some(0));
        assert_eq!([of(Some("-1"), None, 0), of(Some("old"), None, 0)], [None; 2]);
        assert_eq!(of(None, Some(noon), 0), None, "our clock and theirs are not compared");
        assert_eq!(of(None, Some(noon), 1), None);
        assert_eq!(of(None, Some(noon), 40), Some(40), "the answer of 40 s ago");
        assert_eq!(of(None, Some(later), 41), None);
        assert_eq!(of(None, Some(noon), 44), Some(3), "at least as old as a newer one");
        assert_eq!(of(Some("90"), Some(later), 51), Some(90));
    }
}
