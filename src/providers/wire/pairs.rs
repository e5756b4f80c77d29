//! The requested pairs under an exchange's own codes.

use crate::model::{Price, Symbol, Wall, one_line};
use crate::providers::{Fault, Sink, Tick};
use std::borrow::Cow;

/// Symbols, each with the pair that stands for it.
pub(in crate::providers) type Wanted = [(Symbol, Symbol)];

/// The pairs, each once, in the order of the symbols.
#[derive(Clone)]
pub(in crate::providers) struct Pairs {
    all: Vec<Asked>,
    /// Codes to subscribe to again, a list for each message.
    again: Vec<Vec<String>>,
    /// Whether each was subscribed to alone.
    alone: bool,
}

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

impl Asked {
    /// Passes on what the exchange says about its trading in this pair.
    pub(in crate::providers) fn trading(&self, halt: Option<&str>, out: &mut dyn Sink) {
        self.symbols.iter().for_each(|symbol| out.trading(Some(symbol), halt));
    }
}

/// The word of a market that does not trade, for a log line; `None` for one of the exchange's words for "it does".
pub(in crate::providers) fn halt<'a>(word: &'a str, trades: &[&str]) -> Option<Cow<'a, str>> {
    let trades = trades.iter().any(|good| word.eq_ignore_ascii_case(good));
    (!trades && !word.is_empty()).then(|| Cow::Owned(one_line(word)))
}

/// Whether a text names a code: as a word of its own, in letters of either size.
pub(in crate::providers) fn names(text: &str, code: &str) -> bool {
    let (text, code) = (text.to_ascii_uppercase(), code.to_ascii_uppercase());
    let part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    !code.is_empty()
        && text.match_indices(&code).any(|(at, _)| {
            !part(at.checked_sub(1).and_then(|at| bytes.get(at))) && !part(bytes.get(at + code.len()))
        })
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
        Self { all, again: Vec::new(), alone: false }
    }

    /// The exchange's codes.
    pub(in crate::providers) fn codes(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|asked| asked.code.as_str())
    }

    pub(in crate::providers) fn len(&self) -> usize {
        self.all.len()
    }

    /// The pair at a position, counted in circles.
    pub(in crate::providers) fn turn(&self, at: usize) -> Option<&Asked> {
        self.all.get(at.checked_rem(self.all.len())?)
    }

    pub(in crate::providers) fn turn_mut(&mut self, at: usize) -> Option<&mut Asked> {
        let many = self.all.len();
        self.all.get_mut(at.checked_rem(many)?)
    }

    /// The pair with this code.
    ///
    /// # Errors
    /// [`Fault::Skip`] if it was not requested.
    pub(in crate::providers) fn get(&mut self, code: Option<&str>) -> Result<&mut Asked, Fault> {
        let code = code.ok_or_else(|| Fault::Skip("no symbol".to_owned()))?;
        let asked = self.all.iter_mut().find(|asked| asked.code == code);
        asked.ok_or_else(|| Fault::Skip(format!("nobody asked for {}", one_line(code))))
    }

    /// Records that the exchange refused a list of pairs because of one of them: the others are subscribed to again,
    /// without the one that `why` names, or each alone.
    pub(in crate::providers) fn refuse_list(&mut self, why: String) -> Fault {
        let fault = Fault::refusal(why.clone());
        if !fault.is_refusal() {
            return fault;
        }
        let asked = self.all.iter_mut().filter(|asked| !asked.refused);
        let (named, rest): (Vec<_>, Vec<_>) = asked.partition(|asked| names(&why, &asked.code));
        let code = |asked: &&mut Asked| asked.code.clone();
        if !named.is_empty() {
            let rest: Vec<_> = rest.iter().map(code).collect();
            if !rest.is_empty() && !self.alone {
                self.again = vec![rest];
            }
            named.into_iter().for_each(|asked| asked.refused = true);
        } else if rest.len() > 1 && !std::mem::replace(&mut self.alone, true) {
            self.again = rest.iter().map(|asked| vec![asked.code.clone()]).collect();
        }
        self.refuse(None, why)
    }

    /// What to subscribe to again, once: a list of codes for each message.
    pub(in crate::providers) fn again(&mut self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.again)
    }

    /// Records that the exchange refused this pair (`None`: it does not say which). Ends the session if all pairs are
    /// refused; one bad symbol does not affect the others.
    pub(in crate::providers) fn refuse(&mut self, code: Option<&str>, why: String) -> Fault {
        let fault = Fault::refusal(why);
        if !fault.is_refusal() {
            return fault;
        }
        if let Some(asked) = self.all.iter_mut().find(|asked| Some(asked.code.as_str()) == code) {
            asked.refused = true;
        }
        if self.all.len() > 1 && self.all.iter().any(|asked| !asked.refused) {
            return Fault::Skip(fault.to_string());
        }
        self.all.iter_mut().for_each(|asked| asked.refused = false);
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
    fn a_refused_list_is_subscribed_to_without_the_bad_one() {
        const XYZ: (&str, &str) = ("XYZ-USD", "XYZ-USD");
        let mut named = pairs(&[BTC, XYZ, ETH]);
        let fault = named.refuse_list("xyz-usd is not a valid product".to_owned());
        assert!(matches!(fault, Fault::Skip(_)));
        assert_eq!(named.again(), [["BTC-USD", "ETH-USD"]]);
        assert!(named.again().is_empty(), "once");
        assert!(matches!(named.refuse_list("BTC-USD, ETH-USD".to_owned()), Fault::Refused(_)));
        let mut unnamed = pairs(&[BTC, XYZ, ETH]);
        assert!(matches!(unnamed.refuse_list("a bad product".to_owned()), Fault::Skip(_)));
        assert_eq!(unnamed.again(), [["BTC-USD"], ["XYZ-USD"], ["ETH-USD"]]);
        assert!(matches!(unnamed.refuse_list("a bad product".to_owned()), Fault::Skip(_)));
        assert!(unnamed.again().is_empty(), "never without end");
        assert!(matches!(pairs(&[BTC]).refuse_list("a bad product".to_owned()), Fault::Refused(_)));
    }

    #[test]
    fn a_name_is_a_word_of_its_own() {
        assert!(names("BTC/XYZ: not supported", "BTC/XYZ") && names("[btcusdt]", "BTCUSDT"));
        assert!(!names("BTCUSDTX XBTCUSDT", "BTCUSDT") && !names("", "BTC") && !names("BTC", ""));
        assert!(names("ABTC-USD BTC-USD", "BTC-USD"));
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
