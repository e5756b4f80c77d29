//! Everything about one symbol.

use super::news::{News, Origin, What};
use crate::model::{Boot, Candles, Health, LogLimiter, Mono, Quote, Rules, Symbol};
use std::time::Duration;

/// A price of a new feeder may be older than the known one by so much, as overtaken prices of the same one are.
const JITTER: Duration = Duration::from_secs(2);

/// A configured symbol, dropped as a whole when the symbol leaves the configuration.
#[derive(Debug)]
pub(super) struct Pair {
    /// The number of the last price.
    number: u64,
    pub(super) quote: Option<Quote>,
    /// Whether the feeder that gave it has died, and with it what it knew of its sources.
    orphaned: bool,
    /// The newest price is one of the master before: a feeder may say it again.
    inherited: bool,
    /// The newest candles, for newborn workers.
    pub(super) candles: Option<Candles>,
    /// Sources may take turns each second: the log is limited.
    origins: LogLimiter<Origin>,
    /// The health at the last look.
    health: Option<Health>,
    healths: LogLimiter<Health>,
}

fn origin(quote: &Quote) -> Origin {
    (quote.source.clone(), quote.pair.clone(), quote.mock)
}

impl Pair {
    /// A symbol without a price; numbers begin above `number`.
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            quote: None,
            orphaned: false,
            inherited: false,
            candles: None,
            origins: LogLimiter::default(),
            health: None,
            healths: LogLimiter::default(),
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Keeps a price that has its number, if it is newer.
    pub(super) fn at_least(&mut self, quote: &Quote) -> bool {
        let is_newer = self.quote.as_ref().is_none_or(|known| known.seq < quote.seq);
        if is_newer {
            self.number = self.number.max(quote.seq);
            self.quote = Some(quote.clone());
            self.inherited = true;
        }
        is_newer
    }

    /// Whether this very price is the newest: a feeder says it again to a master that takes the place of another.
    pub(super) fn has(&mut self, quote: &mut Quote) -> bool {
        let is_inherited = std::mem::take(&mut self.inherited);
        is_inherited
            && self.quote.as_ref().is_some_and(|known| {
                quote.seq = known.seq;
                quote == known
            })
    }

    /// Another feeder gives prices from now on.
    pub(super) fn renew(&mut self) {
        self.orphaned = true;
    }

    /// Whether the first price of a new feeder is older than the known one: a source may begin with the past.
    pub(super) fn goes_back(&mut self, quote: &Quote, rules: &Rules) -> bool {
        let now = quote.received;
        let known = self.quote.as_ref().filter(|known| self.orphaned && known.mock == quote.mock);
        let older = known.filter(|known| known.health(rules, now) != Health::Gone);
        self.orphaned = older.is_some_and(|known| quote.age(now) > known.age(now) + JITTER);
        self.orphaned
    }

    /// Keeps a new price. Some: it comes from elsewhere than the one before.
    pub(super) fn price(&mut self, quote: Quote, now: Mono) -> Option<News> {
        let (symbol, new) = (quote.symbol.clone(), origin(&quote));
        let same = self.quote.replace(quote).is_some_and(|before| origin(&before) == new);
        let hushed = (!same).then(|| self.origins.change(new.clone(), now)).flatten()?;
        Some(News { symbol, what: What::Origin(new), hushed })
    }

    /// Lines for the log that are due.
    pub(super) fn look(&mut self, symbol: &Symbol, rules: &Rules, now: Mono, boot: Boot) -> Vec<News> {
        let mut all = Vec::new();
        if let Some((origin, hushed)) = self.origins.wake(now) {
            all.push(News { symbol: symbol.clone(), what: What::Origin(origin), hushed });
        }
        let Some(quote) = &self.quote else { return all };
        let health = quote.health(rules, boot);
        let changed = self.health.replace(health).is_some_and(|before| before != health);
        let due = if changed {
            self.healths.change(health, now).map(|hushed| (health, hushed))
        } else {
            self.healths.wake(now)
        };
        all.extend(due.map(|(health, hushed)| {
            let (price, source, age) = (quote.price, quote.source.clone(), quote.age(boot));
            News { symbol: symbol.clone(), what: What::Health { health, price, source, age }, hushed }
        }));
        all
    }
}
