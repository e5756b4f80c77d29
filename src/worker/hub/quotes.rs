//! Prices from the master, to the channels that carry them.

use super::state::State;
use crate::model::{Quote, Rules, Symbol};
use crate::os::clock;
use crate::protocol::client;
use crate::session::Kind;
use crate::ws::frame;

impl State {
    /// A price from the master.
    pub(in crate::worker) fn quote(&mut self, quote: Quote) {
        if let Some(from) = self.prices.pair_before(&quote) {
            let text = client::pair_changed(&quote.symbol, from, &quote.pair, &quote.source);
            self.tell_watchers(|symbol| *symbol == quote.symbol, &text);
        }
        let channels = self.prices.take(quote, clock::boot());
        self.publish_prices(channels);
    }

    /// Judges prices by the configuration's rules, and says so to those who watch some if these were others `before`.
    pub(super) fn judge_prices(&mut self, before: Rules) {
        let rules = self.config.price.rules();
        self.prices.judge_by(rules);
        if rules != before {
            self.tell_watchers(|_| true, &client::price_rules(rules.into()));
        }
    }

    /// Says something once to each session that is subscribed to a price of such a symbol, at whatever pace. Rare enough
    /// to look at all sessions.
    fn tell_watchers(&mut self, is_meant: impl Fn(&Symbol) -> bool, text: &str) {
        let of = |channel| matches!(&self.channels.get(channel).kind, Kind::Price { symbol, .. } if is_meant(symbol));
        let all = self.sessions.present();
        let watchers = all.filter(|(_, session)| session.subscriptions.iter().any(|own| of(own.channel)));
        let watchers: Vec<_> = watchers.map(|(at, _)| at).collect();
        let frame = frame::text(text);
        watchers.into_iter().for_each(|at| self.send_or_end(at, &frame));
    }
}
