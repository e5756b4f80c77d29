//! Whether a source trades: a price that stands while nobody trades is not a fresh one, however often it is repeated.
//! Pure; one state for all legs and sessions of a source.
//!
//! - The exchange says so, with a word of its own (`post_only`, `maintenance`): from then on a price is as old as its
//!   last change.
//! - Best bid and ask have left the last price behind: a price outside of them by more than [`TOLERANCE`] is as old as
//!   the last time that it was within, or changed.
//!
//! A quiet market is neither: bid and ask still surround its last price. A price that changes, or has a new number, is a
//! trade, whatever the exchange says.

use super::Now;
use crate::model::{Boot, Mono, Price, Symbol};
use crate::providers::Tick;
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::time::Duration;

/// Part of the price by which it may be outside of bid and ask: half a hundredth, some fifty times the usual spread.
const TOLERANCE: Decimal = Decimal::from_parts(5, 0, 0, false, 3);
/// A price must be outside for this time to be called a halt.
const PATIENCE: Duration = Duration::from_secs(3);
/// The word for a price that bid and ask have left behind.
const LEFT_BEHIND: &str = "bid and ask have left the last trade's price";

/// What a source says, and its prices, about its trading.
#[derive(Debug, Default)]
pub(super) struct Halts {
    /// The exchange's word for all its symbols.
    said: Option<String>,
    symbols: BTreeMap<Symbol, Trading>,
}

/// The trading of one symbol.
#[derive(Debug, Default)]
struct Trading {
    said: Option<String>,
    price: Option<Price>,
    /// When the price was last known to be that of the market.
    known: Option<Boot>,
    /// When this price was first seen.
    seen: Option<Boot>,
    /// Since when it is outside of bid and ask.
    outside: Option<Mono>,
}

/// A price that nobody trades at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Halted {
    /// Why.
    pub word: String,
    /// Its age at least.
    pub age: Duration,
    /// Whether that is all: a price that never was traded here has stood for an unknown time before.
    pub known: bool,
}

impl Halted {
    /// The same, at least that old.
    pub(super) fn at_least(self, age: Duration) -> Self {
        Self { age: self.age.max(age), ..self }
    }
}

impl Halts {
    /// Takes the exchange's word for a symbol, or for all; `None`: it trades.
    pub(super) fn said(&mut self, symbol: Option<&Symbol>, word: Option<&str>) {
        let said = match symbol {
            Some(symbol) => &mut self.symbols.entry(symbol.clone()).or_default().said,
            None => &mut self.said,
        };
        *said = word.map(str::to_owned);
    }

    /// The exchange's word for all these symbols, if none of them is traded.
    pub(super) fn word<'a>(&self, mut symbols: impl Iterator<Item = &'a Symbol>) -> Option<String> {
        let of = |symbol: &Symbol| self.symbols.get(symbol).and_then(|own| own.said.clone());
        self.said.clone().or_else(|| {
            let first = of(symbols.next()?)?;
            symbols.all(|symbol| of(symbol).is_some()).then_some(first)
        })
    }

    /// Judges a price, with best bid and ask as the source gave them; `None`: it is traded. What is no `news` is the
    /// price of the same trade once more.
    pub(super) fn judge(&mut self, tick: &Tick, news: bool, now: Now) -> Option<Halted> {
        // A stranger's symbol never gets here, so this stays small.
        let own = self.symbols.entry(tick.symbol.clone()).or_default();
        let before = own.price.replace(tick.price);
        let changed = before.is_some_and(|before| before != tick.price || (news && tick.seq.is_some()));
        if changed || before.is_none() {
            own.seen = Some(now.boot);
        }
        if changed || !outside(tick) {
            own.outside = None;
        } else {
            own.outside.get_or_insert(now.mono);
        }
        let said = own.said.as_ref().or(self.said.as_ref());
        let stands = match own.outside {
            Some(_) => before.is_some(),
            None => said.is_some() && !changed,
        };
        if !stands {
            own.known = if news { Some(now.boot) } else { own.known };
            return None;
        }
        let left =
            own.outside.filter(|since| now.mono.since(*since) >= PATIENCE).map(|_| LEFT_BEHIND.to_owned());
        let word = said.cloned().or(left)?;
        let since = own.known.or(own.seen).unwrap_or(now.boot);
        Some(Halted { word, age: now.boot.since(since), known: own.known.is_some() })
    }
}

/// Whether the price is outside of bid and ask by more than the tolerance. Crossed ones say nothing.
fn outside(tick: &Tick) -> bool {
    let (Some(bid), Some(ask)) = (tick.bid, tick.ask) else { return false };
    let far = |best: Price| best.deviation(tick.price) > TOLERANCE;
    bid <= ask && ((tick.price < bid && far(bid)) || (tick.price > ask && far(ask)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeder::Clock;

    /// A story of one symbol, in seconds.
    struct Story(Halts, Now);

    impl Story {
        fn new() -> Self {
            Self(Halts::default(), Clock::system().now())
        }

        fn judge(&mut self, second: u64, price: &str, bid: &str, ask: &str) -> Option<Halted> {
            let of = |text: &str| (!text.is_empty()).then(|| Price::parse(text).unwrap());
            let symbol = Symbol::new("BTC-USD").unwrap();
            let (price, bid, ask) = (of(price).unwrap(), of(bid), of(ask));
            let pair = symbol.clone();
            let tick = Tick { pair, symbol, price, bid, ask, time: None, seq: None };
            let later = Duration::from_secs(second);
            let now = Now { mono: self.1.mono.after(later), boot: self.1.boot.after(later), ..self.1 };
            self.0.judge(&tick, true, now)
        }
    }

    fn halted(word: &str, age: u64) -> Option<Halted> {
        Some(Halted { word: word.to_owned(), age: Duration::from_secs(age), known: true })
    }

    #[test]
    fn a_price_is_as_old_as_its_last_change_while_the_exchange_does_not_trade() {
        let mut story = Story::new();
        assert_eq!(story.judge(0, "64000", "63999", "64001"), None);
        story.0.said(None, Some("post_only"));
        assert_eq!(story.judge(2, "64000", "63990", "64001"), halted("post_only", 2));
        assert_eq!(story.judge(30, "64000", "60000", "60001"), halted("post_only", 30));
        assert_eq!(story.judge(31, "60000.5", "60000", "60001"), None, "a trade, whatever it says");
        assert_eq!(story.judge(40, "60000.5", "60000", "60001"), halted("post_only", 9));
        story.0.said(None, None);
        assert_eq!(story.judge(41, "60000.5", "60000", "60001"), None);
    }

    #[test]
    fn a_first_price_of_a_halted_exchange_has_an_unknown_age() {
        let mut story = Story::new();
        story.0.said(None, Some("cancel_only"));
        for second in [0, 1, 100] {
            let unknown = halted("cancel_only", second).map(|halted| Halted { known: false, ..halted });
            assert_eq!(story.judge(second, "64000", "63999", "64001"), unknown);
        }
        let other = Symbol::new("ETH-USD").unwrap();
        story.0.said(None, None);
        story.0.said(Some(&other), Some("maintenance"));
        assert_eq!(story.judge(101, "64000", "63999", "64001"), None, "only the other one is halted");
        let own = Symbol::new("BTC-USD").unwrap();
        assert_eq!(story.0.word([&other].into_iter()).as_deref(), Some("maintenance"));
        assert_eq!(story.0.word([&other, &own].into_iter()), None, "one of them is traded");
    }

    #[test]
    fn a_price_that_bid_and_ask_have_left_is_not_renewed() {
        let mut story = Story::new();
        assert_eq!(story.judge(0, "64000", "63999", "64001"), None);
        assert_eq!(story.judge(10, "64000", "63950", "63970"), None, "within the tolerance");
        for (second, ask) in [(11, "63600"), (12, "63500")] {
            assert_eq!(story.judge(second, "64000", "63400", ask), None, "not yet");
        }
        assert_eq!(story.judge(14, "64000", "63000", "63001"), halted(LEFT_BEHIND, 4));
        assert_eq!(story.judge(60, "64000", "32000", "32001"), halted(LEFT_BEHIND, 50), "however far");
        assert_eq!(story.judge(61, "32000.5", "32000", "32001"), None, "it trades");
        // Above as below, and back without a trade.
        assert_eq!(story.judge(62, "32000.5", "33000", "33001"), None);
        assert_eq!(story.judge(66, "32000.5", "33000", "33001"), halted(LEFT_BEHIND, 5));
        assert_eq!(story.judge(67, "32000.5", "32000", "32001"), None);
    }

    #[test]
    fn a_quiet_market_and_nonsense_are_no_halt() {
        let mut story = Story::new();
        for second in 0..500 {
            assert_eq!(story.judge(second, "64000", "63999", "64001"), None, "nobody trades for minutes");
        }
        for (at, (bid, ask)) in
            [("", ""), ("1", ""), ("", "1"), ("70000", "60000"), ("0.079", "100000")].into_iter().enumerate()
        {
            for second in 0..20 {
                let second = 1000 + 100 * at as u64 + second;
                assert_eq!(story.judge(second, "64000", bid, ask), None, "{bid} {ask}");
            }
        }
    }
}
