//! The state of one symbol: the prices of each source, the current price, and the pace of publishing.

use super::group::Refusal;
use super::sanity::Jumps;
use super::settings::Member;
use crate::feeder::Now;
use crate::model::{Boot, Contribution, Health, Mono, Quote, Rules};
use crate::providers::Tick;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The state of one symbol.
#[derive(Debug, Default)]
pub(super) struct SymbolState {
    pub standings: BTreeMap<u32, Standing>,
    /// Failover: the served source.
    pub serving: Option<u32>,
    /// The served source's name, kept when it leaves the configuration.
    pub served: Option<Arc<str>>,
    /// Whether there was a real price.
    pub real: bool,
    /// Median: the part of each source at the last decision, and why it made no price.
    pub sources: Arc<[Contribution]>,
    pub refused: Option<Refusal>,
    pub pending: Option<Quote>,
    pub published: Option<(Mono, Quote)>,
}

/// State of a source for one symbol.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub newest: Option<(Mono, Quote)>,
    /// Whether the newest price is an unconfirmed jump (median; failover does not take it).
    pub doubtful: bool,
    /// Whether its last price stands while nobody trades.
    pub halted: bool,
    /// Whether the newest price has neither been published nor replaced.
    pub unsent: bool,
    /// Failover: an unconfirmed jump, and when it was read.
    pub held: Option<(Mono, Quote)>,
    /// The beginning of the time without a pause or fault.
    pub good_since: Option<Mono>,
    /// When it is down unless it ticks, because its session ended.
    pub down_from: Option<Mono>,
    pub jumps: Jumps,
}

impl Standing {
    /// When it is down unless it ticks.
    pub(super) fn alive_until(&self, no_tick: Duration) -> Option<Mono> {
        let until = self.newest.as_ref()?.0.after(no_tick);
        Some(self.down_from.map_or(until, |down| until.min(down)))
    }

    /// Whether it gives prices.
    pub(super) fn alive(&self, no_tick: Duration, now: Mono) -> bool {
        self.alive_until(no_tick).is_some_and(|until| now < until)
    }

    /// Whether its own newest price is fresh.
    pub(super) fn fresh(&self, rules: &Rules, now: Boot) -> bool {
        self.newest.as_ref().is_some_and(|(_, quote)| quote.health(rules, now) == Health::Fresh)
    }

    /// Whether it may stay the served source.
    pub(super) fn well(&self, no_tick: Duration, rules: &Rules, now: Now) -> bool {
        self.alive(no_tick, now.mono) && self.fresh(rules, now.boot)
    }

    /// When its newest price stops being fresh, if it is.
    pub(super) fn fresh_until(&self, rules: &Rules, now: Now) -> Option<Mono> {
        let (_, quote) = self.newest.as_ref().filter(|_| self.fresh(rules, now.boot))?;
        let at = quote.next_change(rules, now.boot)?;
        Some(now.mono.after(at.since(now.boot)))
    }

    /// Takes a price.
    pub(super) fn take(&mut self, quote: Quote, no_tick: Duration, rules: &Rules, now: Now) {
        if !self.well(no_tick, rules, now) || self.good_since.is_none() {
            self.good_since = Some(now.mono);
        }
        (self.down_from, self.held) = (None, None);
        (self.newest, self.unsent) = (Some((now.mono, quote)), true);
    }

    /// Makes the held jump the newest price, as if it had been believed at once: another source confirms it.
    pub(super) fn release(&mut self, no_tick: Duration, rules: &Rules, now: Now) {
        let Some((at, quote)) = self.held.take() else { return };
        let down_from = self.down_from;
        self.jumps.believe(quote.price);
        self.take(quote, no_tick, rules, now);
        // The session may have ended in the meantime.
        self.down_from = down_from;
        self.newest.iter_mut().for_each(|newest| newest.0 = at);
    }

    /// The held jump, while the source gives prices and the jump would be fresh.
    pub(super) fn held(&self, no_tick: Duration, rules: &Rules, now: Now) -> Option<&Quote> {
        let (at, quote) = self.held.as_ref()?;
        let alive = now.mono < at.after(no_tick) && self.down_from.is_none_or(|down| now.mono < down);
        (alive && quote.health(rules, now.boot) == Health::Fresh).then_some(quote)
    }
}

impl SymbolState {
    /// Applies other members; `turned` if the policy has changed.
    pub(super) fn reconfigure(&mut self, members: &[Member], turned: bool) {
        let stays = |id: u32| members.iter().any(|member| member.id == id);
        self.standings.retain(|id, _| stays(*id));
        self.serving = self.serving.filter(|id| stays(*id) && !turned);
        if turned {
            self.sources = Arc::default();
            for standing in self.standings.values_mut().filter(|standing| standing.doubtful) {
                standing.newest = None;
            }
            for standing in self.standings.values_mut() {
                (standing.unsent, standing.held) = (true, None);
            }
        }
        // A waiting price may come from a source that has gone.
        let named = |name: &Arc<str>| members.iter().any(|member| member.name == *name);
        self.pending = self
            .pending
            .take()
            .filter(|quote| !turned && (!quote.sources.is_empty() || named(&quote.source)));
    }

    /// The current price: published, or about to be.
    pub(super) fn out(&self) -> Option<&Quote> {
        self.pending.as_ref().or(self.published.as_ref().map(|(_, quote)| quote))
    }

    /// When the next price may be published at the earliest.
    pub(super) fn due(&self, interval: Duration) -> Option<Mono> {
        Some(self.published.as_ref()?.0.after(interval))
    }

    /// The price to publish now.
    pub(super) fn publish(&mut self, interval: Duration, now: Mono) -> Option<Quote> {
        if self.due(interval).is_some_and(|due| now < due) {
            return None;
        }
        let quote = self.pending.take()?;
        self.published = Some((now, quote.clone()));
        Some(quote)
    }
}

/// Converts a source's tick to a quote.
pub(super) fn quote(tick: Tick, member: &Member, interval: Duration, lag: Duration, now: Now) -> Quote {
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
        sources: Arc::default(),
    }
}
