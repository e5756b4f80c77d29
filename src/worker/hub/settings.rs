//! A new configuration while sessions live.

use super::prices::Prices;
use super::{State, endpoints};
use crate::access::Gate;
use crate::config::{Config, Lines, Publish};
use crate::model::Interval;
use crate::os::clock;
use crate::session::{Channels, Key, Kind};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The channels that a configuration makes.
pub(super) fn channels(config: &Config) -> Vec<(String, Kind)> {
    let mut all = vec![("stats".to_owned(), Kind::Stats)];
    for symbol in &config.price.symbols {
        let kind = |every| Kind::Price { symbol: symbol.clone(), every };
        all.push((format!("price:{symbol}"), kind(Duration::ZERO)));
        all.push((format!("price:{symbol}@1s"), kind(Duration::from_secs(1))));
        for interval in Interval::ALL {
            let kind = Kind::Candle { symbol: symbol.clone(), interval };
            all.push((format!("candle:{symbol}@{interval}"), kind));
        }
    }
    all.extend(endpoints::channels().map(|name| (name.to_owned(), Kind::Endpoint)));
    for channel in &config.channels {
        all.push((channel.name.clone(), Kind::Messages { anyone: channel.publish == Publish::Anyone }));
    }
    let lines: BTreeSet<String> = config.lines().map(Lines::channel).collect();
    all.extend(lines.into_iter().map(|name| (name, Kind::Lines)));
    all
}

impl State {
    /// Takes the live keys of a new configuration. No session is touched, but for the subscriptions to channels that
    /// are no more.
    pub(in crate::worker) fn configure(&mut self, config: Arc<Config>, revision: u64) {
        let old = std::mem::replace(&mut self.config, config);
        self.revision = revision;
        self.rules = self.config.price.rules();
        self.gate = Arc::new(Gate::new(&self.config));
        if channels(&old) != channels(&self.config) {
            while self.walk_on() {}
            self.move_channels();
        }
        self.retune(&old);
        self.prices.review();
        if old.heartbeat != self.config.heartbeat {
            let now = clock::mono();
            self.timers.renew();
            for (key, session) in &self.sessions {
                if let Ok(key) = Key::try_from(key) {
                    self.timers.watch(key, session.id, now.after(self.config.heartbeat.interval / 2));
                }
            }
        }
    }

    fn move_channels(&mut self) {
        let old = std::mem::replace(&mut self.channels, Channels::new(channels(&self.config)));
        let prices = Prices::new(&self.config.price, &self.channels);
        let known = std::mem::replace(&mut self.prices, prices);
        self.prices.adopt(known);
        for (_, channel) in old.iter() {
            let Some(new) = self.channels.find(&channel.name) else { continue };
            if channel.is_state() {
                self.channels.get_mut(new).set(channel.frames(), channel.made, false);
            } else {
                self.channels.get_mut(new).keep(channel.newest());
            }
        }
        for (key, session) in &mut self.sessions {
            let Ok(key) = Key::try_from(key) else { continue };
            let names = session.subscriptions.iter().map(|s| &*old.get(s.channel).name);
            let kept: Vec<_> = names.filter_map(|name| self.channels.find(name)).collect();
            session.subscriptions =
                kept.into_iter().map(|channel| self.channels.join(channel, key)).collect();
            if let Some(outbox) = &mut session.outbox {
                outbox.rename_states(|channel| self.channels.find(&old.get(channel).name));
            }
        }
    }
}
