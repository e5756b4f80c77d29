//! Drops best prices that nobody means: a bid or ask too far from the price (one exchange's own example has a bid of 637
//! at a price of 246, another an ask of 100000 at a bid of 0.079). Pure.

use super::Tick;
use crate::model::Price;
use rust_decimal::Decimal;

/// Most distance of bid and ask from the price, as a part of it.
const SPREAD: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// Drops best prices that are too far from the price.
#[must_use]
pub fn believable(mut tick: Tick) -> Tick {
    let near = |best: &Price| best.deviation(tick.price) <= SPREAD;
    (tick.bid, tick.ask) = (tick.bid.filter(near), tick.ask.filter(near));
    if tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask) {
        (tick.bid, tick.ask) = (None, None);
    }
    tick
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Symbol;

    fn tick() -> Tick {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let price = Price::parse("100").unwrap();
        Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq: None }
    }

    #[test]
    fn best_prices_that_nobody_means_are_not_shown() {
        let price = |text: &str| (!text.is_empty()).then(|| Price::parse(text).unwrap());
        for (bid, ask, shown_bid, shown_ask) in [
            ("99.9", "100.1", "99.9", "100.1"),
            ("95", "105", "95", "105"),
            ("259", "259.1", "", ""),
            ("99.9", "100000", "99.9", ""),
            ("0.5", "100.1", "", "100.1"),
            ("100.2", "99.8", "", ""),
            ("100", "100", "100", "100"),
            ("", "", "", ""),
        ] {
            let best = Tick { bid: price(bid), ask: price(ask), ..tick() };
            let tick = believable(best);
            assert_eq!((tick.bid, tick.ask), (price(shown_bid), price(shown_ask)), "{bid} {ask}");
        }
    }
}
