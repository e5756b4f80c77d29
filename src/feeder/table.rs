//! The state of each source, for statistics and the log.

use super::note::What;
use super::policy::Part;
use crate::model::{Boot, Mono, Price, SourceVerdict, Symbol, words};
use crate::providers::{Budget, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

words! {
    /// The state of a source.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub enum SourceState {
        /// Lacks something it needs (a key) and is never asked.
        Off = "off",
        /// Has given no price yet.
        #[default]
        Connecting = "connecting",
        Live = "live",
        /// The session ended with a fault; it is tried again.
        Down = "down",
        /// Connected, but the exchange does not trade.
        Halted = "halted",
        /// Told us to wait.
        Waiting = "waiting",
        /// Refused us; tried again later and later.
        Refused = "refused",
    }
}

/// State and counts of a source, in the order of `price.providers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The name in the configuration.
    pub name: Arc<str>,
    pub state: SourceState,
    /// Whether its prices are made up.
    pub mock: bool,
    /// Whether the default symbol's price is made of it, alone or with others.
    pub serving: bool,
    /// Median: the verdict on its price of the default symbol.
    pub verdict: Option<SourceVerdict>,
    /// The pair of its last price.
    pub pair: Option<Symbol>,
    /// Last price; of the default symbol if the source has it.
    pub price: Option<Price>,
    /// When that price was read: readers count the age from there.
    pub received: Option<Boot>,
    /// Delay of the feed at that price, in milliseconds: part of the age.
    pub lag_ms: u64,
    /// The last error; stays after recovery.
    pub error: Option<String>,
    /// Prices so far.
    pub ticks: u64,
    /// Unreadable messages, and prices that were held or repeated.
    pub rejected: u64,
    /// Sessions that ended.
    pub reconnects: u64,
    /// When a way to the source that rests is tried again, the soonest one.
    pub retry_at: Option<Boot>,
    /// The used part of its limit, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub status: SourceStatus,
    /// The legs' words and states; `None` for a leg that stands by.
    legs: Vec<(&'static str, Option<SourceState>)>,
    /// When each leg is tried again, if it rests.
    rests: Vec<Option<Boot>>,
    ticked: Option<Mono>,
    trading: Trading,
}

/// What is known of the trading at a source.
#[derive(Debug, Default)]
struct Trading {
    /// The exchange's word while it does not trade.
    said: Option<String>,
    /// Symbols whose newest price was traded, and those whose price only stands.
    traded: BTreeSet<Symbol>,
    halted: BTreeSet<Symbol>,
    /// Whether the last price was only repeated since.
    repeated: bool,
}

impl Trading {
    fn tick(&mut self, symbol: &Symbol) {
        self.repeated = false;
        self.halted.remove(symbol);
        if !self.traded.contains(symbol) {
            self.traded.insert(symbol.clone());
        }
    }

    fn halt(&mut self, symbol: &Symbol) {
        self.traded.remove(symbol);
        if !self.halted.contains(symbol) {
            self.halted.insert(symbol.clone());
        }
    }

    fn is_halted(&self) -> bool {
        self.traded.is_empty() && (self.said.is_some() || !self.halted.is_empty())
    }
}

impl Row {
    /// A source that has not started; `Err` says why it is off.
    pub(super) fn new(name: &str, mock: bool, legs: Result<Vec<&'static str>, String>) -> Self {
        let (legs, error) = match legs {
            Ok(words) => (words, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let state = if error.is_some() { SourceState::Off } else { SourceState::Connecting };
        Self {
            status: SourceStatus {
                name: name.into(),
                state,
                mock,
                serving: false,
                verdict: None,
                pair: None,
                price: None,
                received: None,
                lag_ms: 0,
                error,
                ticks: 0,
                rejected: 0,
                reconnects: 0,
                retry_at: None,
                budget: None,
            },
            rests: vec![None; legs.len()],
            legs: legs.into_iter().map(|word| (word, None)).collect(),
            ticked: None,
            trading: Trading::default(),
        }
    }

    /// Takes a note; returns whether the state has changed.
    pub(super) fn note(&mut self, leg: usize, what: &What) -> bool {
        let status = &mut self.status;
        let Some((word, state)) = self.legs.get_mut(leg) else { return false };
        if let Some(rest) = self.rests.get_mut(leg)
            && !matches!(what, What::Ended(_))
        {
            *rest = if let What::Pause(until) = what { Some(*until) } else { None };
        }
        status.retry_at = self.rests.iter().flatten().min().copied();
        match what {
            What::Pause(_) => {}
            What::Began => *state = state.or(Some(SourceState::Connecting)),
            What::StandBy => *state = None,
            What::Budget(budget) => status.budget = Some(*budget),
            What::Repeated => {
                self.trading.repeated = true;
                status.rejected += 1;
            }
            What::Halt(said) => {
                if let Some(said) = said {
                    self.trading.traded.clear();
                    status.error = Some(format!("{word}: the exchange says {said}"));
                }
                self.trading.said.clone_from(said);
            }
            What::Halted(tick, halted, now) => {
                *state = Some(SourceState::Live);
                self.ticked = Some(now.mono);
                self.trading.halt(&tick.symbol);
                status.rejected += 1;
                status.pair = Some(tick.pair.clone());
                status.price = Some(tick.price);
                status.error = Some(format!("{word}: {} is not traded: {}", tick.symbol, halted.word));
            }
            What::Bad(why) | What::Old(why) => {
                status.rejected += 1;
                status.error = Some(format!("{word}: {why}"));
            }
            What::Tick(tick, lag, now) => {
                *state = Some(SourceState::Live);
                self.ticked = Some(now.mono);
                self.trading.tick(&tick.symbol);
                status.ticks += 1;
                status.pair = Some(tick.pair.clone());
                status.price = Some(tick.price);
                status.received = Some(now.boot);
                status.lag_ms = millis(*lag);
            }
            What::Ended(fault) => {
                status.reconnects += 1;
                status.error = Some(format!("{word}: {fault}"));
                *state = Some(match fault {
                    Fault::Reconnect(_) => state.unwrap_or_default(),
                    Fault::Retry(_) | Fault::Skip(_) => SourceState::Down,
                    Fault::Wait(..) => SourceState::Waiting,
                    Fault::Refused(_) | Fault::Barred(_) | Fault::Unknown(_) => SourceState::Refused,
                });
            }
        }
        self.update()
    }

    /// The status with the source's part in the default symbol's price.
    pub(super) fn told(&self, part: &Part<'_>) -> SourceStatus {
        let mut status = SourceStatus { serving: part.serving, verdict: part.verdict, ..self.status.clone() };
        if let Some(quote) = part.newest {
            status.pair = Some(quote.pair.clone());
            status.price = Some(quote.price);
            status.received = Some(quote.received);
            status.lag_ms = millis(quote.lag);
        }
        status
    }

    /// When a source that gives prices counts as down unless it gives another one: its session may go on without
    /// prices.
    pub(super) fn silent_at(&self, no_tick: Duration) -> Option<Mono> {
        self.ticked.filter(|_| self.status.state == SourceState::Live).map(|at| at.after(no_tick))
    }

    /// Marks a source without prices as down; returns whether the state has changed.
    pub(super) fn silent(&mut self, no_tick: Duration) -> bool {
        for (_, state) in &mut self.legs {
            *state = state.map(|state| if state == SourceState::Live { SourceState::Down } else { state });
        }
        self.status.error = Some(if self.trading.repeated {
            format!("no trade for {no_tick:?}: the same one is told again and again")
        } else {
            format!("no price for {no_tick:?}")
        });
        self.update()
    }

    fn update(&mut self) -> bool {
        let state = self.best();
        std::mem::replace(&mut self.status.state, state) != state
    }

    /// Whether all legs were told not to come back soon.
    pub(super) fn out(&self) -> bool {
        let out =
            |state: &Option<SourceState>| matches!(state, Some(SourceState::Waiting | SourceState::Refused));
        self.legs.iter().all(|(_, state)| out(state))
    }

    /// Whether another leg gives prices.
    pub(super) fn live_elsewhere(&self, leg: usize) -> bool {
        self.legs
            .iter()
            .enumerate()
            .any(|(other, (_, state))| other != leg && *state == Some(SourceState::Live))
    }

    /// The state of the best leg.
    fn best(&self) -> SourceState {
        use SourceState::{Connecting, Down, Halted, Live, Off, Refused, Waiting};
        let of_legs = |state: &SourceState| self.legs.iter().any(|(_, leg)| *leg == Some(*state));
        let best = [Live, Connecting, Down, Waiting, Refused, Off].into_iter().find(of_legs);
        match best.unwrap_or(Connecting) {
            Live | Connecting if self.trading.is_halted() => Halted,
            state => state,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SourceState::{Connecting, Down, Halted, Live, Off, Refused, Waiting};

    fn tick() -> What {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let price = Price::parse("1").unwrap();
        let tick = crate::providers::Tick {
            pair: symbol.clone(),
            symbol,
            price,
            bid: None,
            ask: None,
            time: None,
            seq: None,
        };
        What::Tick(tick, Duration::ZERO, super::super::Clock::system().now())
    }

    fn ended(fault: fn(String) -> Fault) -> What {
        What::Ended(fault("why".to_owned()))
    }

    fn wait(why: String) -> Fault {
        Fault::Wait(Duration::from_secs(9), why)
    }

    #[test]
    fn a_source_is_as_well_as_its_best_leg() {
        let mut row = Row::new("binance", false, Ok(vec!["stream", "rest"]));
        // Leg and event; the state after it, whether the source is out.
        let story = [
            (0, What::Began, Connecting, false),
            (0, ended(Fault::Retry), Down, false),
            (1, What::Began, Connecting, false),
            (1, tick(), Live, false),
            (0, ended(wait), Live, false),
            (1, ended(wait), Waiting, true),
            (1, ended(Fault::Refused), Waiting, true),
            (0, ended(Fault::Refused), Refused, true),
            (0, What::Began, Refused, true),
            (0, tick(), Live, false),
            (1, What::StandBy, Live, false),
            (0, ended(Fault::Reconnect), Live, false),
            (0, What::Bad("noise".to_owned()), Live, false),
            (0, ended(Fault::Retry), Down, false),
        ];
        for (step, (leg, what, state, out)) in story.into_iter().enumerate() {
            let before = row.status.state;
            let changed = row.note(leg, &what);
            assert_eq!((row.status.state, row.out()), (state, out), "step {step}");
            assert_eq!(changed, before != state, "step {step}");
        }
        let told =
            (row.status.ticks, row.status.rejected, row.status.reconnects, row.status.error.as_deref());
        assert_eq!(told, (2, 1, 7, Some("stream: why")));
    }

    #[test]
    fn a_source_that_does_not_trade_is_halted() {
        let mut row = Row::new("kraken", false, Ok(vec!["stream", "rest"]));
        let halted = |known| {
            let What::Tick(tick, _, now) = tick() else { panic!() };
            let (word, age) = ("post_only".to_owned(), Duration::from_secs(3));
            What::Halted(tick, super::super::halt::Halted { word, age, known }, now)
        };
        let said = |word: Option<&str>| What::Halt(word.map(str::to_owned));
        for (step, (what, state, why)) in [
            (What::Began, Connecting, None),
            (said(Some("post_only")), Halted, Some("stream: the exchange says post_only")),
            (halted(false), Halted, Some("stream: BTC-USD is not traded: post_only")),
            (said(None), Halted, Some("stream: BTC-USD is not traded: post_only")),
            (tick(), Live, Some("stream: BTC-USD is not traded: post_only")),
            (halted(true), Halted, Some("stream: BTC-USD is not traded: post_only")),
            (ended(Fault::Retry), Down, Some("stream: why")),
            (tick(), Live, Some("stream: why")),
            (said(Some("limit_only")), Halted, Some("stream: the exchange says limit_only")),
            (tick(), Live, Some("stream: the exchange says limit_only")),
        ]
        .into_iter()
        .enumerate()
        {
            row.note(0, &what);
            assert_eq!((row.status.state, row.status.error.as_deref()), (state, why), "step {step}");
        }
        row.note(0, &What::Repeated);
        assert!(row.silent(Duration::from_secs(10)));
        let why = "no trade for 10s: the same one is told again and again";
        assert_eq!((row.status.state, row.status.error.as_deref()), (Down, Some(why)));
    }

    #[test]
    fn another_leg_keeps_a_source_up() {
        let mut row = Row::new("binance", false, Ok(vec!["stream", "rest"]));
        row.note(1, &tick());
        row.note(0, &ended(Fault::Retry));
        assert!(row.live_elsewhere(0) && !row.live_elsewhere(1));
        row.note(1, &What::StandBy);
        assert!(!row.live_elsewhere(0));
    }

    #[test]
    fn a_source_that_is_off_says_why() {
        let row = Row::new("coindesk", false, Err("no API key".to_owned()));
        assert_eq!((row.status.state, row.status.error.as_deref()), (Off, Some("no API key")));
        assert_eq!(row.silent_at(Duration::ZERO), None);
    }
}
