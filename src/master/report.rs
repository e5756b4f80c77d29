//! Answers about the cluster: statistics, metrics, lists, the status line. All numbers of one answer are
//! of one moment.

use super::core::Master;
use super::roles::ProcessRow;
use crate::model::Mono;
use crate::os::{clock, process};
use crate::protocol::cluster::{Door, Exposition, Role, Slot, ToWorker};
use crate::stats::{FeederRow, Load, Metrics, RoomGauges, Statistics, Totals, UserRow, WorkerRow, mark};
use crate::supervisor::{Row, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most users named; the others are counted.
const NAMED: usize = 50;

impl Master {
    fn worker_row(&self, slot: Slot, row: &Row, now: Mono) -> WorkerRow {
        let child = row.generation.and_then(|generation| self.children.get(generation));
        let pulse = row.generation.and_then(|generation| self.ledger.pulse(generation, now));
        let (sessions, users) = row.generation.map_or((0, 0), |generation| self.directory.counts(generation));
        let counters = self.ledger.of(row.role);
        let drained = row.generation.is_some_and(|generation| self.is_aside(generation));
        WorkerRow {
            id: slot,
            pid: child.map(|child| child.pid),
            state: if drained { State::Draining.as_str() } else { row.state.as_str() },
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

    fn statistics<R>(&self, tell: impl FnOnce(&Statistics<'_>) -> R) -> R {
        let now = clock::mono();
        let (workers, feeder) = self.rows(now);
        let totals = self.totals();
        let price = self.feed.default_object(clock::boot());
        let shown = self.in_force.config().stats.users;
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
            uptime_s: self.service.uptime(now).as_secs(),
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
        if !self.when.looks(now) {
            return;
        }
        let (workers, feeder) = self.rows(now);
        let watchers = self.children.iter().map(|child| u64::from(child.beat.stats_watchers)).sum();
        let (deliveries, statistics) = self.ledger.deliveries();
        let mark = mark(&workers, &feeder, &self.totals(), self.directory.came());
        if self.when.sends(now, mark, Load { watchers, deliveries, statistics }) {
            let text = self.statistics(|all| all.message());
            self.children.tell_workers(&ToWorker::Stats(&text));
        }
    }

    /// CPU of all masters so far, and memory of this one.
    fn usage(&self) -> process::Usage {
        let own = process::usage();
        process::Usage { cpu_us: own.cpu_us + self.ledger.masters_cpu(), ..own }
    }

    /// `GET /metrics`.
    pub(super) fn metrics_text(&self, form: Exposition) -> String {
        let now = clock::mono();
        let (workers, feeder) = self.rows(now);
        let rooms = self.rooms.counts();
        let metrics = Metrics {
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.service.uptime(now),
            workers: &workers,
            feeder,
            totals: self.totals(),
            ledger: &self.ledger,
            keeper: process::usage_of(self.keeper.pid),
            master: self.usage(),
            master_restarts: self.keeper.deaths,
            rooms: RoomGauges { rooms: rooms.rooms, messages: rooms.messages, bytes: rooms.bytes },
            prices: self.feed.gauges(clock::boot()),
            certificates: self.tls.gauges(clock::wall()),
            keys: self.keys.gauges(&self.in_force.config().auth, clock::wall()),
            dropped: self.children.dropped(),
            revision: self.in_force.revision(),
            reload_taken: self.in_force.reloads.last().is_none_or(|last| last.ok),
            polled: self.in_force.polled(),
        };
        match form {
            Exposition::Text => metrics.text(),
            Exposition::OpenMetrics => metrics.open_text(),
        }
    }

    /// `ctl status`.
    pub(super) fn status_json(&self) -> Value {
        let mut value: Value = serde_json::from_str(&self.stats_json()).unwrap_or_default();
        let (in_force, (done, refused)) = (&self.in_force, self.in_force.reloads.counts());
        let total = self.ledger.total();
        let listening: BTreeMap<_, _> = Door::ALL.map(|door| (door.word(), in_force.addresses(door))).into();
        let more = json!({
            "ok": true,
            "state": self.service.phase().as_str(),
            "pid": self.keeper.pid,
            "keeper": self.keeper.pid,
            "master": std::process::id(),
            "processes": self.all_processes(),
            "environment": in_force.config().environment.as_str(),
            "config": in_force.file(),
            "revision": in_force.revision(),
            "started": self.service.since().to_string(),
            "last_reload": in_force.reloads.last(),
            "reloads": done,
            "reloads_refused": refused,
            "upgrade": self.upgrades.json(),
            "watch_trouble": in_force.watch_trouble(),
            "price_text": self.feed.words(clock::boot()),
            "pending": self.router.pending(),
            "crash_cover": { "covered": total.covered, "uncovered": total.uncovered },
            "handovers": self.handovers.json(),
            "listening": listening,
            "keys": self.keys.json(&in_force.config().auth),
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }

    /// A row for the keeper, the master, and each process of a role.
    fn all_processes(&self) -> Vec<ProcessRow> {
        let now = clock::mono();
        let mut all = self.keeper.rows();
        all.extend(self.fleet.rows().into_iter().map(|row| {
            let child = row.generation.and_then(|generation| self.children.get(generation));
            let program = child.map(|child| child.program.clone());
            ProcessRow {
                role: row.role.to_string(),
                pid: row.pid,
                state: row.state.as_str(),
                uptime_s: row.started.map_or(0, |started| now.since(started).as_secs()),
                restarts: row.restarts,
                version: program.filter(|program| !program.is_empty()),
            }
        }));
        all
    }

    /// `btc-cluster price`: the quote, or null when there is none; `None` for an unknown symbol. Without a symbol
    /// the default one.
    pub(super) fn price_json(&self, symbol: Option<&str>) -> Option<Value> {
        let symbol = self.feed.find(symbol)?;
        Some(json!({ "ok": true, "price": self.feed.object(symbol, clock::boot()) }))
    }
}
