//! The requested pairs under an exchange's own codes.

use crate::model::{Price, Symbol, Wall, one_line};
use crate::providers::{Fault, Sink, Tick};

/// Symbols, each with the pair that stands for it.
pub(in crate::providers) type Wanted = [(Symbol, Symbol)];

/// The pairs, each once, in the order of the symbols.
#[derive(Clone)]
pub(in crate::providers) struct Pairs(Vec<Asked>);

/// A pair and its state between two messages.
#[derive(Clone)]
pub(in crate::providers) struct Asked {
    /// The exchange's code (`BTCUSDT`, `BTC/USD`).
    pub code: String,
    pub pair: Symbol,
    /// The symbols that it stands for.
    symbols: Vec<Symbol>,
    /// The best bid, for exchanges that send it in a message of its own.
    pub bid: Option<Price>,
    /// The best ask, likewise.
    pub ask: Option<Price>,
    refused: bool,
}

/// The content of a message about a pair.
#[derive(Clone, Copy)]
pub(in crate::providers) struct PairPrice {
    pub price: Price,
    pub bid: Option<Price>,
    pub ask: Option<Price>,
    pub time: Option<Wall>,
    pub seq: Option<u64>,
}

impl Asked {
    /// Passes a price on, for every symbol that the pair stands for.
    pub(in crate::providers) fn tell(&mut self, said: &PairPrice, out: &mut dyn Sink) {
        self.refused = false;
        let (pair, PairPrice { price, bid, ask, time, seq }) = (&self.pair, *said);
        for symbol in &self.symbols {
            out.tick(Tick { symbol: symbol.clone(), pair: pair.clone(), price, bid, ask, time, seq });
        }
    }
}

impl Pairs {
    /// `code` converts a pair to the exchange's code.
    pub(in crate::providers) fn new(wanted: &Wanted, code: impl Fn(&Symbol) -> String) -> Self {
        let mut all: Vec<Asked> = Vec::new();
        for (symbol, pair) in wanted {
            match all.iter_mut().find(|asked| asked.pair == *pair) {
                Some(asked) => asked.symbols.push(symbol.clone()),
                None => all.push(Asked {
                    code: code(pair),
                    pair: pair.clone(),
                    symbols: vec![symbol.clone()],
                    bid: None,
                    ask: None,
                    refused: false,
                }),
            }
        }
        Self(all)
    }

    /// The exchange's codes.
    pub(in crate::providers) fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|asked| asked.code.as_str())
    }

    pub(in crate::providers) fn len(&self) -> usize {
        self.0.len()
    }

    /// The pair at a position, counted in circles.
    pub(in crate::providers) fn turn(&self, at: usize) -> Option<&Asked> {
        self.0.get(at.checked_rem(self.0.len())?)
    }

    pub(in crate::providers) fn turn_mut(&mut self, at: usize) -> Option<&mut Asked> {
        let many = self.0.len();
        self.0.get_mut(at.checked_rem(many)?)
    }

    /// The pair with this code.
    ///
    /// # Errors
    /// [`Fault::Skip`] if it was not requested.
    pub(in crate::providers) fn get(&mut self, code: Option<&str>) -> Result<&mut Asked, Fault> {
        let code = code.ok_or_else(|| Fault::Skip("no symbol".to_owned()))?;
        let asked = self.0.iter_mut().find(|asked| asked.code == code);
        asked.ok_or_else(|| Fault::Skip(format!("nobody asked for {}", one_line(code))))
    }

    /// Records that the exchange refused this pair (`None`: it does not say which). Ends the session if all pairs are
    /// refused; one bad symbol does not affect the others.
    pub(in crate::providers) fn refuse(&mut self, code: Option<&str>, why: String) -> Fault {
        let fault = Fault::refusal(why);
        if !fault.is_refusal() {
            return fault;
        }
        if let Some(asked) = self.0.iter_mut().find(|asked| Some(asked.code.as_str()) == code) {
            asked.refused = true;
        }
        if self.0.len() > 1 && self.0.iter().any(|asked| !asked.refused) {
            return Fault::Skip(fault.to_string());
        }
        self.0.iter_mut().for_each(|asked| asked.refused = false);
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::battery::Heard;

    fn pairs(all: &[(&str, &str)]) -> Pairs {
        let both = |(one, other): &(&str, &str)| (Symbol::new(one).unwrap(), Symbol::new(other).unwrap());
        Pairs::new(&all.iter().map(both).collect::<Vec<_>>(), |pair| pair.as_str().to_owned())
    }

    fn said() -> PairPrice {
        PairPrice { price: Price::parse("1").unwrap(), bid: None, ask: None, time: None, seq: None }
    }

    const BTC: (&str, &str) = ("BTC-USD", "BTC-USD");
    const ETH: (&str, &str) = ("ETH-USD", "ETH-USD");

    #[test]
    fn a_pair_that_stands_for_two_symbols_is_asked_for_once_and_told_for_both() {
        let mut pairs = pairs(&[("BTC-USD", "BTC-USDT"), ETH, ("BTC-USDT", "BTC-USDT")]);
        assert_eq!(pairs.codes().collect::<Vec<_>>(), ["BTC-USDT", "ETH-USD"]);
        let mut heard = Heard::default();
        pairs.get(Some("BTC-USDT")).unwrap().tell(&said(), &mut heard);
        let told: Vec<_> =
            heard.ticks.iter().map(|tick| (tick.symbol.as_str(), tick.pair.as_str())).collect();
        assert_eq!(told, [("BTC-USD", "BTC-USDT"), ("BTC-USDT", "BTC-USDT")]);
    }

    #[test]
    fn the_last_refused_symbol_refuses_the_source() {
        let refused =
            |pairs: &mut Pairs, code| matches!(pairs.refuse(code, String::new()), Fault::Refused(_));
        assert!(refused(&mut pairs(&[BTC]), Some("BTC-USD")));
        assert!(refused(&mut pairs(&[BTC]), None));
        let mut two = pairs(&[BTC, ETH]);
        assert!(!refused(&mut two, Some("BTC-USD")) && !refused(&mut two, Some("BTC-USD")));
        assert!(!refused(&mut two, None));
        two.get(Some("BTC-USD")).unwrap().tell(&said(), &mut Heard::default());
        assert!(!refused(&mut two, Some("ETH-USD")), "the other one ticks");
        assert!(refused(&mut two, Some("BTC-USD")));
    }
}
