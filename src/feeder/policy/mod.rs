//! Decides what is published: the price of one source, or of several. Pure: events and a moment in, actions out.
//!
//! *Failover* serves the best source that gives prices, in the order of `price.providers`:
//!
//! - *Down*: if the served source's own newest price is no longer fresh, or it gave no price for its `no_tick`, or its
//!   session ended and did not come back within [`PATIENCE`], the next source with a fresh price is served at once.
//!   Without such a source the served one stays, and its price ages.
//! - *Up*: a better source is served again after it has been good for [`failover::COME_BACK`], so that an unstable
//!   source does not make the price unstable. In the first seconds ([`SETTLE`]) it is served at once: the order is the
//!   operator's, and which source answers first at a start is chance.
//! - *Made up*: beside real sources, a mock is served only after `start_wait` without any real price, and never again
//!   after the first real one: from then on an outage is a price that ages.
//! - *Jumps*: a price that moves by more than a twentieth is held until the source's next tick or another source
//!   confirms it. A source's first price is compared with the current one.
//!
//! *Median* is in `median.rs`. Both use *conflation*: at most one quote of a symbol in `publish_interval`; the newest
//! wins, the last one is always published.

mod action;
mod failover;
mod group;
mod median;
mod sanity;
mod settings;
mod symbol;

pub(super) use action::Action;
pub(super) use settings::{Member, Settings};

use super::Now;
use crate::config::Policy as Mode;
use crate::model::{Health, Mono, Quote, SourceVerdict, Symbol};
use crate::providers::Tick;
use std::collections::BTreeMap;
use std::time::Duration;
use symbol::{SymbolState, quote};

/// Time after a start or a reload in which a better source is served at once.
const SETTLE: Duration = Duration::from_secs(5);
/// Time that the served source may take to come back after its session ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A price of a source.
#[derive(Debug)]
pub(super) struct SourceTick {
    pub tick: Tick,
    /// The pace of a polled source.
    pub interval: Duration,
    /// How late it is.
    pub lag: Duration,
    /// Whether it stands while nobody trades.
    pub halted: bool,
}

/// A source's part in a symbol's price.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Part<'a> {
    /// Whether the price is made of it, alone or with others.
    pub serving: bool,
    /// Median: the verdict on its price.
    pub verdict: Option<SourceVerdict>,
    /// Newest price of the source that was believed.
    pub newest: Option<&'a Quote>,
}

/// The policy for all symbols.
#[derive(Debug)]
pub(super) struct Policy {
    settings: Settings,
    symbols: BTreeMap<Symbol, SymbolState>,
    /// When a mock beside real sources may be served if there was no real price.
    mock_from: Mono,
    settled: Mono,
    /// Whether there was a real price before this process started.
    real_before: bool,
}

impl Policy {
    /// A policy without prices; `real_before` if an earlier feeder of this daemon has served a real price.
    pub(super) fn new(settings: Settings, real_before: bool, now: Mono) -> Self {
        let symbols =
            settings.symbols.iter().map(|symbol| (symbol.clone(), SymbolState::default())).collect();
        let mock_from = now.after(settings.start_wait);
        Self { settings, symbols, mock_from, settled: now.after(SETTLE), real_before }
    }

    /// Applies another configuration. Sources that stay keep their state.
    pub(super) fn reconfigure(&mut self, settings: Settings, now: Now) -> Vec<Action> {
        self.symbols.retain(|symbol, _| settings.symbols.contains(symbol));
        for symbol in &settings.symbols {
            self.symbols.entry(symbol.clone()).or_default();
        }
        let turned = self.settings.mode != settings.mode;
        for state in self.symbols.values_mut() {
            state.reconfigure(&settings.members, turned);
        }
        self.settled = now.mono.after(SETTLE);
        self.settings = settings;
        self.turn(now)
    }

    /// Takes a price of the source `from`, read at `now`.
    pub(super) fn take(&mut self, from: u32, price: SourceTick, now: Now) -> Vec<Action> {
        let SourceTick { tick, interval, lag, halted } = price;
        let settings = &self.settings;
        let Some(member) = settings.members.iter().find(|member| member.id == from).cloned() else {
            return Vec::new();
        };
        let Some(state) = self.symbols.get_mut(&tick.symbol) else { return Vec::new() };
        let confirmed = state.confirmed(settings, &member, tick.price, now);
        let out = state.out().filter(|out| {
            !out.mock && !member.made_up && out.health(&settings.rules, now.boot) != Health::Gone
        });
        let out = out.map(|quote| quote.price);
        let standing = state.standings.entry(from).or_default();
        standing.halted = halted;
        standing.jumps.begin(out);
        standing.doubtful = !standing.jumps.take(tick.price);
        if standing.doubtful && confirmed {
            standing.jumps.believe(tick.price);
            standing.doubtful = false;
        }
        let quote = quote(tick, &member, interval, lag, now);
        let (symbol, price) = (quote.symbol.clone(), quote.price);
        if standing.doubtful && settings.mode == Mode::Failover {
            standing.doubtful = false;
            standing.held = Some((now.mono, quote));
            let believed = standing.jumps.believed();
            return vec![Action::Held { symbol, source: member.name, price, believed }];
        }
        standing.take(quote, member.no_tick, &settings.rules, now);
        state.release(settings, &member, price, now);
        state.real |= !member.made_up;
        self.turn(now)
    }

    /// The source's session ended with a fault; `back` if it is expected back at once.
    pub(super) fn ended(&mut self, from: u32, back: bool, now: Now) -> Vec<Action> {
        for state in self.symbols.values_mut() {
            if let Some(standing) = state.standings.get_mut(&from) {
                standing.down_from.get_or_insert(now.mono.after(PATIENCE));
                if !back {
                    standing.good_since = None;
                }
            }
        }
        self.turn(now)
    }

    /// The source was told not to come back soon: it is down now.
    pub(super) fn out(&mut self, from: u32, now: Now) -> Vec<Action> {
        for state in self.symbols.values_mut() {
            if let Some(standing) = state.standings.get_mut(&from) {
                (standing.down_from, standing.good_since) = (Some(now.mono), None);
            }
        }
        self.turn(now)
    }

    /// Does what is due by time alone.
    pub(super) fn wake(&mut self, now: Now) -> Vec<Action> {
        self.turn(now)
    }

    /// When to call [`Policy::wake`] at the latest; `None` if only a tick can change something.
    pub(super) fn next(&self, now: Now) -> Option<Mono> {
        let next = |state: &SymbolState| {
            let publish =
                state.pending.is_some().then(|| state.due(self.settings.publish_interval)).flatten();
            let mut moments = match self.settings.mode {
                Mode::Failover => state.failover_moments(&self.settings, self.mock_from, now),
                Mode::Median => state.median_moments(&self.settings, now),
            };
            moments.retain(|at| *at > now.mono);
            moments.into_iter().chain(publish).min()
        };
        self.symbols.values().filter_map(next).min()
    }

    /// A source's part in a symbol's price.
    pub(super) fn part(&self, symbol: &Symbol, id: u32) -> Part<'_> {
        let Some(state) = self.symbols.get(symbol) else { return Part::default() };
        let newest = state.standings.get(&id).and_then(|own| own.newest.as_ref()).map(|(_, quote)| quote);
        match self.settings.mode {
            Mode::Failover => Part { serving: state.serving == Some(id), verdict: None, newest },
            Mode::Median => {
                let name =
                    self.settings.members.iter().find(|member| member.id == id).map(|member| &member.name);
                let own = state.sources.iter().find(|part| Some(&part.source) == name);
                let verdict = own.map(|part| part.verdict);
                let serving = state.refused.is_none() && verdict == Some(SourceVerdict::Agrees);
                Part { serving, verdict, newest }
            }
        }
    }

    fn turn(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        let (settings, settling) = (&self.settings, now.mono < self.settled);
        let mixed = settings.members.iter().any(|member| !member.made_up);
        for (symbol, state) in &mut self.symbols {
            let before = state.refused;
            let median = settings.mode == Mode::Median;
            let mock = !mixed || (!median && !self.real_before && !state.real && now.mono >= self.mock_from);
            if !mock {
                state.pending.take_if(|quote| quote.mock);
            }
            actions.extend(if median {
                state.agree(symbol, settings, now)
            } else {
                let allowed: Vec<_> =
                    settings.members.iter().filter(|member| mock || !member.made_up).collect();
                state.fail_over(symbol, &allowed, (settings, settling), now)
            });
            if state.refused != before {
                let why = state.refused.map(|why| why.to_string());
                actions.push(Action::Refused { symbol: symbol.clone(), why });
            }
            actions.extend(state.publish(settings.publish_interval, now.mono).map(Action::Publish));
        }
        actions
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
