//! The metrics of the whole cluster as OpenMetrics or Prometheus text. Made anew for each scrape from the
//! ledger and the rows of the statistics; counters come from the ledger alone, so they never fall.

mod classic;
#[cfg(test)]
pub(crate) mod tests;

use super::merge::Ledger;
use super::object::{FeederRow, Totals, WorkerRow};
use crate::os::process::Usage;
use crate::protocol::cluster::{Counters, Endpoint, Handover, Role, Silences, Transport};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The beginning of every metric's name.
const PREFIX: &str = "btc_cluster";
/// All states of a worker; each has a sample, if 0.
const STATES: [&str; 5] = ["starting", "ready", "draining", "backoff", "failed"];

/// Values of the metrics.
#[derive(Clone, Debug)]
pub struct Metrics<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Time since the daemon's start.
    pub uptime: Duration,
    /// The workers' rows of the statistics.
    pub workers: &'a [WorkerRow],
    /// The row of the feeder.
    pub feeder: FeederRow,
    /// The totals of the statistics.
    pub totals: Totals,
    /// Counters of all processes.
    pub ledger: &'a Ledger,
    /// CPU and memory of the keeper, and of the master.
    pub keeper: Usage,
    pub master: Usage,
    /// Deaths of the master.
    pub master_restarts: u32,
    /// The chat rooms.
    pub rooms: RoomGauges,
    /// Each configured symbol.
    pub prices: Vec<PriceGauge<'a>>,
    /// Number of the configuration in force.
    pub revision: u64,
    /// Whether the last reload was taken; true when there was none.
    pub reload_taken: bool,
    /// How often the configuration's files are read because the system does not tell of changes.
    pub polled: Option<Duration>,
    /// Each certificate in force.
    pub certificates: Vec<CertificateGauge>,
    pub keys: KeyGauges,
    /// Messages that the links to processes of a role did not take; none for a role that is missing.
    pub dropped: BTreeMap<Role, u64>,
}

/// Chat rooms and their histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomGauges {
    pub rooms: usize,
    pub messages: usize,
    /// Bytes of kept messages.
    pub bytes: usize,
}

/// The end of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateGauge {
    /// The first name in it.
    pub name: String,
    /// Time until then; none: it has ended.
    pub left: Duration,
}

/// The keys that tokens are checked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyGauges {
    /// Those of files.
    pub files: usize,
    /// Those of the endpoint.
    pub fetched: u32,
    /// Time since they were fetched; `None`: they were not, or there is no endpoint.
    pub age: Option<Duration>,
}

/// The price of one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceGauge<'a> {
    pub symbol: &'a str,
    /// Age; `None` without a price.
    pub age: Option<Duration>,
    /// Whether the price is stale or missing.
    pub stale: bool,
}

/// A value. All values of a family are of one kind.
#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
    Histogram(Silences),
}

#[derive(Debug)]
struct Sample {
    /// The value of the family's label.
    label: Option<String>,
    value: Value,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    label: Option<&'static str>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Scrape {
    version: String,
    families: Vec<Family>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut build = encoder.encode_descriptor("build", "The program.", None, MetricType::Info)?;
        build.encode_info(&[("version", self.version.as_str())])?;
        self.families.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Family {
    /// `None` without a sample.
    fn kind(&self) -> Option<MetricType> {
        self.samples.first().map(|sample| match sample.value {
            Value::Gauge(_) => MetricType::Gauge,
            Value::Count(_) | Value::Seconds(_) => MetricType::Counter,
            Value::Histogram(_) => MetricType::Histogram,
        })
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(kind) = self.kind() else { return Ok(()) };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        if let [Sample { label: None, value }] = self.samples[..] {
            return value.encode(metric);
        }
        for sample in &self.samples {
            let labels = self.label.zip(sample.label.as_deref());
            sample.value.encode(metric.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    }
}

impl Value {
    fn encode(self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => ConstCounter::new(n).encode(encoder),
            Self::Seconds(s) => ConstCounter::new(s).encode(encoder),
            Self::Gauge(n) => ConstGauge::new(n).encode(encoder),
            Self::Histogram(all) => {
                let (sum, buckets): (_, Vec<_>) = (all.sum().as_secs_f64(), all.buckets().collect());
                encoder.encode_histogram::<NoLabelSet>(sum, all.count(), &buckets, None)
            }
        }
    }
}

/// Families gathered so far.
#[derive(Debug, Default)]
struct Gathered(Vec<Family>);

impl Gathered {
    fn one(&mut self, name: &'static str, help: &'static str, value: Value) {
        self.0.push(Family { name, help, label: None, samples: vec![Sample { label: None, value }] });
    }

    fn many<T: ToString>(
        &mut self,
        name: &'static str,
        help: &'static str,
        key: &'static str,
        values: impl IntoIterator<Item = (T, Value)>,
    ) {
        let sample = |(label, value): (T, Value)| Sample { label: Some(label.to_string()), value };
        self.0.push(Family {
            name,
            help,
            label: Some(key),
            samples: values.into_iter().map(sample).collect(),
        });
    }
}

/// The text format knows only floats: exact up to 2^53.
fn gauge(n: u64) -> Value {
    Value::Gauge(n as f64)
}

fn seconds(cpu_us: u64) -> Value {
    Value::Seconds(Duration::from_micros(cpu_us).as_secs_f64())
}

/// The value of the label `process`.
fn process(role: Role) -> String {
    match role {
        Role::Feeder => role.as_str().to_owned(),
        Role::Worker(slot) => format!("worker-{slot}"),
    }
}

impl Metrics<'_> {
    /// Writes the text of the type `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    #[must_use]
    pub fn open_text(&self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        let scrape = Scrape { version: self.version.to_owned(), families: self.families() };
        registry.register_collector(Box::new(scrape));
        let mut out = String::with_capacity(8 << 10);
        // Writing into a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    /// All families but `build`, also those without a sample.
    fn families(&self) -> Vec<Family> {
        let roles: Vec<_> = self.ledger.roles().map(|role| (role, self.ledger.of(role))).collect();
        let mut gathered = Gathered::default();
        self.state(&mut gathered);
        traffic(&mut gathered, &roles);
        let total = self.ledger.total();
        events(&mut gathered, &total);
        handovers(&mut gathered, &total);
        self.processes(&mut gathered, &roles);
        self.prices(&mut gathered);
        gathered.0
    }

    fn state(&self, to: &mut Gathered) {
        to.one("uptime_seconds", "Time since the daemon's start.", Value::Gauge(self.uptime.as_secs_f64()));
        let in_state = |state| self.workers.iter().filter(|row| row.state == state).count() as u64;
        to.many("workers", "Workers by state.", "state", STATES.map(|state| (state, gauge(in_state(state)))));
        let by_worker = self.workers.iter().map(|row| (row.id, gauge(row.sessions.into())));
        to.many("sessions", "Sessions by worker.", "worker", by_worker);
        let by_endpoint = Endpoint::ALL.map(Endpoint::as_str).into_iter().zip(self.totals.by_endpoint);
        let by_endpoint = by_endpoint.map(|(name, n)| (name, gauge(n.into())));
        to.many("endpoint_sessions", "Sessions by endpoint.", "endpoint", by_endpoint);
        let by_transport = Transport::ALL.map(Transport::as_str).into_iter().zip(self.totals.by_transport);
        let by_transport = by_transport.map(|(name, n)| (name, gauge(n.into())));
        to.many("transport_sessions", "Sessions by transport.", "transport", by_transport);
        to.one("users", "Users with a session.", gauge(self.totals.users as u64));
        to.one("chat_rooms", "Chat rooms.", gauge(self.rooms.rooms as u64));
        to.one("chat_history_messages", "Messages kept of chat rooms.", gauge(self.rooms.messages as u64));
        to.one("chat_history_bytes", "Bytes of these messages.", gauge(self.rooms.bytes as u64));
        to.one("configuration_revision", "Number of the configuration in force.", gauge(self.revision));
        let ends = self.certificates.iter().map(|one| (&*one.name, gauge(one.left.as_secs())));
        let help = "Time for which each certificate still holds.";
        to.many("certificate_expiry_seconds", help, "name", ends);
        let keys = [("file", gauge(self.keys.files as u64)), ("jwks", gauge(self.keys.fetched.into()))];
        to.many("auth_keys", "Keys that tokens are checked with.", "source", keys);
        if let Some(age) = self.keys.age {
            to.one("jwks_age_seconds", "Time since the key set was fetched.", gauge(age.as_secs()));
        }
        let taken = gauge(u64::from(self.reload_taken));
        to.one(
            "configuration_reload_successful",
            "Whether the last reload was taken (1) or refused (0).",
            taken,
        );
        let watched = gauge(u64::from(self.polled.is_none()));
        to.one("configuration_watched", "Whether the kernel tells of changed files (1) or not (0).", watched);
        to.one(
            "configuration_poll_seconds",
            "Interval at which the files are read, because the kernel does not tell of changes; else 0.",
            Value::Gauge(self.polled.unwrap_or_default().as_secs_f64()),
        );
    }

    fn processes(&self, to: &mut Gathered, roles: &[(Role, Counters)]) {
        let workers =
            self.workers.iter().map(|row| (process(Role::Worker(row.id)), Value::Count(row.restarts.into())));
        let feeder = (process(Role::Feeder), Value::Count(self.feeder.restarts.into()));
        to.many(
            "restarts",
            "Deaths of processes, planned replacements not counted.",
            "process",
            workers.chain([feeder, ("master".to_owned(), Value::Count(self.master_restarts.into()))]),
        );
        let all = |of: fn(&Counters) -> Value, above: fn(Usage) -> Value| {
            let children = roles.iter().map(move |(role, counters)| (process(*role), of(counters)));
            let own = [("master", self.master), ("keeper", self.keeper)];
            children.chain(own.map(|(name, usage)| (name.to_owned(), above(usage))))
        };
        let cpu = all(|counters| seconds(counters.cpu_us), |usage| seconds(usage.cpu_us));
        to.many("process_cpu_seconds", "CPU time used.", "process", cpu);
        let rss = all(|counters| gauge(counters.rss), |usage| gauge(usage.rss));
        to.many("process_resident_memory_bytes", "Resident memory.", "process", rss);
        let dropped = |role| Value::Count(self.dropped.get(role).copied().unwrap_or(0));
        let dropped = roles.iter().map(|(role, _)| (process(*role), dropped(role)));
        to.many("link_dropped", "Messages that the link to a process did not take.", "process", dropped);
        let ms = |ms: f64| Value::Gauge(ms / 1000.0);
        let lag = self.workers.iter().filter(|row| row.pid.is_some()).map(|row| (row.id, ms(row.lag_ms)));
        to.many("timer_lag_seconds", "How late the last timer was.", "worker", lag);
        let age = |row: &WorkerRow| row.age_ms.map(Duration::from_millis).map(|age| age.as_secs_f64());
        let age = self.workers.iter().filter_map(|row| Some((row.id, Value::Gauge(age(row)?))));
        to.many("beat_age_seconds", "Time since the last sign of life.", "worker", age);
    }

    fn prices(&self, to: &mut Gathered) {
        let there = self.prices.iter().map(|price| (price.symbol, gauge(u64::from(price.age.is_some()))));
        to.many("price_available", "Whether there is a price that is not refused.", "symbol", there);
        let ages = self.prices.iter().filter_map(|price| Some((price.symbol, price.age?)));
        let ages = ages.map(|(symbol, age)| (symbol, Value::Gauge(age.as_secs_f64())));
        to.many("price_age_seconds", "Age of the price.", "symbol", ages);
        let stale = self.prices.iter().map(|price| (price.symbol, gauge(u64::from(price.stale))));
        to.many("price_stale", "Whether the price is stale.", "symbol", stale);
    }
}

/// Messages and connections of each worker.
fn traffic(to: &mut Gathered, roles: &[(Role, Counters)]) {
    let of = |field: fn(&Counters) -> Value| {
        roles.iter().filter_map(move |(role, counters)| Some((role.worker()?, field(counters))))
    };
    to.many("messages_in", "Messages from clients.", "worker", of(|c| Value::Count(c.messages_in)));
    to.many("messages_out", "Messages to clients.", "worker", of(|c| Value::Count(c.messages_out)));
    to.many(
        "stats_out",
        "Messages to clients that were statistics.",
        "worker",
        of(|c| Value::Count(c.stats_out)),
    );
    to.many("connections", "Open connections of any kind.", "worker", of(|c| gauge(c.connections)));
}

/// Events of all workers together.
fn events(to: &mut Gathered, total: &Counters) {
    let counts = |of: &BTreeMap<u16, u64>| -> Vec<_> {
        of.iter().map(|(key, n)| (key.to_string(), Value::Count(*n))).collect()
    };
    let named = |of: &BTreeMap<String, u64>| -> Vec<_> {
        of.iter().map(|(key, n)| (key.clone(), Value::Count(*n))).collect()
    };
    to.one("sessions_opened", "Sessions opened.", Value::Count(total.opened));
    to.many("sessions_closed", "Sessions closed.", "code", counts(&total.closed));
    to.many("refused", "Upgrades refused.", "reason", named(&total.refused));
    to.many("quotes", "Quotes answered.", "outcome", named(&total.quotes));
    to.many("http_responses", "HTTP responses.", "status", counts(&total.http));
    to.one("sessions_resumed", "Sessions that a client came back to.", Value::Count(total.resumed));
    to.one("resume_gaps", "Clients that came back and found a gap.", Value::Count(total.gaps));
    to.one("suspended_sessions", "Sessions that wait for their client.", gauge(total.suspended));
    to.one("suspended_bytes", "Memory of sessions that wait for their client.", gauge(total.suspended_bytes));
    to.one("conflated", "State messages that replaced an unsent older one.", Value::Count(total.conflated));
    to.many(
        "gave_way",
        "Connections and sessions that ended for newcomers.",
        "what",
        ["connection", "poll", "session"]
            .map(|what| (what, Value::Count(total.gave_way.get(what).copied().unwrap_or(0)))),
    );
    to.one("accept_errors", "Failed accepts (descriptors used up).", Value::Count(total.accept_errors));
    to.many("tls_handshakes", "Handshakes of TLS.", "outcome", named(&total.handshakes));
    to.one("panics", "Panics caught in sessions or requests.", Value::Count(total.panics));
}

/// What became of sessions whose process changed.
fn handovers(to: &mut Gathered, total: &Counters) {
    to.many(
        "handover_sessions",
        "Sessions by what became of them when their process changed.",
        "result",
        Handover::ALL.map(|result| (result, Value::Count(total.handovers.of(result)))),
    );
    let help = "Time without a message that a change of processes caused to a session.";
    to.one("handover_silence_seconds", help, Value::Histogram(total.silences));
    let covered = [("covered", gauge(total.covered)), ("uncovered", gauge(total.uncovered))];
    let help = "Sessions that would survive the death of their worker, and those that would not.";
    to.many("crash_cover_sessions", help, "cover", covered);
}
