//! The statistics object, as `GET /api/v1/stats` answers it and the `stats` message carries it. All numbers of one
//! object are of one moment: the master fills it in one go.

use crate::model::Wall;
use crate::protocol::client::ServerType;
use crate::protocol::cluster::{Endpoint, Slot, Transport};
use foldhash::fast::FixedState;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::hash::{BuildHasher, Hash, Hasher};

#[derive(Clone, Debug, Serialize)]
pub struct Statistics<'a> {
    #[serde(serialize_with = "text")]
    pub time: Wall,
    /// Seconds since the daemon's start.
    pub uptime_s: u64,
    /// Version of the program.
    pub version: &'a str,
    /// All workers, in the order of their slots.
    pub workers: Vec<WorkerRow>,
    pub feeder: FeederRow,
    /// All workers together.
    pub totals: Totals,
    /// The default symbol's quote as JSON; `None` (null) when there is no price.
    pub price: Option<&'a RawValue>,
    /// The first users; only if `stats.users`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<UserRow<'a>>>,
    /// Count of all other users; there if `users` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_truncated: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WorkerRow {
    pub id: Slot,
    /// Process id; `None` in the states `backoff` and `failed`.
    pub pid: Option<u32>,
    /// `starting`, `ready`, `draining`, `backoff` or `failed`.
    pub state: &'static str,
    /// Seconds since the process was started.
    pub uptime_s: u64,
    /// Deaths of the slot, planned replacements not counted.
    pub restarts: u32,
    pub sessions: u32,
    /// Users with a session there.
    pub users: u32,
    /// CPU in percent of one core.
    #[serde(serialize_with = "tenths")]
    pub cpu_pct: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Messages from clients of this slot since the daemon's start.
    pub messages_in: u64,
    /// Messages to clients of this slot since the daemon's start.
    pub messages_out: u64,
    /// Delay of the last timer in milliseconds.
    #[serde(serialize_with = "tenths")]
    pub lag_ms: f64,
    /// Milliseconds since the last sign of life; `None` without a process.
    pub age_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FeederRow {
    pub pid: Option<u32>,
    pub state: &'static str,
    /// Deaths, as of a worker.
    pub restarts: u32,
}

/// All workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub workers: usize,
    pub sessions: usize,
    /// Users with a session.
    pub users: usize,
    /// Sessions by endpoint, in the order of [`Endpoint::ALL`]. All are named, those without a session as well.
    #[serde(serialize_with = "by_endpoint")]
    pub by_endpoint: [u32; Endpoint::ALL.len()],
    /// Sessions by transport, in the order of [`Transport::ALL`].
    #[serde(serialize_with = "by_transport")]
    pub by_transport: [u32; Transport::ALL.len()],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserRow<'a> {
    pub user_id: &'a str,
    /// Count of sessions.
    pub sessions: u32,
    /// Slots of its workers.
    pub workers: Vec<Slot>,
}

fn text<S: Serializer>(time: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn tenths<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 10.0).round() / 10.0)
}

fn by_endpoint<S: Serializer>(counts: &[u32; Endpoint::ALL.len()], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Endpoint::ALL.map(Endpoint::as_str).into_iter().zip(counts))
}

fn by_transport<S: Serializer>(
    counts: &[u32; Transport::ALL.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Transport::ALL.map(Transport::as_str).into_iter().zip(counts))
}

impl Statistics<'_> {
    /// Writes the object as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Plain data with text keys never fails.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The `stats` message: the same object with its type first.
    #[must_use]
    pub fn message(&self) -> String {
        let mut json = self.json();
        json.replace_range(..1, &format!(r#"{{"type":"{}","#, ServerType::Stats));
        json
    }
}

/// Hashes what is worth a message when it changes: pid, state and restarts of each process, counts of sessions and
/// users, and the number of sessions ever opened (a reloaded page changes no count, but its new session has not heard
/// any statistics). Times, CPU and messages are left out: they change always.
#[must_use]
pub fn mark(workers: &[WorkerRow], feeder: &FeederRow, totals: &Totals, arrivals: u64) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for row in workers {
        (row.id, row.pid, row.state, row.restarts, row.sessions, row.users).hash(&mut hasher);
    }
    (feeder.pid, feeder.state, feeder.restarts).hash(&mut hasher);
    (totals.workers, totals.sessions, totals.users, totals.by_endpoint, totals.by_transport, arrivals)
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn row() -> WorkerRow {
        WorkerRow {
            id: 1,
            pid: Some(77),
            state: "ready",
            uptime_s: 5,
            restarts: 0,
            sessions: 2,
            users: 1,
            cpu_pct: 12.345,
            rss_bytes: 9_000_000,
            messages_in: 3,
            messages_out: 4,
            lag_ms: 0.04,
            age_ms: Some(250),
        }
    }

    const FEEDER: FeederRow = FeederRow { pid: None, state: "backoff", restarts: 3 };
    const TOTALS: Totals = Totals {
        workers: 1,
        sessions: 2,
        users: 1,
        by_endpoint: [2, 0, 0, 0, 0, 0],
        by_transport: [2, 0, 0],
    };

    #[test]
    fn the_object_has_the_documented_members() {
        let price = RawValue::from_string(r#"{"price":"64250.10"}"#.to_owned()).unwrap();
        let users = vec![UserRow { user_id: "a", sessions: 2, workers: vec![1] }];
        let mut statistics = Statistics {
            time: Wall(1_763_640_863_120),
            uptime_s: 7,
            version: "0.1.0",
            workers: vec![row()],
            feeder: FEEDER,
            totals: TOTALS,
            price: Some(&price),
            users: Some(users),
            users_truncated: Some(0),
        };
        let mut expected = json!({
            "time": "2025-11-20T12:14:23.120Z", "uptime_s": 7, "version": "0.1.0",
            "workers": [{
                "id": 1, "pid": 77, "state": "ready", "uptime_s": 5, "restarts": 0, "sessions": 2, "users": 1,
                "cpu_pct": 12.3, "rss_bytes": 9_000_000, "messages_in": 3, "messages_out": 4, "lag_ms": 0.0,
                "age_ms": 250
            }],
            "feeder": { "pid": null, "state": "backoff", "restarts": 3 },
            "totals": {
                "workers": 1, "sessions": 2, "users": 1, "by_endpoint": { "ws": 2, "echo": 0, "command": 0, "chat": 0, "broadcast": 0, "stream": 0 },
                "by_transport": { "websocket": 2, "sse": 0, "poll": 0 }
            },
            "price": { "price": "64250.10" },
            "users": [{ "user_id": "a", "sessions": 2, "workers": [1] }], "users_truncated": 0
        });
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&statistics.json()), expected);
        assert!(statistics.message().starts_with(r#"{"type":"stats","time":"#));
        expected["type"] = "stats".into();
        assert_eq!(read(&statistics.message()), expected);
        (statistics.price, statistics.users, statistics.users_truncated) = (None, None, None);
        let bare = read(&statistics.json());
        assert!(bare["price"].is_null() && bare.get("price").is_some());
        assert!(bare.get("users").is_none() && bare.get("users_truncated").is_none());
    }

    #[test]
    fn the_mark_changes_with_what_matters_only() {
        let one = mark(&[row()], &FEEDER, &TOTALS, 5);
        let passing = WorkerRow { uptime_s: 6, cpu_pct: 1.0, messages_out: 9, age_ms: None, ..row() };
        assert_eq!(mark(&[passing], &FEEDER, &TOTALS, 5), one);
        for other in [
            WorkerRow { pid: None, ..row() },
            WorkerRow { state: "draining", ..row() },
            WorkerRow { restarts: 1, ..row() },
            WorkerRow { sessions: 3, ..row() },
            WorkerRow { users: 2, ..row() },
        ] {
            assert_ne!(mark(&[other], &FEEDER, &TOTALS, 5), one);
        }
        assert_ne!(mark(&[row()], &FeederRow { restarts: 4, ..FEEDER }, &TOTALS, 5), one);
        assert_ne!(mark(&[row()], &FEEDER, &Totals { users: 2, ..TOTALS }, 5), one);
        assert_ne!(mark(&[], &FEEDER, &TOTALS, 5), one);
        assert_ne!(mark(&[row()], &FEEDER, &TOTALS, 6), one, "one came as another went");
    }
}
