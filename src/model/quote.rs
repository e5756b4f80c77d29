//! A price with its origin, its pair and its age.

use super::{Boot, Contribution, Health, Price, Rules, Symbol, Wall};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A published price on its way from the feeder through the master to every worker. `protocol::client` makes the
/// client's view of it, with its current age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The requested symbol.
    pub symbol: Symbol,
    /// The pair that the source really quotes, for instance `BTC-USDT`.
    pub pair: Symbol,
    pub price: Price,
    /// The best bid, if the source gives one.
    pub bid: Option<Price>,
    /// The best ask, if the source gives one.
    pub ask: Option<Price>,
    /// The provider's name in the configuration.
    pub source: Arc<str>,
    /// Whether the price is made up (a provider of kind `mock`).
    pub mock: bool,
    /// The exchange's own time stamp.
    pub time: Option<Wall>,
    /// When the price was read, for display.
    pub received_at: Wall,
    /// When the price was read, for its age.
    pub received: Boot,
    /// Delay of the feed against its own best at that moment: part of the age.
    pub lag: Duration,
    /// The source's interval between prices, if it has one (a polled source).
    pub interval: Duration,
    /// Number of the published price within its symbol. The master assigns it.
    pub seq: u64,
    /// The part of each source if the price was made of several; else empty.
    pub sources: Arc<[Contribution]>,
}

impl Quote {
    /// Time since the price was read, plus the feed's lag at that moment.
    #[must_use]
    pub fn age(&self, now: Boot) -> Duration {
        now.since(self.received) + self.lag
    }

    /// Judges the price at `now`.
    #[must_use]
    pub fn health(&self, rules: &Rules, now: Boot) -> Health {
        rules.health(self.age(now), self.interval)
    }

    /// The next moment at which [`Quote::health`] may change; `None`: never.
    #[must_use]
    pub fn next_change(&self, rules: &Rules, now: Boot) -> Option<Boot> {
        let age = self.age(now);
        [rules.stale_after(self.interval), rules.gone_after()]
            .into_iter()
            .filter(|limit| age <= *limit)
            .min()
            .map(|limit| self.received.after(limit.saturating_sub(self.lag)).after(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(interval: u64, lag: u64) -> Quote {
        let symbol = Symbol::new("BTC-USD").unwrap();
        Quote {
            pair: symbol.clone(),
            symbol,
            price: Price::parse("1").unwrap(),
            bid: None,
            ask: None,
            source: "x".into(),
            mock: false,
            time: None,
            received_at: Wall(0),
            received: Boot(0),
            lag: Duration::from_secs(lag),
            interval: Duration::from_secs(interval),
            seq: 1,
            sources: Arc::default(),
        }
    }

    #[test]
    fn a_price_grows_stale_and_is_forgotten() {
        let rules = |refuse_stale| Rules {
            fresh_for: Duration::from_secs(10),
            max_age: Duration::from_secs(120),
            forget_after: Duration::from_secs(600),
            refuse_stale,
        };
        let at = |s: u64| Boot(s * 1_000_000_000);
        let health = |q: &Quote, refuse, s| q.health(&rules(refuse), at(s));
        let pushed = quote(0, 0);
        assert_eq!(health(&pushed, false, 10), Health::Fresh);
        assert_eq!(health(&pushed, false, 11), Health::Stale);
        assert_eq!(health(&pushed, false, 601), Health::Gone);
        assert_eq!(health(&pushed, true, 121), Health::Gone);
        let polled = quote(30, 0);
        assert_eq!(health(&polled, false, 59), Health::Fresh);
        assert_eq!(health(&polled, false, 61), Health::Stale);
        assert_eq!(health(&quote(600, 0), false, 121), Health::Stale, "always past max_age");
        assert_eq!(health(&quote(0, 5), false, 6), Health::Stale, "the lag counts");
    }

    #[test]
    fn the_next_change_is_when_the_health_changes() {
        let rules = Rules {
            fresh_for: Duration::from_secs(10),
            max_age: Duration::from_secs(120),
            forget_after: Duration::from_secs(600),
            refuse_stale: false,
        };
        let quote = quote(0, 2);
        let (mut now, mut seen) = (Boot(0), vec![quote.health(&rules, Boot(0))]);
        while let Some(next) = quote.next_change(&rules, now) {
            assert!(next > now);
            now = next;
            seen.push(quote.health(&rules, now));
        }
        assert_eq!(seen, [Health::Fresh, Health::Stale, Health::Gone]);
    }
}
