//! The part of each source in a price that was made of several.

use super::{Boot, Health, Price, Rules, Symbol, words};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

words! {
    /// The verdict on a source's price.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum SourceVerdict {
        /// Belongs to the largest group of prices near each other.
        Agrees = "agrees",
        /// Does not belong to that group.
        Deviates = "deviates",
        /// Too old to count.
        Stale = "stale",
        /// Quotes another pair than the symbol: never counts.
        OtherPair = "other-pair",
        /// The source has given no price.
        None = "none",
    }
}

/// A source's part in a price that was made of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// The provider's name in the configuration.
    pub source: Arc<str>,
    /// The verdict when the price was made.
    pub verdict: SourceVerdict,
    /// The source's newest price, if any.
    pub said: Option<SourcePrice>,
}

/// A source's own newest price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePrice {
    /// The pair that the source really quotes.
    pub pair: Symbol,
    pub price: Price,
    /// When the price was read.
    pub received: Boot,
    /// See [`super::Quote::lag`].
    pub lag: Duration,
    /// See [`super::Quote::interval`].
    pub interval: Duration,
}

impl SourcePrice {
    /// Time since the price was read, plus the feed's lag at that moment.
    #[must_use]
    pub fn age(&self, now: Boot) -> Duration {
        now.since(self.received) + self.lag
    }
}

impl Contribution {
    /// The verdict at `now`: a price that counted becomes stale with age.
    #[must_use]
    pub fn verdict(&self, rules: &Rules, now: Boot) -> SourceVerdict {
        let fresh = |said: &SourcePrice| rules.health(said.age(now), said.interval) == Health::Fresh;
        match self.verdict {
            SourceVerdict::Agrees | SourceVerdict::Deviates if !self.said.as_ref().is_some_and(fresh) => {
                SourceVerdict::Stale
            }
            verdict => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agreed_once_grows_stale() {
        let said = SourcePrice {
            pair: Symbol::new("BTC-USD").unwrap(),
            price: Price::parse("1").unwrap(),
            received: Boot(0),
            lag: Duration::from_secs(1),
            interval: Duration::ZERO,
        };
        let rules = Rules {
            fresh_for: Duration::from_secs(10),
            max_age: Duration::from_secs(20),
            forget_after: Duration::from_secs(30),
            refuse_stale: false,
        };
        let at = |verdict, seconds: u64| {
            let part = Contribution { source: "a".into(), verdict, said: Some(said.clone()) };
            part.verdict(&rules, Boot(seconds * 1_000_000_000)).as_str()
        };
        assert_eq!((at(SourceVerdict::Agrees, 9), at(SourceVerdict::Agrees, 10)), ("agrees", "stale"));
        assert_eq!((at(SourceVerdict::Deviates, 9), at(SourceVerdict::Deviates, 10)), ("deviates", "stale"));
        assert_eq!(at(SourceVerdict::OtherPair, 10), "other-pair");
    }

    #[test]
    fn a_verdict_has_one_word() {
        use SourceVerdict::{Agrees, Deviates, None, OtherPair, Stale};
        for verdict in [Agrees, Deviates, None, OtherPair, Stale] {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
    }
}
