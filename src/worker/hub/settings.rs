//! The configuration: a hub begins with one, and takes a new one while sessions live.

use super::endpoints;
use super::parts::absent::Absent;
use super::parts::charts::Charts;
use super::parts::commands::Commands;
use super::parts::connections::Connections;
use super::parts::crowd::Crowd;
use super::parts::entrances::Entrances;
use super::parts::forwards::Forwards;
use super::parts::later::Later;
use super::parts::lives::Lives;
use super::parts::moving::Moving;
use super::parts::notices::Notices;
use super::parts::policy::Policy;
use super::parts::prices::Prices;
use super::parts::requests::Requests;
use super::parts::session::Link;
use super::parts::sessions::Sessions;
use super::parts::silent::Silent;
use super::parts::survival::Survival;
use super::parts::suspended::Suspended;
use super::parts::takes::Takes;
use super::parts::tickets::Tickets;
use super::parts::timers::Timers;
use super::parts::unpacking::Unpacking;
use super::parts::uplink::Uplink;
use super::parts::walks::Walks;
use super::state::{Hub, Me, Phase, READ, State};
use crate::config::{Config, Lines, Publish};
use crate::model::Interval;
use crate::os::board::Board;
use crate::os::clock;
use crate::os::memory::Spare;
use crate::protocol::cluster::Counters;
use crate::session::{Channels, Kind};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The channels that a configuration makes.
pub(super) fn channels(config: &Config) -> Vec<(String, Kind)> {
    let mut all = vec![("stats".to_owned(), Kind::Stats), ("presence".to_owned(), Kind::Presence)];
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

impl Hub {
    /// An empty hub.
    pub(in crate::worker) fn new(me: Me, config: Arc<Config>, uplink: Uplink, board: Board) -> Self {
        let channels = Channels::new(channels(&config));
        let mut connections = Connections::default();
        connections.handshakes.adopt(&config);
        let state = State {
            me,
            phase: Phase::Serving,
            uplink,
            counters: Counters::default(),
            board,
            connections,
            crowd: Crowd::new(crate::os::process::files_in_use()),
            notices: Notices::default(),
            sessions: Sessions::default(),
            absent: Absent::default(),
            silent: Silent::default(),
            suspended: Suspended::default(),
            takes: Takes::default(),
            forwards: Forwards::default(),
            moving: Moving::default(),
            entrances: Entrances::default(),
            requests: Requests::default(),
            prices: Prices::new(&config.price, &channels),
            channels,
            walks: Walks::default(),
            later: Later::default(),
            lives: Lives::default(),
            tickets: Tickets::default(),
            charts: Charts::default(),
            unpacking: Unpacking::default(),
            timers: Timers::new(clock::mono()),
            commands: Commands::default(),
            survival: Survival::default(),
            spare: Spare::default(),
            buffer: vec![0; READ],
            config: Policy::new(config),
        };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl State {
    /// Takes the live keys of a new configuration. No session is touched, but for the subscriptions to channels that
    /// are no more.
    pub(in crate::worker) fn configure(&mut self, config: Arc<Config>) {
        let old = self.config.replace(config);
        let (before, after) = (channels(&old), channels(&self.config));
        if before != after {
            while self.walk_on() {}
            self.change_channels(&before, after);
        }
        self.confine_all(&old);
        self.retune(&old);
        self.judge_prices(old.price.rules());
        let now_in_force = self.config.whole();
        self.connections.handshakes.adopt(&now_in_force);
        if old.heartbeat != self.config.heartbeat {
            let now = clock::mono();
            self.timers.renew();
            let connected =
                self.sessions.present().filter(|(_, session)| matches!(session.link, Link::Wire(_)));
            for (at, _) in connected {
                self.timers.watch(at, now.after(self.config.heartbeat.interval / 2));
            }
        }
    }

    /// The channels that are no more lose their members; those that stay keep them.
    fn change_channels(&mut self, before: &[(String, Kind)], after: Vec<(String, Kind)>) {
        for (name, _) in before.iter().filter(|(name, _)| after.iter().all(|(other, _)| other != name)) {
            let Some(channel) = self.channels.find(name) else { continue };
            let members = self.sessions.iter().filter(|(_, session)| session.is_on(channel));
            let members: Vec<_> = members.map(|(at, _)| at).collect();
            members.into_iter().for_each(|at| self.unsubscribe(at, channel));
            self.walks.forget(channel);
            self.entrances.channel_gone(channel);
            self.channels.remove(channel);
        }
        for (name, kind) in after {
            match self.channels.find(&name) {
                Some(channel) => self.channels.get_mut(channel).kind = kind,
                None => _ = self.channels.add(name, kind),
            }
        }
        let prices = Prices::new(&self.config.price, &self.channels);
        let known = std::mem::replace(&mut self.prices, prices);
        self.prices.adopt(known);
    }
}
