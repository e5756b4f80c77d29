//! The newest price of each symbol as this worker knows it, and when what may be said of it changes by itself: a
//! feeder that is dead or a stream that is silent never leaves a tab with a fresh-looking old number.

use crate::config::PriceSection;
use crate::model::{Boot, Health, Mono, Quote, RequestId, Rules, Symbol};
use crate::os::clock;
use crate::protocol::client::{self, QuoteText};
use crate::session::{Channel, ChannelKey, Channels, Kind};
use crate::ws::frame;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::Duration;

/// A state or an answer that has waited longer is made anew, so that its age is true.
pub const OLD: Duration = Duration::from_secs(1);

/// All symbols.
#[derive(Debug)]
pub(in crate::worker) struct Prices {
    all: Vec<Priced>,
    /// The ages at which a price is stale, and too old to be said.
    rules: Rules,
    /// Symbols for which the feeder's sources do not agree on a new price, and why.
    refused: BTreeMap<Symbol, String>,
}

#[derive(Debug)]
struct Priced {
    symbol: Symbol,
    newest: Option<(Quote, QuoteText)>,
    /// The health that was last said.
    said: Health,
    /// The moment at which the health may change.
    changes: Option<Boot>,
    channels: Vec<Paced>,
}

/// A channel of a symbol's prices with its own pace.
#[derive(Debug)]
struct Paced {
    channel: ChannelKey,
    every: Duration,
    last: Mono,
    due: bool,
}

impl Prices {
    /// No price yet for any of the configured symbols.
    pub fn new(config: &PriceSection, channels: &Channels) -> Self {
        let priced = |symbol: &Symbol| {
            let own = channels.iter().filter_map(|(channel, c)| match &c.kind {
                Kind::Price { symbol: of, every } if of == symbol => {
                    Some(Paced { channel, every: *every, last: Mono(0), due: false })
                }
                _ => None,
            });
            Priced {
                symbol: symbol.clone(),
                newest: None,
                said: Health::Gone,
                changes: None,
                channels: own.collect(),
            }
        };
        let all = config.symbols.iter().map(priced).collect();
        Self { all, rules: config.rules(), refused: BTreeMap::new() }
    }

    /// Keeps what is known across a new configuration.
    pub fn adopt(&mut self, old: Self) {
        self.refused = old.refused;
        for known in old.all {
            if let Some(own) = self.all.iter_mut().find(|own| own.symbol == known.symbol) {
                (own.newest, own.said, own.changes) = (known.newest, known.said, known.changes);
            }
        }
    }

    /// Takes a price; the channels that carry it now are returned.
    pub fn take(&mut self, quote: Quote, now: Boot) -> Vec<ChannelKey> {
        let Some(own) = self.all.iter_mut().find(|own| own.symbol == quote.symbol) else { return Vec::new() };
        if own.newest.as_ref().is_some_and(|(known, _)| known.seq >= quote.seq) {
            return Vec::new();
        }
        own.said = quote.health(&self.rules, now);
        own.changes = quote.next_change(&self.rules, now);
        own.newest = Some((quote.clone(), QuoteText::new(&quote)));
        own.publish(clock::mono())
    }

    /// The newest price of each symbol.
    pub fn newest(&self) -> impl Iterator<Item = &Quote> {
        self.all.iter().filter_map(|own| own.newest.as_ref().map(|(quote, _)| quote))
    }

    /// The pair of the symbol's price so far, where this quote is of another one.
    pub fn pair_before(&self, quote: &Quote) -> Option<&Symbol> {
        let own = self.all.iter().find(|own| own.symbol == quote.symbol)?;
        let (known, _) = own.newest.as_ref().filter(|(known, _)| known.seq <= quote.seq)?;
        Some(&known.pair).filter(|pair| **pair != quote.pair)
    }

    /// The feeder says for which symbols its sources do not agree.
    pub(in crate::worker) fn refuse(&mut self, refused: BTreeMap<Symbol, String>) {
        self.refused = refused;
    }

    /// Why there is no price that may be said, in words.
    pub(in crate::worker) fn absence(&self, symbol: &Symbol, now: Boot) -> Option<String> {
        let newest = self.all.iter().find(|own| own.symbol == *symbol).and_then(|own| own.newest.as_ref());
        let mut why = match newest.map(|(quote, _)| (quote.health(&self.rules, now), quote.age(now))) {
            Some((Health::Fresh | Health::Stale, _)) => return None,
            None => format!("no price of {symbol} has come"),
            Some((Health::Gone, age)) => {
                let which = if age > self.rules.forget_after {
                    "forgotten past price.forget_after"
                } else {
                    "refused past price.max_age"
                };
                format!("the last price of {symbol} is {} s old: {which}", age.as_secs())
            }
        };
        if let Some(refused) = self.refused.get(symbol) {
            why = format!("{why}; {refused}");
        }
        Some(why)
    }

    /// The channels that have something to say by now without a new price: a slower pace is due, or a price has
    /// grown stale.
    pub fn due(&mut self, now: Mono, boot: Boot) -> Vec<ChannelKey> {
        let mut due = Vec::new();
        for own in &mut self.all {
            if own.changes.is_some_and(|at| at <= boot)
                && let Some((quote, _)) = &own.newest
            {
                let health = quote.health(&self.rules, boot);
                own.changes = quote.next_change(&self.rules, boot);
                if health != own.said {
                    // Each worker finds it out by itself; the master says it for all of them, once.
                    tracing::debug!(event = "price-state", symbol = %own.symbol, state = ?health);
                    own.said = health;
                    due.extend(own.publish(now));
                }
            }
            for paced in own.channels.iter_mut().filter(|p| p.due && now.since(p.last) >= p.every) {
                (paced.due, paced.last) = (false, now);
                due.push(paced.channel);
            }
        }
        due
    }

    /// Takes other rules: what was said may be wrong now.
    pub fn judge_by(&mut self, rules: Rules) {
        self.rules = rules;
        for own in &mut self.all {
            own.changes = own.newest.as_ref().map(|_| Boot(0));
        }
    }

    fn shown(&self, symbol: &Symbol, now: Boot) -> Option<&(Quote, QuoteText)> {
        let own = self.all.iter().find(|own| own.symbol == *symbol)?;
        own.newest.as_ref().filter(|(quote, _)| quote.health(&self.rules, now) != Health::Gone)
    }

    /// The price as a JSON object with its sources; `None` when there is none that may be said.
    pub(in crate::worker) fn whole(&self, symbol: &Symbol, now: Boot) -> Option<String> {
        self.shown(symbol, now).map(|(quote, text)| text.whole(quote, &self.rules, now))
    }

    /// The price as a JSON object without its sources; `None` when there is none that may be said.
    pub(in crate::worker) fn object(&self, symbol: &Symbol, now: Boot) -> Option<String> {
        self.shown(symbol, now).map(|(quote, text)| text.object(quote, &self.rules, now))
    }

    /// The answer to a POST.
    pub(in crate::worker) fn answer(&self, symbol: &Symbol, request: RequestId, now: Boot) -> Option<String> {
        let (quote, text) = self.shown(symbol, now)?;
        Some(client::quote(Some(request), None, (text, quote), (&self.rules, now)))
    }

    /// The answer to a session's own question.
    pub fn reply(&self, symbol: &Symbol, id: Option<&RawValue>, now: Boot) -> Option<String> {
        let (quote, text) = self.shown(symbol, now)?;
        Some(client::quote(None, id, (text, quote), (&self.rules, now)))
    }

    /// The message of a price channel.
    fn message(&self, channel: &str, symbol: &Symbol, now: Boot) -> String {
        match self.shown(symbol, now) {
            Some((quote, text)) => client::price(channel, (text, quote), (&self.rules, now)),
            None => client::none_price(channel, symbol.as_str()),
        }
    }

    /// A channel's frame with the age of now, if it carries a price; to be `sent` to all, or only to one who asks.
    pub fn encode(&self, channel: &mut Channel, now: Mono, sent: bool) {
        if let Kind::Price { symbol, .. } = &channel.kind {
            let text = self.message(&channel.name, symbol, clock::boot());
            channel.set(&frame::text(text), now, sent);
        }
    }

    /// A channel's state as a frame, its age that of now.
    pub fn fresh<'a>(&self, channel: &'a mut Channel, now: Mono) -> &'a [u8] {
        if now.since(channel.made) > OLD {
            self.encode(channel, now, false);
        }
        channel.frames()
    }

    /// Whether any price that may be said now is made up.
    pub(in crate::worker) fn mock(&self) -> bool {
        self.all.iter().filter_map(|own| own.newest.as_ref()).any(|(quote, _)| quote.mock)
    }
}

impl Priced {
    /// The channels that carry a publication now; the others are due later.
    fn publish(&mut self, now: Mono) -> Vec<ChannelKey> {
        let mut ready = Vec::new();
        for paced in &mut self.channels {
            if now.since(paced.last) >= paced.every {
                (paced.last, paced.due) = (now, false);
                ready.push(paced.channel);
            } else {
                paced.due = true;
            }
        }
        ready
    }
}
