//! The daemon from outside, once a minute: memory, descriptors, statistics. And the death of its workers.

use crate::client::Client;
use crate::habit::about;
use crate::report::as_f64;
use crate::stage::Stage;
use crate::usage::{Family, parent};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// `GET /api/v1/stats`, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Stats {
    pub(crate) workers: Vec<Worker>,
    pub(crate) feeder: Feeder,
    pub(crate) totals: Totals,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Feeder {
    pub(crate) state: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Worker {
    pub(crate) id: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) state: String,
    pub(crate) sessions: u32,
    pub(crate) lag_ms: f64,
}

/// Sessions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Totals {
    pub(crate) sessions: u32,
    pub(crate) by_endpoint: BTreeMap<String, u32>,
    pub(crate) by_transport: BTreeMap<String, u32>,
}

impl Totals {
    /// Whether all are zero.
    pub(crate) fn zero(&self) -> bool {
        self.sessions == 0 && self.by_endpoint.values().chain(self.by_transport.values()).all(|n| *n == 0)
    }
}

/// At one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) seconds: f64,
    pub(crate) processes: usize,
    pub(crate) rss_bytes: u64,
    /// `None`: not allowed to know.
    pub(crate) pss_bytes: Option<u64>,
    /// Resident memory of all processes.
    pub(crate) descriptors: usize,
    /// By process.
    pub(crate) by_pid: BTreeMap<u32, usize>,
    /// By the statistics; `None`: nobody has answered.
    pub(crate) sessions: Option<u32>,
    /// The worst of the workers.
    pub(crate) lag_ms: Option<f64>,
    /// Main sessions with a connection, by this tool.
    pub(crate) main: usize,
}

pub(crate) async fn stats(stage: &Stage) -> Option<Stats> {
    // A connection of its own each time: one that is kept dies with its worker, and counts as a descriptor.
    let mut client = Client::new(stage.ports.http.address);
    let answer = client.get(&format!("{}/api/v1/stats", stage.ports.http.path)).await;
    answer.ok().filter(|(status, _)| *status == 200).and_then(|(_, body)| serde_json::from_str(&body).ok())
}

/// Looks now.
pub(crate) async fn sample(stage: &Stage, master: u32, main: usize) -> Sample {
    let stats = stats(stage).await;
    let family = Family::of(master);
    let by_pid = family.descriptors();
    let lags = stats.iter().flat_map(|stats| stats.workers.iter().map(|worker| worker.lag_ms));
    Sample {
        seconds: stage.start.elapsed().as_secs_f64(),
        processes: family.len(),
        rss_bytes: family.rss(),
        pss_bytes: family.pss(),
        descriptors: by_pid.values().sum(),
        by_pid,
        lag_ms: lags.reduce(f64::max),
        sessions: stats.map(|stats| stats.totals.sessions),
        main,
    }
}

/// Kills a worker now and then, until the stage is silent; one that is a child of that master, and only while all are
/// ready, so that somebody is left.
pub(crate) async fn kill_workers(stage: Rc<Stage>, master: u32, every: Duration) {
    loop {
        sleep(about(every)).await;
        if stage.silent.get() {
            return;
        }
        let Some(stats) = stats(&stage).await else { continue };
        if stats.workers.len() < 2 || stats.workers.iter().any(|worker| worker.state != "ready") {
            continue;
        }
        let at = fastrand::usize(0..stats.workers.len());
        let Some(pid) = stats.workers[at].pid.filter(|pid| parent(*pid) == Some(master)) else { continue };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if raw.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
            stage.kills.borrow_mut().push((pid, stage.start.elapsed().as_secs_f64()));
        }
    }
}

/// Waits until the statistics are empty; how long that was, and what they are then.
pub(crate) async fn until_empty(stage: &Stage, patience: Duration) -> (Option<f64>, Totals) {
    let start = Instant::now();
    let mut last = Totals::default();
    loop {
        let next = Instant::now() + Duration::from_millis(500);
        if let Some(stats) = stats(stage).await {
            last = stats.totals;
            if last.zero() {
                return (Some(start.elapsed().as_secs_f64()), last);
            }
        }
        if start.elapsed() > patience {
            return (None, last);
        }
        sleep_until(next).await;
    }
}

/// Growth of a figure per minute, by linear regression over its samples (second, value).
pub(crate) fn slope(samples: &[(f64, u64)]) -> f64 {
    let count = as_f64(samples.len() as u64);
    let mean = |of: &dyn Fn(&(f64, u64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|(x, _)| *x), mean(&|(_, y)| as_f64(*y)));
    let (mut up, mut down) = (0.0, 0.0);
    for (at, value) in samples {
        up += (at - x) * (as_f64(*value) - y);
        down += (at - x) * (at - x);
    }
    if down > 0.0 { up / down * 60.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_per_minute() {
        assert!((slope(&[(0.0, 100), (60.0, 160), (120.0, 220)]) - 60.0).abs() < 1e-9);
        assert!(slope(&[(60.0, 5)]).abs() < 1e-9 && slope(&[]).abs() < 1e-9);
    }

    #[test]
    fn statistics_are_read() {
        let json = r#"{"workers":[{"id":1,"pid":null,"state":"backoff","sessions":0,"lag_ms":0.1}],
            "feeder":{"pid":null,"state":"ready","restarts":0},
            "totals":{"workers":1,"sessions":0,"by_endpoint":{"ws":0},"by_transport":{"sse":1}}}"#;
        let stats: Stats = serde_json::from_str(json).unwrap();
        assert!(!stats.totals.zero() && stats.workers[0].pid.is_none());
    }
}
