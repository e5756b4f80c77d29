//! What is published: the price of one source, or of several. Pure: events and a moment in, actions out.
//!
//! *Failover* serves the best source that gives prices, in the order of `price.providers`:
//!
//! - *Down*: when the served source's own newest price is fresh no longer, or it has given no price for its
//!   `no_tick`, or its session ended and did not come back within [`PATIENCE`], the next source with a fresh price
//!   is served at once. With no such source the served one stays, and its price grows old.
//! - *Up*: a better source is served again after it has been good for [`COME_BACK`], so that one that flaps does
//!   not make the price flap. In the first seconds ([`SETTLE`]) it is served at once: the order is the
//!   operator's, and who is quickest at a start is chance.
//! - *Made up*: where real sources are named beside it, a mock is served only after `start_wait` without any
//!   real price, and never again after the first one: then an outage is a price that grows old.
//! - *Jumps*: a price that moves by more than a twentieth is held until the source's next tick or another source
//!   confirms it. A source's first price is compared with the one that is out.
//!
//! *Median* is in `median.rs`. Common to both is *conflation*: at most one quote of a symbol in `publish_interval`;
//! the newest wins, the last one gets out.

mod failover;
mod line;
mod median;

use super::Now;
use crate::config::Policy as Mode;
use crate::model::{Health, Mono, Price, Quote, Rules, SourceVerdict, Symbol};
use crate::providers::Tick;
use line::{Line, quote};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So long a better source must be good before it is served again.
const COME_BACK: Duration = Duration::from_secs(30);
/// So long after a start or a change of the configuration a better source is served at once.
const SETTLE: Duration = Duration::from_secs(5);
/// So long a served source may take to come back after its session ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A source, as the policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Never used again for another source.
    pub id: u32,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whether its prices are made up.
    pub made_up: bool,
    /// Without a price for so long it is down.
    pub no_tick: Duration,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The price has become this one; every one is told, before [`Action::Publish`] makes them fewer.
    Accept(Quote),
    /// This is the price now, for everybody.
    Publish(Quote),
    /// From now on that source is served.
    Serve { symbol: Symbol, from: Option<Arc<str>>, to: Arc<str> },
    /// Median: whether there is a price of what the sources say now, or why not.
    Refused { symbol: Symbol, why: Option<String> },
    /// A jump waits for a confirmation.
    Held { symbol: Symbol, source: Arc<str>, price: Price, believed: Option<Price> },
}

/// The configuration's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The preferred one first.
    pub members: Vec<Member>,
    /// What is priced.
    pub symbols: Vec<Symbol>,
    /// `price.start_wait`.
    pub start_wait: Duration,
    /// `price.publish_interval`.
    pub publish_interval: Duration,
    /// `price.policy`.
    pub mode: Mode,
    /// `price.min_sources`.
    pub min_sources: usize,
    /// `price.max_deviation`.
    pub max_deviation: Decimal,
    /// How old a price may get.
    pub rules: Rules,
}

/// A source's part in a symbol's price.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Part<'a> {
    /// Whether the price is from it, alone or with others.
    pub serving: bool,
    /// Median: what became of its price.
    pub verdict: Option<SourceVerdict>,
    /// Its own newest price that was believed.
    pub newest: Option<&'a Quote>,
}

/// The state.
#[derive(Debug)]
pub(super) struct Policy {
    settings: Settings,
    lines: BTreeMap<Symbol, Line>,
    /// When a mock beside real sources may begin, while there was no real price.
    mock_from: Mono,
    settled: Mono,
    /// Whether there was a real price before this process began.
    real_before: bool,
}

impl Policy {
    /// Begins; `real_before` when a real price has been served by an earlier feeder of this daemon.
    pub(super) fn new(settings: Settings, real_before: bool, now: Mono) -> Self {
        let lines = settings.symbols.iter().map(|symbol| (symbol.clone(), Line::default())).collect();
        let mock_from = now.after(settings.start_wait);
        Self { settings, lines, mock_from, settled: now.after(SETTLE), real_before }
    }

    /// Another configuration. Sources that stay keep what is known of them.
    pub(super) fn reconfigure(&mut self, settings: Settings, now: Now) -> Vec<Action> {
        self.lines.retain(|symbol, _| settings.symbols.contains(symbol));
        for symbol in &settings.symbols {
            self.lines.entry(symbol.clone()).or_default();
        }
        let turned = self.settings.mode != settings.mode;
        for line in self.lines.values_mut() {
            line.reconfigure(&settings.members, turned);
        }
        self.settled = now.mono.after(SETTLE);
        self.settings = settings;
        self.turn(now)
    }

    /// A tick of the source `from`, read at `now`. `interval` is its own pace where it is asked; `live` says
    /// whether its stamps are of now.
    pub(super) fn tick(
        &mut self,
        from: u32,
        tick: Tick,
        interval: Duration,
        live: bool,
        now: Now,
    ) -> Vec<Action> {
        let settings = &self.settings;
        let Some(member) = settings.members.iter().find(|member| member.id == from).cloned() else {
            return Vec::new();
        };
        let Some(line) = self.lines.get_mut(&tick.symbol) else { return Vec::new() };
        let confirmed = line.confirmed(settings, &member, tick.price, now);
        let out = line.out().filter(|out| {
            !out.mock && !member.made_up && out.health(&settings.rules, now.boot) != Health::Gone
        });
        let out = out.map(|quote| quote.price);
        let standing = line.standings.entry(from).or_default();
        let stamp = tick.time.filter(|_| live);
        let lag = standing.lag.of(stamp, now.boot, now.mono);
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
        line.release(settings, &member, price, now);
        line.real |= !member.made_up;
        self.turn(now)
    }

    /// The session of the source ended with a fault; `back` when it is expected back at once.
    pub(super) fn ended(&mut self, from: u32, back: bool, now: Now) -> Vec<Action> {
        for line in self.lines.values_mut() {
            if let Some(standing) = line.standings.get_mut(&from) {
                standing.down_from.get_or_insert(now.mono.after(PATIENCE));
                if !back {
                    standing.good_since = None;
                }
            }
        }
        self.turn(now)
    }

    /// The source has been told not to come back soon: it is down now.
    pub(super) fn out(&mut self, from: u32, now: Now) -> Vec<Action> {
        for line in self.lines.values_mut() {
            if let Some(standing) = line.standings.get_mut(&from) {
                (standing.down_from, standing.good_since) = (Some(now.mono), None);
            }
        }
        self.turn(now)
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Now) -> Vec<Action> {
        self.turn(now)
    }

    /// When [`Policy::wake`] is to be called at the latest, `None` while only a tick can change something.
    pub(super) fn next(&self, now: Now) -> Option<Mono> {
        let line = |line: &Line| {
            let publish = line.pending.is_some().then(|| line.due(self.settings.publish_interval)).flatten();
            let mut moments = match self.settings.mode {
                Mode::Failover => line.failover_moments(&self.settings, self.mock_from, now),
                Mode::Median => line.median_moments(&self.settings, now),
            };
            moments.retain(|at| *at > now.mono);
            moments.into_iter().chain(publish).min()
        };
        self.lines.values().filter_map(line).min()
    }

    /// What a source is to a symbol.
    pub(super) fn part(&self, symbol: &Symbol, id: u32) -> Part<'_> {
        let Some(line) = self.lines.get(symbol) else { return Part::default() };
        let newest = line.standings.get(&id).and_then(|own| own.newest.as_ref()).map(|(_, quote)| quote);
        match self.settings.mode {
            Mode::Failover => Part { serving: line.serving == Some(id), verdict: None, newest },
            Mode::Median => {
                let name =
                    self.settings.members.iter().find(|member| member.id == id).map(|member| &member.name);
                let own = line.sources.iter().find(|part| Some(&part.source) == name);
                let verdict = own.map(|part| part.verdict);
                let serving = line.refused.is_none() && verdict == Some(SourceVerdict::Agrees);
                Part { serving, verdict, newest }
            }
        }
    }

    fn turn(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        let (settings, settling) = (&self.settings, now.mono < self.settled);
        let mixed = settings.members.iter().any(|member| !member.made_up);
        for (symbol, line) in &mut self.lines {
            let before = line.refused;
            let median = settings.mode == Mode::Median;
            let mock = !mixed || (!median && !self.real_before && !line.real && now.mono >= self.mock_from);
            if !mock {
                line.pending.take_if(|quote| quote.mock);
            }
            actions.extend(if median {
                line.agree(symbol, settings, now)
            } else {
                let allowed: Vec<_> =
                    settings.members.iter().filter(|member| mock || !member.made_up).collect();
                line.fail_over(symbol, &allowed, (settings, settling), now)
            });
            if line.refused != before {
                let why = line.refused.map(|why| why.to_string());
                actions.push(Action::Refused { symbol: symbol.clone(), why });
            }
            actions.extend(line.publish(settings.publish_interval, now.mono).map(Action::Publish));
        }
        actions
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
