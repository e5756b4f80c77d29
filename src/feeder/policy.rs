//! Which source is served: the best one that gives prices, in the order of `price.providers`. Pure: events and a
//! moment in, actions out.
//!
//! - *Down*: when the served source has given no price for its `no_tick`, or its session ended and did not come
//!   back within [`PATIENCE`], the next source that gives prices is served at once.
//! - *Up*: a better source is served again after it has been good for [`COME_BACK`], so that one that flaps does
//!   not make the price flap. In the first seconds ([`SETTLE`]) it is served at once: the order is the
//!   operator's, and who is quickest at a start is chance.
//! - *Made up*: where real sources are named beside it, a mock is served only after `start_wait` without any
//!   real price, and never again after the first one: then an outage is a price that grows old.
//! - *Jumps*: a price that moves by more than a twentieth is held until the source's next tick or another source
//!   confirms it.
//! - *Conflation*: at most one quote of a symbol in `publish_interval`; the newest wins, the last one gets out.

use super::Now;
use super::sanity::{Jumps, Lag, near};
use crate::model::{Mono, Price, Quote, Symbol};
use crate::providers::Tick;
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

/// One symbol.
#[derive(Debug, Default)]
struct Line {
    standings: BTreeMap<u32, Standing>,
    serving: Option<u32>,
    /// The name stays when the source is gone from the configuration.
    served: Option<Arc<str>>,
    real: bool,
    pending: Option<Quote>,
    published: Option<(Mono, Quote)>,
}

/// One source for one symbol.
#[derive(Debug, Default)]
struct Standing {
    newest: Option<(Mono, Quote)>,
    /// Whether the newest one has not been published nor replaced.
    unsent: bool,
    /// Since when there was no pause and no fault.
    good_since: Option<Mono>,
    /// From when it is down unless it ticks: its session ended.
    down_from: Option<Mono>,
    jumps: Jumps,
    lag: Lag,
}

impl Standing {
    fn alive_until(&self, no_tick: Duration) -> Option<Mono> {
        let until = self.newest.as_ref()?.0.after(no_tick);
        Some(self.down_from.map_or(until, |down| until.min(down)))
    }

    fn alive(&self, no_tick: Duration, now: Mono) -> bool {
        self.alive_until(no_tick).is_some_and(|until| now < until)
    }
}

impl Policy {
    /// Begins; `real_before` when a real price has been served by an earlier feeder of this daemon.
    pub(super) fn new(settings: Settings, real_before: bool, now: Mono) -> Self {
        let lines = settings.symbols.iter().map(|symbol| (symbol.clone(), Line::default())).collect();
        let mock_from = now.after(settings.start_wait);
        Self { settings, lines, mock_from, settled: now.after(SETTLE), real_before }
    }

    /// Another configuration. Sources that stay keep what is known of them.
    pub(super) fn reconfigure(&mut self, settings: Settings, now: Mono) -> Vec<Action> {
        self.lines.retain(|symbol, _| settings.symbols.contains(symbol));
        for symbol in &settings.symbols {
            self.lines.entry(symbol.clone()).or_default();
        }
        let stays = |id: u32| settings.members.iter().any(|member| member.id == id);
        for line in self.lines.values_mut() {
            line.standings.retain(|id, _| stays(*id));
            line.serving = line.serving.filter(|id| stays(*id));
        }
        self.settled = now.after(SETTLE);
        self.settings = settings;
        self.wake(now)
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
        let Some(member) = self.settings.members.iter().find(|member| member.id == from).cloned() else {
            return Vec::new();
        };
        let Some(line) = self.lines.get_mut(&tick.symbol) else { return Vec::new() };
        let confirmed = line.confirmed(&self.settings.members, &member, tick.price, now.mono);
        let standing = line.standings.entry(from).or_default();
        let stamp = tick.time.filter(|_| live);
        let lag = standing.lag.of(stamp, now.boot, now.mono);
        if !standing.jumps.take(tick.price) {
            if !confirmed {
                let believed = standing.jumps.believed();
                return vec![Action::Held {
                    symbol: tick.symbol,
                    source: member.name,
                    price: tick.price,
                    believed,
                }];
            }
            standing.jumps.believe(tick.price);
        }
        let quote = quote(tick, &member, interval, lag, now);
        if !standing.alive(member.no_tick, now.mono) || standing.good_since.is_none() {
            standing.good_since = Some(now.mono);
        }
        standing.down_from = None;
        (standing.newest, standing.unsent) = (Some((now.mono, quote)), true);
        line.real |= !member.made_up;
        self.turn(now.mono)
    }

    /// The session of the source ended with a fault; `back` when it is expected back at once.
    pub(super) fn ended(&mut self, from: u32, back: bool, now: Mono) -> Vec<Action> {
        for line in self.lines.values_mut() {
            if let Some(standing) = line.standings.get_mut(&from) {
                standing.down_from.get_or_insert(now.after(PATIENCE));
                if !back {
                    standing.good_since = None;
                }
            }
        }
        self.turn(now)
    }

    /// The source has been told not to come back soon: it is down now.
    pub(super) fn out(&mut self, from: u32, now: Mono) -> Vec<Action> {
        for line in self.lines.values_mut() {
            if let Some(standing) = line.standings.get_mut(&from) {
                (standing.down_from, standing.good_since) = (Some(now), None);
            }
        }
        self.turn(now)
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Mono) -> Vec<Action> {
        self.turn(now)
    }

    /// When [`Policy::wake`] is to be called at the latest, `None` while only a tick can change something.
    pub(super) fn next(&self, now: Mono) -> Option<Mono> {
        let line = |line: &Line| {
            let publish = line.pending.is_some().then(|| line.due(self.settings.publish_interval));
            let down = line.serving.and_then(|id| {
                let no_tick = self.settings.members.iter().find(|member| member.id == id)?.no_tick;
                line.standings.get(&id)?.alive_until(no_tick)
            });
            let mock = line.serving.is_none().then_some(self.mock_from);
            [publish.flatten(), down.filter(|at| *at > now), mock.filter(|at| *at > now)]
                .into_iter()
                .flatten()
                .min()
        };
        self.lines.values().filter_map(line).min()
    }

    /// The source that is served for `symbol`.
    pub(super) fn serving(&self, symbol: &Symbol) -> Option<u32> {
        self.lines.get(symbol)?.serving
    }

    fn turn(&mut self, now: Mono) -> Vec<Action> {
        let mut actions = Vec::new();
        let mixed = self.settings.members.iter().any(|member| !member.made_up);
        for (symbol, line) in &mut self.lines {
            let mock = !mixed || (!self.real_before && !line.real && now >= self.mock_from);
            let allowed = self.settings.members.iter().filter(|member| mock || !member.made_up);
            if let Some(to) = line.choose(allowed, now < self.settled, now) {
                let from = line.serve(to);
                actions.push(Action::Serve { symbol: symbol.clone(), from, to: to.name.clone() });
            }
            actions.extend(line.accept().map(Action::Accept));
            actions.extend(line.publish(self.settings.publish_interval, now).map(Action::Publish));
        }
        actions
    }
}

impl Line {
    /// Whether another real source that gives prices has one near this.
    fn confirmed(&self, members: &[Member], of: &Member, price: Price, now: Mono) -> bool {
        members.iter().filter(|member| member.id != of.id && !member.made_up).any(|member| {
            let standing =
                self.standings.get(&member.id).filter(|standing| standing.alive(member.no_tick, now));
            standing
                .and_then(|standing| standing.newest.as_ref())
                .is_some_and(|(_, quote)| near(price, quote.price))
        })
    }

    /// The source to change to, if any. `allowed` has the preferred one first.
    fn choose<'a>(
        &self,
        allowed: impl Iterator<Item = &'a Member>,
        settling: bool,
        now: Mono,
    ) -> Option<&'a Member> {
        let alive: Vec<_> = allowed
            .filter_map(|member| Some((member, self.standings.get(&member.id)?)))
            .filter(|(member, standing)| standing.alive(member.no_tick, now))
            .collect();
        let Some(serving) = alive.iter().position(|(member, _)| Some(member.id) == self.serving) else {
            return alive.first().map(|(member, _)| *member);
        };
        let good = |since: Option<Mono>| since.is_some_and(|since| now.since(since) >= COME_BACK);
        let made_up = alive[serving].0.made_up;
        alive[..serving]
            .iter()
            .find(|(_, standing)| made_up || settling || good(standing.good_since))
            .map(|(member, _)| *member)
    }

    /// Serves that source; answers the one before.
    fn serve(&mut self, to: &Member) -> Option<Arc<str>> {
        self.serving = Some(to.id);
        self.served.replace(to.name.clone())
    }

    fn due(&self, interval: Duration) -> Option<Mono> {
        Some(self.published.as_ref()?.0.after(interval))
    }

    /// The served source's newest price, once. Never one that was read before the one that is out.
    fn accept(&mut self) -> Option<Quote> {
        let out = self.pending.as_ref().or(self.published.as_ref().map(|(_, quote)| quote));
        let standing = self.serving.and_then(|id| self.standings.get_mut(&id))?;
        let fresh = std::mem::take(&mut standing.unsent);
        let (_, quote) = standing.newest.as_ref().filter(|_| fresh)?;
        if out.is_some_and(|out| quote.received < out.received) {
            return None;
        }
        self.pending = Some(quote.clone());
        self.pending.clone()
    }

    /// What gets out now.
    fn publish(&mut self, interval: Duration, now: Mono) -> Option<Quote> {
        if self.due(interval).is_some_and(|due| now < due) {
            return None;
        }
        let quote = self.pending.take()?;
        self.published = Some((now, quote.clone()));
        Some(quote)
    }
}

fn quote(tick: Tick, member: &Member, interval: Duration, lag: Duration, now: Now) -> Quote {
    Quote {
        symbol: tick.symbol,
        pair: tick.pair,
        price: tick.price,
        bid: tick.bid,
        ask: tick.ask,
        source: member.name.clone(),
        mock: member.made_up,
        time: tick.time,
        received_at: now.wall,
        received: now.boot,
        lag,
        interval,
        seq: 0,
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
