//! One request for many codes: what is asked after such a request was refused because of one of them. Pure.
//!
//! The code that the refusal names is left out; if it names none, the list is asked in halves until the bad ones stand
//! alone. Every part that is accepted gives its prices meanwhile. Refused codes are asked again after a long time.

use super::pairs::names;
use super::reply::Reply;
use crate::providers::Fault;
use std::time::Duration;

/// Refused codes are asked again after this time.
const AGAIN: Duration = Duration::from_secs(3600);
/// Longest interval of requests while the bad code is looked for.
const SEARCH: Duration = Duration::from_secs(1);

/// The codes of one request.
#[derive(Clone, Debug)]
pub(in crate::providers) struct Batch {
    codes: Vec<String>,
    /// Positions of the codes that are asked together.
    good: Vec<usize>,
    /// Parts of a refused list, the next one last.
    parts: Vec<Vec<usize>>,
    refused: Vec<usize>,
    /// Requests until the refused codes are asked again.
    again: u32,
    until: u32,
}

/// What a refusal meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Some codes, or not yet known which.
    Some,
    /// Every code: nothing is left.
    All,
}

impl Batch {
    /// Asks refused codes again after so many requests.
    fn new(codes: Vec<String>, again: u32) -> Self {
        let good = (0..codes.len()).collect();
        Self { codes, good, parts: Vec::new(), refused: Vec::new(), again, until: again }
    }

    /// All codes, asked once in `every`.
    pub(in crate::providers) fn within<'a>(codes: impl Iterator<Item = &'a str>, every: Duration) -> Self {
        let requests = AGAIN.as_nanos() / every.as_nanos().max(1);
        Self::new(codes.map(str::to_owned).collect(), u32::try_from(requests).unwrap_or(u32::MAX).max(1))
    }

    /// The interval to the next request.
    pub(in crate::providers) fn every(&self, every: Duration) -> Duration {
        if self.searching() { every.min(SEARCH) } else { every }
    }

    /// The consequence of a refused request: that of the fault, unless only some of the codes may be meant.
    pub(in crate::providers) fn fault(&mut self, fault: Fault, reply: &Reply<'_>) -> Fault {
        match fault {
            Fault::Refused(_) | Fault::Unknown(_) if matches!(reply.status, 200..300 | 400 | 404 | 422) => {
                match self.refused(&String::from_utf8_lossy(reply.body)) {
                    Refused::All => fault,
                    Refused::Some => Fault::Skip(fault.to_string()),
                }
            }
            fault => fault,
        }
    }

    /// The codes of the next request.
    pub(in crate::providers) fn codes(&self) -> Vec<&str> {
        let asked = self.parts.last().unwrap_or(&self.good);
        asked.iter().filter_map(|at| self.codes.get(*at)).map(String::as_str).collect()
    }

    /// Whether the bad code is being looked for.
    fn searching(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The request was answered.
    pub(in crate::providers) fn accepted(&mut self) {
        if let Some(part) = self.parts.pop() {
            self.good.extend(part);
            self.good.sort_unstable();
        }
        self.until = self.until.saturating_sub(1);
        if self.until == 0 && !self.refused.is_empty() {
            self.until = self.again;
            self.parts.push(std::mem::take(&mut self.refused));
        }
    }

    /// The request was refused, with these words.
    fn refused(&mut self, said: &str) -> Refused {
        let part = self.parts.pop().unwrap_or_else(|| std::mem::take(&mut self.good));
        let (named, rest): (Vec<_>, Vec<_>) = part.iter().partition(|&&at| names(said, &self.codes[at]));
        if part.len() <= 1 {
            self.refuse(part);
        } else if named.is_empty() || rest.is_empty() {
            let (one, other) = part.split_at(part.len() / 2);
            self.parts.extend([other.to_vec(), one.to_vec()]);
        } else {
            self.refuse(named);
            self.parts.push(rest);
        }
        if self.parts.is_empty() && self.good.is_empty() {
            // The next session begins anew.
            *self = Self::new(std::mem::take(&mut self.codes), self.again);
            return Refused::All;
        }
        Refused::Some
    }

    fn refuse(&mut self, codes: Vec<usize>) {
        self.refused.extend(codes);
        self.until = self.again;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(codes: &[&str]) -> Batch {
        Batch::new(codes.iter().map(|code| (*code).to_owned()).collect(), 100)
    }

    #[test]
    fn a_named_code_is_left_out_at_once() {
        let mut batch = batch(&["BTCUSDT", "ETHUSDT", "XYZUSDT"]);
        assert_eq!(batch.refused("invalid symbol XYZUSDT, not BTCUSDTX"), Refused::Some);
        assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT"]);
        batch.accepted();
        assert!(!batch.searching());
        assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT"]);
        (0..99).for_each(|_| batch.accepted());
        assert_eq!(batch.codes(), ["XYZUSDT"], "asked again, alone");
        assert_eq!(batch.refused("still none"), Refused::Some);
        assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT"]);
    }

    #[test]
    fn nothing_is_left_if_all_are_refused() {
        let mut one = batch(&["BTCUSDT"]);
        assert_eq!(one.refused("no"), Refused::All);
        assert_eq!(one.codes(), ["BTCUSDT"], "asked as before the next time");
        let mut two = batch(&["BTCUSDT", "ETHUSDT"]);
        let said: Vec<_> = (0..3).map(|_| two.refused("no")).collect();
        assert_eq!(said, [Refused::Some, Refused::Some, Refused::All]);
    }

    proptest! {
        /// Whichever codes are bad: the good ones are asked together in the end, after a bounded number of requests.
        #[test]
        fn the_bad_ones_are_found(bad in prop::collection::vec(any::<bool>(), 1..40), named in any::<bool>()) {
            let codes: Vec<String> = (0..bad.len()).map(|at| format!("C{at}USD")).collect();
            let mut batch = Batch::new(codes.clone(), 1000);
            let is_bad = |code: &str| bad[codes.iter().position(|own| own == code).unwrap()];
            let (mut requests, mut all) = (0, false);
            while requests == 0 || batch.searching() {
                requests += 1;
                prop_assert!(requests <= 2 * bad.len() + 2, "{requests}");
                let first = batch.codes().into_iter().find(|code| is_bad(code)).map(str::to_owned);
                match first {
                    Some(first) => all = batch.refused(if named { &first } else { "invalid" }) == Refused::All,
                    None => batch.accepted(),
                }
            }
            prop_assert_eq!(all, bad.iter().all(|bad| *bad));
            if !all {
                let good: Vec<_> = codes.iter().filter(|code| !is_bad(code)).map(String::as_str).collect();
                prop_assert_eq!(batch.codes(), good);
            }
        }
    }
}
