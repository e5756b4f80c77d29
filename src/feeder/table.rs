//! What is known of each source, for statistics and the log.

use super::source::What;
use crate::model::{Boot, Mono, Price, Symbol};
use crate::providers::Fault;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What a source does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It lacks what it needs (a key) and is never asked.
    Off,
    /// No price yet.
    #[default]
    Connecting,
    /// It gives prices.
    Live,
    /// Its session ended with a fault; it is tried again.
    Down,
    /// It told us to wait.
    Waiting,
    /// It will not have us; tried again in an hour.
    Refused,
}

impl SourceState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Down => "down",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
        }
    }
}

/// One source, in the order of `price.providers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it does.
    pub state: SourceState,
    /// Whether its prices are made up.
    pub mock: bool,
    /// Whether the default symbol's price is from it.
    pub serving: bool,
    /// What its last price quotes.
    pub pair: Option<Symbol>,
    /// Its last price.
    pub price: Option<Price>,
    /// When that was read.
    pub received: Option<Boot>,
    /// The last thing that went wrong; stays when all is well again.
    pub error: Option<String>,
    /// Prices so far.
    pub ticks: u64,
    /// Messages that could not be read, and prices that were held or came twice.
    pub rejected: u64,
    /// Sessions that ended.
    pub reconnects: u64,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    pub status: SourceStatus,
    /// Words of the legs; `None` for one that stands by.
    legs: Vec<(&'static str, Option<SourceState>)>,
    ticked: Option<Mono>,
}

impl Row {
    /// A source that has not begun; `Err` says why it is off.
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
                pair: None,
                price: None,
                received: None,
                error,
                ticks: 0,
                rejected: 0,
                reconnects: 0,
            },
            legs: legs.into_iter().map(|word| (word, None)).collect(),
            ticked: None,
        }
    }

    /// Takes a note in; says whether the state is another one now.
    pub(super) fn note(&mut self, leg: usize, what: &What) -> bool {
        let status = &mut self.status;
        let Some((word, state)) = self.legs.get_mut(leg) else { return false };
        match what {
            What::Began => *state = state.or(Some(SourceState::Connecting)),
            What::StandBy => *state = None,
            What::Repeated => status.rejected += 1,
            What::Bad(why) => {
                status.rejected += 1;
                status.error = Some(format!("{word}: {why}"));
            }
            What::Tick(tick, now) => {
                *state = Some(SourceState::Live);
                self.ticked = Some(now.mono);
                status.ticks += 1;
                status.pair = Some(tick.pair.clone());
                status.price = Some(tick.price);
                status.received = Some(now.boot);
            }
            What::Ended(fault) => {
                status.reconnects += 1;
                status.error = Some(format!("{word}: {fault}"));
                *state = Some(match fault {
                    Fault::Reconnect(_) => state.unwrap_or_default(),
                    Fault::Retry(_) | Fault::Skip(_) => SourceState::Down,
                    Fault::Wait(..) => SourceState::Waiting,
                    Fault::Refused(_) => SourceState::Refused,
                });
            }
        }
        self.update()
    }

    /// When a source that gives prices counts as down unless it gives another one: a session may go on without.
    pub(super) fn silent_at(&self, no_tick: Duration) -> Option<Mono> {
        self.ticked.filter(|_| self.status.state == SourceState::Live).map(|at| at.after(no_tick))
    }

    /// It gave no price for its time; says whether the state is another one now.
    pub(super) fn silent(&mut self, no_tick: Duration) -> bool {
        for (_, state) in &mut self.legs {
            *state = state.map(|state| if state == SourceState::Live { SourceState::Down } else { state });
        }
        self.status.error = Some(format!("no price for {no_tick:?}"));
        self.update()
    }

    fn update(&mut self) -> bool {
        let state = self.best();
        std::mem::replace(&mut self.status.state, state) != state
    }

    /// Whether every leg has been told not to come back soon.
    pub(super) fn out(&self) -> bool {
        let out =
            |state: &Option<SourceState>| matches!(state, Some(SourceState::Waiting | SourceState::Refused));
        self.legs.iter().all(|(_, state)| out(state))
    }

    /// Whether a leg other than that one gives prices.
    pub(super) fn live_elsewhere(&self, leg: usize) -> bool {
        self.legs
            .iter()
            .enumerate()
            .any(|(other, (_, state))| other != leg && *state == Some(SourceState::Live))
    }

    /// A source is as well as its best leg.
    fn best(&self) -> SourceState {
        use SourceState::{Connecting, Down, Live, Off, Refused, Waiting};
        let of_legs = |state: &SourceState| self.legs.iter().any(|(_, leg)| *leg == Some(*state));
        [Live, Connecting, Down, Waiting, Refused, Off].into_iter().find(of_legs).unwrap_or(Connecting)
    }
}
