//! REST that gives one pair at a time: one request per pair, in turn.

use super::pairs::{PairPrice, Pairs, Wanted};
use super::poll::Poll;
use super::reply::Reply;
use crate::model::Symbol;
use crate::providers::{Fault, Sink};
use std::time::Duration;

/// Requests a single pair and reads the answer. Pure.
pub(in crate::providers) trait Ask: Send + 'static {
    /// The address of `pair`'s price.
    fn url(&self, pair: &Symbol) -> String;

    /// Reads an answer of any status to the request for `pair`.
    ///
    /// # Errors
    /// What is wrong with the answer.
    fn read(&self, pair: &Symbol, reply: &Reply<'_>) -> Result<PairPrice, Fault>;
}

/// Polls all pairs, one after the other.
pub(in crate::providers) struct Each<A> {
    ask: A,
    pairs: Pairs,
    at: usize,
    /// Answers in a row that would end the session of a single pair.
    failed: usize,
    every: Duration,
}

impl<A: Ask> Each<A> {
    /// Requests each pair once in `every`.
    pub(in crate::providers) fn new(ask: A, wanted: &Wanted, every: Duration) -> Self {
        let pairs = Pairs::new(wanted, |pair| ask.url(pair));
        Self { ask, pairs, at: 0, failed: 0, every }
    }

    /// Ends the session only if every pair has failed in a row: one bad symbol does not affect the others.
    fn fail(&mut self, fault: Fault) -> Fault {
        self.failed += 1;
        if self.failed < self.pairs.len() {
            return Fault::Skip(fault.to_string());
        }
        self.failed = 0;
        fault
    }
}

impl<A: Ask> Poll for Each<A> {
    fn url(&self) -> String {
        self.pairs.turn(self.at).map(|asked| asked.code.clone()).unwrap_or_default()
    }

    fn every(&self) -> Duration {
        self.every / u32::try_from(self.pairs.len()).unwrap_or(u32::MAX).max(1)
    }

    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        let Some(asked) = self.pairs.turn_mut(self.at) else { return Ok(()) };
        self.at += 1;
        let pair = asked.pair.clone();
        let named = |why| format!("{pair}: {why}");
        match self.ask.read(&asked.pair, reply) {
            Ok(said) => {
                asked.tell(&said, out);
                self.failed = 0;
                Ok(())
            }
            Err(Fault::Refused(why)) => Err(self.fail(Fault::Refused(named(why)))),
            Err(Fault::Unknown(why)) => Err(self.fail(Fault::Unknown(named(why)))),
            // Some symbols only may be kept from a country.
            Err(Fault::Barred(why)) => Err(self.fail(Fault::Barred(named(why)))),
            Err(Fault::Retry(why)) => Err(self.fail(Fault::Retry(named(why)))),
            Err(fault) => Err(fault.about(pair.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Price;
    use crate::providers::tests::battery::Heard;

    /// Takes the status of the answer as its price.
    struct Status;

    impl Ask for Status {
        fn url(&self, pair: &Symbol) -> String {
            pair.as_str().to_owned()
        }
        fn read(&self, _: &Symbol, reply: &Reply<'_>) -> Result<PairPrice, Fault> {
            let price = Price::parse(&reply.status.to_string()).unwrap();
            reply.fault().map_or(Ok(PairPrice { price, bid: None, ask: None, time: None, seq: None }), Err)
        }
    }

    fn each(symbols: &[&str]) -> Each<Status> {
        let symbols = symbols.iter().map(|text| Symbol::new(text).unwrap());
        let wanted: Vec<_> = symbols.map(|symbol| (symbol.clone(), symbol)).collect();
        Each::new(Status, &wanted, Duration::from_secs(6))
    }

    fn answer(each: &mut Each<Status>, status: u16) -> Result<Heard, Fault> {
        let mut heard = Heard::default();
        each.read(&Reply { status, ..Reply::default() }, &mut heard).map(|()| heard)
    }

    #[test]
    fn pairs_take_turns_within_the_interval() {
        let mut each = each(&["BTC-USD", "ETH-USD", "LTC-USD"]);
        assert_eq!(each.every(), Duration::from_secs(2));
        for symbol in ["BTC-USD", "ETH-USD", "LTC-USD", "BTC-USD"] {
            assert_eq!(each.url(), symbol);
            assert_eq!(answer(&mut each, 200).unwrap().ticks[0].symbol.as_str(), symbol);
        }
    }

    #[test]
    fn one_refused_pair_takes_no_price_from_the_others_and_all_of_them_end_it() {
        let mut two = each(&["BTC-USD", "ETH-USD"]);
        for _ in 0..3 {
            assert!(answer(&mut two, 200).is_ok());
            assert_eq!(answer(&mut two, 404).unwrap_err(), Fault::Skip("ETH-USD: HTTP 404".to_owned()));
        }
        assert_eq!(answer(&mut two, 404).unwrap_err(), Fault::Refused("BTC-USD: HTTP 404".to_owned()));
        assert_eq!(answer(&mut two, 500).unwrap_err(), Fault::Skip("ETH-USD: HTTP 500".to_owned()));
        assert!(answer(&mut two, 200).is_ok(), "the other one is asked all the same");
        assert!(matches!(answer(&mut two, 500), Err(Fault::Skip(_))));
        assert!(matches!(answer(&mut two, 500), Err(Fault::Retry(_))), "all of them");
        assert!(matches!(answer(&mut two, 429), Err(Fault::Wait(..))), "a limit is one of the host");
        assert!(matches!(answer(&mut each(&["BTC-USD"]), 451), Err(Fault::Barred(_))));
        let mut two = each(&["BTC-USD", "ETH-USD"]);
        assert!(answer(&mut two, 200).is_ok());
        assert_eq!(answer(&mut two, 451).unwrap_err(), Fault::Skip("ETH-USD: HTTP 451".to_owned()));
    }
}
