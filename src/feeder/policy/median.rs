//! Median: one price of several sources.
//!
//! Real sources count (made-up ones only if there are no others) if their pair is the symbol itself and their own
//! newest price is fresh. A jump is not held: the group confirms it, and a source that leaves the group has no
//! influence. If one source is enough there is no group: its jump waits for its next tick.

use super::action::Action;
use super::group::{PriceGroup, Refusal};
use super::settings::{Member, Settings};
use super::symbol::{Standing, SymbolState};
use crate::feeder::Now;
use crate::model::{Contribution, Mono, Price, Quote, SourcePrice, SourceVerdict, Symbol};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The source of a median in quotes.
const MEDIAN: &str = "median";

type Standings = BTreeMap<u32, Standing>;

impl SymbolState {
    /// Makes a price of the current prices, if it differs from the last one.
    pub(super) fn agree(&mut self, symbol: &Symbol, settings: &Settings, now: Now) -> Vec<Action> {
        let made_up = settings.members.iter().all(|member| member.made_up);
        let last = self.out().filter(|out| out.mock == made_up).map(|out| out.price);
        let (sources, quote) = Candidates::new(&self.standings, symbol, settings, now).decide(last);
        if *self.sources != sources[..] {
            self.sources = sources.into();
        }
        self.refused = quote.as_ref().err().copied();
        let Ok(quote) = quote else { return Vec::new() };
        let quote = Quote { sources: self.sources.clone(), ..quote };
        if self.out() == Some(&quote) {
            return Vec::new();
        }
        self.pending = Some(quote.clone());
        self.serve(symbol, &Arc::from(MEDIAN)).into_iter().chain([Action::Accept(quote)]).collect()
    }

    /// The moments at which the price may change without an event: a source stops to count.
    pub(super) fn median_moments(&self, settings: &Settings, now: Now) -> Vec<Mono> {
        let standings = counted(settings).filter_map(|member| self.standings.get(&member.id));
        standings.filter_map(|standing| standing.fresh_until(&settings.rules, now)).collect()
    }
}

/// Members that may count.
fn counted(settings: &Settings) -> impl Iterator<Item = &Member> {
    let made_up = settings.members.iter().all(|member| member.made_up);
    settings.members.iter().filter(move |member| made_up || !member.made_up)
}

/// All members that may count, and those whose prices do.
struct Candidates<'a> {
    symbol: &'a Symbol,
    settings: &'a Settings,
    now: Now,
    sources: Vec<Contribution>,
    /// Positions in `sources`, with the price there.
    candidates: Vec<(usize, &'a Standing, &'a Quote)>,
}

impl<'a> Candidates<'a> {
    fn new(standings: &'a Standings, symbol: &'a Symbol, settings: &'a Settings, now: Now) -> Self {
        let (sources, candidates) = (Vec::new(), Vec::new());
        let mut candidates = Self { symbol, settings, now, sources, candidates };
        for member in counted(settings) {
            candidates.add(member, standings.get(&member.id));
        }
        candidates
    }

    fn add(&mut self, member: &Member, standing: Option<&'a Standing>) {
        let newest = standing.and_then(|own| Some((own, &own.newest.as_ref()?.1)));
        let verdict = match newest {
            None => SourceVerdict::None,
            Some((_, quote)) if quote.pair != *self.symbol => SourceVerdict::OtherPair,
            Some((own, _)) if !own.fresh(&self.settings.rules, self.now.boot) => SourceVerdict::Stale,
            Some((own, quote)) => {
                self.candidates.push((self.sources.len(), own, quote));
                // Until the group is known.
                SourceVerdict::Deviates
            }
        };
        let said = newest.map(|(_, quote)| SourcePrice {
            pair: quote.pair.clone(),
            price: quote.price,
            received: quote.received,
            lag: quote.lag,
            interval: quote.interval,
        });
        self.sources.push(Contribution { source: member.name.clone(), verdict, said });
    }

    /// The verdict on each source's price, and the resulting price.
    fn decide(mut self, last: Option<Price>) -> (Vec<Contribution>, Result<Quote, Refusal>) {
        let prices: Vec<_> = self.candidates.iter().map(|(_, _, quote)| quote.price).collect();
        let group = PriceGroup::largest(&prices, self.settings.max_deviation, last);
        let members = group.as_ref().map_or(&[][..], |group| &group.members);
        for at in members {
            self.sources[self.candidates[*at].0].verdict = SourceVerdict::Agrees;
        }
        let verdict = PriceGroup::majority(members.len(), prices.len(), self.settings.min_sources);
        let jump = matches!(members, [alone] if self.candidates[*alone].1.doubtful);
        let verdict = verdict.and(if jump { Err(Refusal::Jump) } else { Ok(()) });
        let none = Refusal::TooFew { agree: 0, of: 0, needed: self.settings.min_sources };
        let quote = verdict.and_then(|()| group.as_ref().and_then(|group| self.quote(group)).ok_or(none));
        (self.sources, quote)
    }

    /// The price in the middle, as old as the oldest that made it.
    fn quote(&self, group: &PriceGroup) -> Option<Quote> {
        let middle = || group.middle.iter().map(|at| self.candidates[*at].2);
        let oldest = middle().max_by_key(|quote| quote.age(self.now.boot))?;
        let single = middle().next().filter(|_| group.middle.len() == 1);
        Some(Quote {
            symbol: self.symbol.clone(),
            pair: self.symbol.clone(),
            price: group.price,
            bid: single.and_then(|quote| quote.bid),
            ask: single.and_then(|quote| quote.ask),
            source: MEDIAN.into(),
            ..oldest.clone()
        })
    }
}
