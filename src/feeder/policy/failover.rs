//! Failover: chooses the served source.

use super::action::Action;
use super::sanity::near;
use super::settings::{Member, Settings};
use super::symbol::{Standing, SymbolState};
use crate::feeder::Now;
use crate::model::{Health, Mono, Price, Quote, Rules, Symbol};
use std::sync::Arc;
use std::time::Duration;

/// Time that a better source must be good before it is served again.
pub(super) const COME_BACK: Duration = Duration::from_secs(30);

impl SymbolState {
    /// Serves the right source, and takes its price. `allowed` is in order of preference.
    pub(super) fn fail_over(
        &mut self,
        symbol: &Symbol,
        allowed: &[&Member],
        (settings, settling): (&Settings, bool),
        now: Now,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if !allowed.iter().any(|member| Some(member.id) == self.serving) {
            // A mock whose time is over is served no more, whether another source exists or not.
            self.serving = None;
        }
        if let Some(to) = self.choose(allowed, settling, &settings.rules, now) {
            self.serving = Some(to.id);
            actions.extend(self.serve(symbol, &to.name));
        }
        let halted = self.serving.and_then(|id| self.standings.get(&id)).is_some_and(|own| own.halted);
        actions.extend(self.accept(&settings.rules, now).filter(|_| !halted).map(Action::Accept));
        actions
    }

    /// Switches to the source of that name.
    pub(super) fn serve(&mut self, symbol: &Symbol, to: &Arc<str>) -> Option<Action> {
        let from = self.served.replace(to.clone());
        (from.as_ref() != Some(to)).then(|| Action::Serve { symbol: symbol.clone(), from, to: to.clone() })
    }

    /// Whether another real source that gives prices has a fresh one near this price, held or not: two sources that
    /// jump to the same place confirm each other.
    pub(super) fn confirmed(&self, settings: &Settings, of: &Member, price: Price, now: Now) -> bool {
        let others = settings.members.iter().filter(|member| member.id != of.id && !member.made_up);
        others.filter_map(|member| Some((member, self.standings.get(&member.id)?))).any(
            |(member, standing)| {
                let (no_tick, rules) = (member.no_tick, &settings.rules);
                let believed = standing.newest.as_ref().filter(|_| standing.well(no_tick, rules, now));
                let held = standing.held(no_tick, rules, now);
                believed.map(|(_, quote)| quote).into_iter().chain(held).any(|quote| near(price, quote.price))
            },
        )
    }

    /// The real source `of` is believed at this price: releases the held prices of other sources near it.
    pub(super) fn release(&mut self, settings: &Settings, of: &Member, price: Price, now: Now) {
        let others = settings.members.iter().filter(|member| member.id != of.id && !of.made_up);
        for member in others {
            let Some(standing) = self.standings.get_mut(&member.id) else { continue };
            if standing.held(member.no_tick, &settings.rules, now).is_some_and(|held| near(held.price, price))
            {
                standing.release(member.no_tick, &settings.rules, now);
            }
        }
    }

    /// The source to switch to, if any.
    fn choose<'a>(
        &self,
        allowed: &[&'a Member],
        settling: bool,
        rules: &Rules,
        now: Now,
    ) -> Option<&'a Member> {
        let known = |member: &&'a Member| Some((*member, self.standings.get(&member.id)?));
        let all: Vec<(&Member, &Standing)> = allowed.iter().filter_map(known).collect();
        let well = |(member, standing): &(&Member, &Standing)| standing.well(member.no_tick, rules, now);
        let steady = |one: &(&Member, &Standing)| well(one) && one.1.down_from.is_none();
        let serving = all.iter().position(|(member, _)| Some(member.id) == self.serving);
        let to = match serving {
            Some(at) if well(&all[at]) => {
                let good =
                    |since: Option<Mono>| since.is_some_and(|since| now.mono.since(since) >= COME_BACK);
                all[..at].iter().find(|one| steady(one) && (settling || good(one.1.good_since)))
            }
            // The first fresh source, preferably one whose session goes on. Without one the served source stays, and
            // its price ages.
            serving => {
                let alive =
                    |(member, standing): &&(&Member, &Standing)| standing.alive(member.no_tick, now.mono);
                let fresh = all.iter().find(|one| steady(one)).or_else(|| all.iter().find(|one| well(one)));
                fresh.or_else(|| all.iter().find(alive).filter(|_| serving.is_none()))
            }
        };
        to.map(|(member, _)| *member)
    }

    /// The served source's newest price, once. Never a price that was read before the current one, nor one of
    /// another source that is not fresh and older than the current one.
    fn accept(&mut self, rules: &Rules, now: Now) -> Option<Quote> {
        let standing = self.serving.and_then(|id| self.standings.get_mut(&id))?;
        let unsent = std::mem::take(&mut standing.unsent);
        let (_, quote) = standing.newest.as_ref().filter(|_| unsent)?;
        let quote = quote.clone();
        let fresh = quote.health(rules, now.boot) == Health::Fresh;
        let older = |out: &Quote| {
            let other = out.source != quote.source && out.mock == quote.mock;
            quote.received < out.received || (other && !fresh && quote.age(now.boot) > out.age(now.boot))
        };
        if self.out().is_some_and(older) {
            return None;
        }
        self.pending = Some(quote.clone());
        Some(quote)
    }

    /// The moments at which the served source may change without an event.
    pub(super) fn failover_moments(&self, settings: &Settings, mock_from: Mono, now: Now) -> Vec<Mono> {
        let mut moments = Vec::new();
        if self.serving.is_none() {
            moments.push(mock_from);
        }
        for member in &settings.members {
            let Some(standing) = self.standings.get(&member.id) else { continue };
            if Some(member.id) == self.serving {
                moments.extend(standing.alive_until(member.no_tick));
                moments.extend(standing.fresh_until(&settings.rules, now));
            } else if standing.well(member.no_tick, &settings.rules, now) {
                moments.extend(standing.good_since.map(|since| since.after(COME_BACK)));
            }
        }
        moments
    }
}
