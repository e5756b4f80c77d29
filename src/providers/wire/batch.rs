//! One request for many codes: what is asked after such a request was refused because of one of them. Pure.
//!
//! The code that the refusal names is left out; if it names none, the list is asked in halves until the bad ones stand
//! alone. What is known to be good is asked in turn with the parts in question. Refused codes are asked again later and
//! later, and unknown ones after the longest time at once.

use super::pairs::names;
use super::reply::Reply;
use crate::providers::Fault;
use std::time::Duration;

/// Refused codes are asked again after this time at the latest.
const AGAIN: Duration = Duration::from_secs(3600);
/// The first pause is this part of the longest one: half a minute.
const FIRST: u32 = 120;
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
    /// Whether the good ones have their turn, though parts are in question.
    good_turn: bool,
    refused: Vec<usize>,
    /// The longest pause of the refused codes, the next one, and what is left of it, in requests.
    again: u32,
    pause: u32,
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
    /// Asks refused codes again after so many requests at the latest.
    fn new(codes: Vec<String>, again: u32) -> Self {
        let (good, pause) = ((0..codes.len()).collect(), (again / FIRST).max(1));
        let (parts, refused) = (Vec::new(), Vec::new());
        Self { codes, good, parts, good_turn: false, refused, again, pause, until: pause }
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
                if matches!(fault, Fault::Unknown(_)) {
                    self.pause = self.again;
                }
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
        let asked = self.parts.last().filter(|_| !self.asks_good()).unwrap_or(&self.good);
        asked.iter().filter_map(|at| self.codes.get(*at)).map(String::as_str).collect()
    }

    /// Whether the bad code is being looked for.
    fn searching(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Whether the next request is for the good ones.
    fn asks_good(&self) -> bool {
        self.parts.is_empty() || (self.good_turn && !self.good.is_empty())
    }

    /// The part that was asked, if one is in question; the good ones have the next turn.
    fn part(&mut self) -> Option<Vec<usize>> {
        let part = if self.asks_good() { None } else { self.parts.pop() };
        self.good_turn = part.is_some();
        part
    }

    /// The request was answered.
    pub(in crate::providers) fn accepted(&mut self) {
        if let Some(part) = self.part() {
            self.good.extend(part);
            self.good.sort_unstable();
        }
        if self.searching() {
            return;
        }
        if self.refused.is_empty() {
            self.pause = (self.again / FIRST).max(1);
            return;
        }
        self.until = self.until.saturating_sub(1);
        if self.until == 0 {
            self.pause = self.pause.saturating_mul(2).min(self.again);
            self.until = self.pause;
            self.parts.push(std::mem::take(&mut self.refused));
        }
    }

    /// The request was refused, with these words.
    fn refused(&mut self, said: &str) -> Refused {
        let part = self.part().unwrap_or_else(|| std::mem::take(&mut self.good));
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
        self.until = self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(codes: &[&str]) -> Batch {
        Batch::new(codes.iter().map(|code| (*code).to_owned()).collect(), 480)
    }

    #[test]
    fn a_named_code_is_left_out_at_once() {
        let mut batch = batch(&["BTCUSDT", "ETHUSDT", "XYZUSDT"]);
        assert_eq!(batch.refused("invalid symbol XYZUSDT, not BTCUSDTX"), Refused::Some);
        assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT"]);
        batch.accepted();
        assert!(!batch.searching());
        assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT"]);
        // Half a minute, a minute, ... where an hour has 480 requests.
        for pause in [4, 8, 16, 32, 64, 128, 256, 480, 480] {
            let asked = |batch: &Batch| batch.codes() == ["XYZUSDT"];
            let requests = (1..1_000).find(|_| {
                batch.accepted();
                asked(&batch)
            });
            assert!(requests.is_some_and(|n| (pause - 1..=pause).contains(&n)), "{pause}: {requests:?}");
            assert_eq!(batch.refused("still none"), Refused::Some);
            assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT"]);
        }
        while batch.codes() != ["XYZUSDT"] {
            batch.accepted();
        }
        batch.accepted();
        assert_eq!(batch.codes(), ["BTCUSDT", "ETHUSDT", "XYZUSDT"], "it was a passing word");
    }

    #[test]
    fn a_code_that_nobody_knows_is_asked_again_after_the_longest_time() {
        let mut batch = batch(&["BTCUSDT", "XYZUSDT"]);
        let body = br#"{"code":-1121,"msg":"Invalid symbol XYZUSDT."}"#;
        let reply = Reply { status: 400, body, ..Reply::default() };
        assert!(matches!(batch.fault(Fault::Unknown("x".to_owned()), &reply), Fault::Skip(_)));
        assert!((1..480).all(|_| {
            batch.accepted();
            batch.codes() == ["BTCUSDT"]
        }));
        batch.accepted();
        assert_eq!(batch.codes(), ["XYZUSDT"]);
    }

    #[test]
    fn good_codes_are_asked_while_the_bad_ones_are_looked_for() {
        let mut batch = batch(&["A", "B", "C", "D", "E", "F", "G", "H"]);
        let (mut since, mut last) = (None, 0);
        for request in 0..40 {
            if batch.codes().contains(&"A") && batch.codes().iter().all(|code| *code < "D") {
                assert!(since.is_none_or(|since| request - since <= 2), "{since:?} {request}");
                (since, last) = (Some(request), request);
                batch.accepted();
            } else if batch.codes().iter().all(|code| *code < "D") {
                batch.accepted();
            } else {
                batch.refused("invalid");
            }
        }
        assert!(last >= 38 && batch.codes() == ["A", "B", "C"], "{last} {:?}", batch.codes());
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
                prop_assert!(requests <= 4 * bad.len() + 4, "{requests}");
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
