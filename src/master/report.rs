//! What the master tells of the cluster: statistics, metrics, lists, the status line. All numbers of one answer are of
//! one moment.

use super::core::Master;
use crate::model::{Health, Mono, Symbol, Wall};
use crate::os::{clock, process};
use crate::protocol::client::QuoteText;
use crate::protocol::cluster::{Port, Role, Slot, ToWorker};
use crate::stats::{
    FeederRow, Load, Metrics, PriceGauge, RoomGauges, Statistics, Totals, UserRow, When, WorkerRow, mark,
};
use crate::supervisor::{Row, State};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// So many users are named; of the others there is a count.
const NAMED: usize = 50;

impl Master {
    fn worker_row(&self, slot: Slot, row: &Row, now: Mono) -> WorkerRow {
        let child = row.generation.and_then(|generation| self.children.0.get(&generation));
        let pulse = row.generation.and_then(|generation| self.ledger.pulse(generation, now));
        let (sessions, users) = row.generation.map_or((0, 0), |generation| self.directory.counts(generation));
        let counters = self.ledger.of(row.role);
        WorkerRow {
            id: slot,
            pid: child.map(|child| child.pid),
            state: row.state.as_str(),
            uptime_s: row.started.map_or(0, |started| now.since(started).as_secs()),
            restarts: row.restarts,
            sessions,
            users,
            cpu_pct: pulse.as_ref().map_or(0.0, |pulse| pulse.cpu_pct),
            rss_bytes: pulse.as_ref().map_or(0, |pulse| pulse.rss),
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            lag_ms: pulse.as_ref().map_or(0.0, |pulse| pulse.lag.as_secs_f64() * 1000.0),
            age_ms: pulse.map(|pulse| u64::try_from(pulse.age.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn rows(&self, now: Mono) -> (Vec<WorkerRow>, FeederRow) {
        let mut feeder = FeederRow { pid: None, state: State::Backoff.as_str(), restarts: 0 };
        let mut workers = Vec::new();
        for row in self.fleet.rows() {
            match row.role {
                Role::Feeder if feeder.pid.is_some() => {}
                Role::Feeder => {
                    feeder = FeederRow { pid: row.pid, state: row.state.as_str(), restarts: row.restarts };
                }
                Role::Worker(slot) => workers.push(self.worker_row(slot, &row, now)),
            }
        }
        (workers, feeder)
    }

    fn totals(&self) -> Totals {
        let totals = self.directory.totals();
        Totals {
            workers: self.children.ready_workers().count(),
            sessions: totals.sessions,
            users: totals.users,
            by_endpoint: totals.by_endpoint,
            by_transport: totals.by_transport,
        }
    }

    fn price_object(&self, symbol: &Symbol) -> Option<Box<RawValue>> {
        let quote = self.prices.get(symbol)?;
        let (rules, now) = (self.config.price.rules(), clock::boot());
        if quote.health(&rules, now) == Health::Gone {
            return None;
        }
        RawValue::from_string(QuoteText::new(quote).object(quote, &rules, now)).ok()
    }

    fn statistics<R>(&self, tell: impl FnOnce(&Statistics<'_>) -> R) -> R {
        let now = clock::mono();
        let (workers, feeder) = self.rows(now);
        let totals = self.totals();
        let price = self.price_object(&self.config.price.symbol);
        let shown = self.config.stats.users;
        let users: Vec<UserRow<'_>> = if shown {
            let first = self.directory.first_users(NAMED);
            first
                .map(|u| UserRow { user_id: u.user.as_str(), sessions: u.sessions, workers: u.workers })
                .collect()
        } else {
            Vec::new()
        };
        tell(&Statistics {
            time: clock::wall(),
            uptime_s: now.since(self.started).as_secs(),
            version: env!("CARGO_PKG_VERSION"),
            workers,
            feeder,
            users_truncated: shown.then(|| totals.users.saturating_sub(users.len())),
            totals,
            price: price.as_deref(),
            users: shown.then_some(users),
        })
    }

    /// `GET /api/v1/stats`.
    pub(super) fn stats_json(&self) -> String {
        self.statistics(|all| all.json())
    }

    /// The `stats` message, when it is time for one.
    pub(super) fn send_stats(&mut self, now: Mono) {
        let mut when = std::mem::replace(&mut self.when, When::new(self.config.stats.interval));
        let due = when.look(now, || {
            let (workers, feeder) = self.rows(now);
            let watchers = self.children.0.values().map(|child| u64::from(child.beat.stats_watchers)).sum();
            let (deliveries, statistics) = self.ledger.deliveries();
            let mark = mark(&workers, &feeder, &self.totals(), self.directory.came());
            (mark, Load { watchers, deliveries, statistics })
        });
        self.when = when;
        if due {
            let text = self.statistics(|all| all.message());
            self.children.tell_workers(&ToWorker::Stats(&text));
        }
    }

    /// `GET /metrics`.
    pub(super) fn metrics_text(&self) -> String {
        let now = clock::mono();
        let (workers, feeder) = self.rows(now);
        let (rules, boot) = (self.config.price.rules(), clock::boot());
        let prices = self.config.price.symbols.iter().map(|symbol| {
            let quote = self.prices.get(symbol);
            PriceGauge {
                symbol: symbol.as_str(),
                age: quote.map(|quote| quote.age(boot)),
                stale: quote.is_none_or(|quote| quote.health(&rules, boot) != Health::Fresh),
            }
        });
        let rooms = self.rooms.counts();
        Metrics {
            version: env!("CARGO_PKG_VERSION"),
            uptime: now.since(self.started),
            workers: &workers,
            feeder,
            totals: self.totals(),
            ledger: &self.ledger,
            master: process::usage(),
            rooms: RoomGauges { rooms: rooms.rooms, messages: rooms.messages, bytes: rooms.bytes },
            prices: prices.collect(),
            revision: self.revision,
            reload_taken: self.reloads.last.as_ref().is_none_or(|last| last.ok),
        }
        .text()
    }

    /// `ctl status`.
    pub(super) fn status_json(&self) -> Value {
        let mut value: Value = serde_json::from_str(&self.stats_json()).unwrap_or_default();
        let state = if self.stopping {
            "stopping"
        } else if self.told_ready {
            "ready"
        } else {
            "starting"
        };
        let more = json!({
            "ok": true,
            "state": state,
            "pid": std::process::id(),
            "environment": self.config.environment.as_str(),
            "config": self.source.file,
            "revision": self.revision,
            "started": Wall(self.started_wall).to_string(),
            "last_reload": self.reloads.last,
            "reloads": self.reloads.done,
            "reloads_refused": self.reloads.refused,
            "watch_trouble": self.reloads.watch_trouble,
            "price_text": self.price_words(),
            "pending": self.router.pending(),
            "listening": {
                "http": self.addresses(Port::Http),
                "ws": self.addresses(Port::Ws),
                "admin": self.addresses(Port::Admin),
            },
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }

    /// `btc-cluster price`: the quote, or null when there is none; `None` for an unknown symbol. Without a symbol
    /// the default one.
    pub(super) fn price_json(&self, symbol: Option<&str>) -> Option<Value> {
        let price = &self.config.price;
        let symbol = match symbol {
            None => &price.symbol,
            Some(name) => price.symbols.iter().find(|symbol| symbol.as_str() == name)?,
        };
        let mock = self.prices.get(symbol).is_some_and(|quote| quote.mock);
        Some(json!({ "ok": true, "price": self.price_object(symbol), "mock": mock }))
    }

    pub(super) fn price_words(&self) -> String {
        let symbol = &self.config.price.symbol;
        let (rules, now) = (self.config.price.rules(), clock::boot());
        let known = self.prices.get(symbol).map(|quote| (quote, quote.health(&rules, now)));
        let Some((quote, health)) = known.filter(|(_, health)| *health != Health::Gone) else {
            return format!("no price of {symbol}");
        };
        let (age, made_up) = (quote.age(now).as_secs_f64(), if quote.mock { " (MADE UP)" } else { "" });
        let stale = if health == Health::Fresh { "" } else { ", STALE" };
        format!("{symbol} {} from {}{made_up}, {age:.1} s old{stale}", quote.price, quote.source)
    }
}
