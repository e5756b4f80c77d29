//! The metrics of the whole cluster as OpenMetrics text, which Prometheus reads. Made anew for each scrape from the
//! ledger and the rows of the statistics; counters come from the ledger alone, so they never fall.

use super::merge::Ledger;
use super::object::{FeederRow, Totals, WorkerRow};
use crate::os::process::Usage;
use crate::protocol::cluster::{Counters, Endpoint, Slot, Transport};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Duration;

/// The states that a worker can be in: all are told, also those that none is in.
const STATES: [&str; 5] = ["starting", "ready", "draining", "backoff", "failed"];

/// What the metrics are made of.
#[derive(Clone, Debug)]
pub struct Metrics<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Time since the daemon's start.
    pub uptime: Duration,
    /// The workers' rows of the statistics.
    pub workers: &'a [WorkerRow],
    /// The feeder's.
    pub feeder: FeederRow,
    /// The totals of the statistics.
    pub totals: Totals,
    /// What all processes have counted.
    pub ledger: &'a Ledger,
    /// What the master itself has used.
    pub master: Usage,
    /// Each configured symbol.
    pub prices: Vec<PriceGauge<'a>>,
    /// Number of the configuration in force.
    pub revision: u64,
    /// Whether the last reload was taken; true when there was none.
    pub reload_taken: bool,
}

/// The price of one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceGauge<'a> {
    /// Which.
    pub symbol: &'a str,
    /// Its age, where there is one that is not refused.
    pub age: Option<Duration>,
    /// Whether it is stale.
    pub stale: bool,
}

/// One value. What a family holds are values of one kind.
#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
}

#[derive(Debug)]
struct Sample {
    label: Option<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

/// One scrape.
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
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.samples.first().map(|sample| sample.value) {
            Some(Value::Gauge(_)) => MetricType::Gauge,
            Some(Value::Count(_) | Value::Seconds(_)) => MetricType::Counter,
            None => return Ok(()),
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        if let [Sample { label: None, value }] = self.samples[..] {
            return value.encode(metric);
        }
        for sample in &self.samples {
            let labels = sample.label.as_ref().map(|(key, text)| (*key, text.as_str()));
            sample.value.encode(metric.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    }
}

impl Value {
    fn encode(self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => ConstCounter::new(n).encode(encoder),
            Self::Seconds(s) => ConstCounter::new(s).encode(encoder),
            Self::Gauge(n) => ConstGauge::new(n).encode(encoder),
        }
    }
}

/// The families, as they are gathered.
#[derive(Debug, Default)]
struct Gathered(Vec<Family>);

impl Gathered {
    fn one(&mut self, name: &'static str, help: &'static str, value: Value) {
        self.0.push(Family { name, help, samples: vec![Sample { label: None, value }] });
    }

    fn many<T: ToString>(
        &mut self,
        name: &'static str,
        help: &'static str,
        key: &'static str,
        values: impl IntoIterator<Item = (T, Value)>,
    ) {
        let sample = |(label, value): (T, Value)| Sample { label: Some((key, label.to_string())), value };
        self.0.push(Family { name, help, samples: values.into_iter().map(sample).collect() });
    }
}

/// The text format knows only floats: exact up to 2^53.
fn gauge(n: u64) -> Value {
    Value::Gauge(n as f64)
}

fn seconds(cpu_us: u64) -> Value {
    Value::Seconds(Duration::from_micros(cpu_us).as_secs_f64())
}

fn process(slot: Slot) -> String {
    if slot == 0 { "feeder".to_owned() } else { format!("worker-{slot}") }
}

impl Metrics<'_> {
    /// The text, to be sent as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    #[must_use]
    pub fn text(&self) -> String {
        let slots: Vec<_> = self.ledger.slots().map(|slot| (slot, self.ledger.slot(slot))).collect();
        let mut gathered = Gathered::default();
        self.state(&mut gathered);
        traffic(&mut gathered, &slots);
        events(&mut gathered, &self.ledger.total());
        self.processes(&mut gathered, &slots);
        self.prices(&mut gathered);
        let mut registry = Registry::with_prefix("btc_cluster");
        let scrape = Scrape { version: self.version.to_owned(), families: gathered.0 };
        registry.register_collector(Box::new(scrape));
        let mut out = String::with_capacity(8 << 10);
        // Writing into a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
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
        to.one("configuration_revision", "Number of the configuration in force.", gauge(self.revision));
        let taken = gauge(u64::from(self.reload_taken));
        to.one(
            "configuration_reload_successful",
            "Whether the last reload was taken (1) or refused (0).",
            taken,
        );
    }

    fn processes(&self, to: &mut Gathered, slots: &[(Slot, Counters)]) {
        let workers = self.workers.iter().map(|row| (process(row.id), Value::Count(row.restarts.into())));
        let feeder = (process(0), Value::Count(self.feeder.restarts.into()));
        to.many(
            "restarts",
            "Deaths of processes, planned replacements not counted.",
            "process",
            workers.chain([feeder]),
        );
        let all = |of: fn(&Counters) -> Value, own: Value| {
            let children = slots.iter().map(move |(slot, counters)| (process(*slot), of(counters)));
            children.chain([("master".to_owned(), own)])
        };
        let cpu = all(|counters| seconds(counters.cpu_us), seconds(self.master.cpu_us));
        to.many("process_cpu_seconds", "CPU time used.", "process", cpu);
        let rss = all(|counters| gauge(counters.rss), gauge(self.master.rss));
        to.many("process_resident_memory_bytes", "Resident memory.", "process", rss);
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

/// What goes through each worker.
fn traffic(to: &mut Gathered, slots: &[(Slot, Counters)]) {
    let of = |field: fn(&Counters) -> Value| {
        slots.iter().filter(|(slot, _)| *slot != 0).map(move |(slot, counters)| (*slot, field(counters)))
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

/// What happened in all workers together.
fn events(to: &mut Gathered, total: &Counters) {
    let counts = |of: &std::collections::BTreeMap<u16, u64>| -> Vec<_> {
        of.iter().map(|(key, n)| (key.to_string(), Value::Count(*n))).collect()
    };
    let named = |of: &std::collections::BTreeMap<String, u64>| -> Vec<_> {
        of.iter().map(|(key, n)| (key.clone(), Value::Count(*n))).collect()
    };
    to.one("sessions_opened", "Sessions opened.", Value::Count(total.opened));
    to.many("sessions_closed", "Sessions closed.", "code", counts(&total.closed));
    to.many("refused", "Upgrades refused.", "reason", named(&total.refused));
    to.many("quotes", "Quotes answered.", "outcome", named(&total.quotes));
    to.many("http_responses", "HTTP responses.", "status", counts(&total.http));
    to.one("conflated", "State messages that replaced an unsent older one.", Value::Count(total.conflated));
    to.one("accept_errors", "Failed accepts (descriptors used up).", Value::Count(total.accept_errors));
    to.one("panics", "Panics caught in sessions or requests.", Value::Count(total.panics));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mono;
    use std::collections::BTreeMap;

    const NOW: Mono = Mono(1_000_000_000_000);

    /// Every sample by name and label; fails on anything that OpenMetrics does not allow.
    fn parse(text: &str) -> BTreeMap<String, (String, f64)> {
        let name_ok =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let (mut samples, mut family, mut seen) = (BTreeMap::new(), None::<(String, String)>, vec![]);
        let text = text.strip_suffix("# EOF\n").expect("an end");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                assert!(
                    help.split_once(' ').is_some_and(|(name, help)| name_ok(name) && help.ends_with('.')),
                    "{line}"
                );
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(!seen.contains(&name.to_owned()), "twice: {name}");
                seen.push(name.to_owned());
                family = Some((name.to_owned(), kind.to_owned()));
                continue;
            }
            let (name, kind) = family.clone().expect("a type before the first sample");
            let (key, value) = line.rsplit_once(' ').unwrap();
            let (sample, labels) = key.split_once('{').unwrap_or((key, "}"));
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                "gauge" => "",
                other => panic!("{other}"),
            };
            assert!(name_ok(sample) && sample == format!("{name}{suffix}"), "{line}");
            assert!(name.starts_with("btc_cluster_"), "{line}");
            let labels = labels.strip_suffix('}').unwrap();
            if let Some((label, value)) = labels.split_once('=') {
                let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
                assert!(
                    name_ok(label) && !inner.replace("\\\\", "").replace("\\\"", "").contains('"'),
                    "{line}"
                );
            }
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(key.to_owned(), (kind, value)).is_none(), "twice: {key}");
        }
        samples
    }

    fn row(id: Slot, state: &'static str) -> WorkerRow {
        WorkerRow {
            id,
            pid: (state == "ready").then_some(7),
            state,
            uptime_s: 1,
            restarts: 2,
            sessions: 3,
            users: 3,
            cpu_pct: 0.0,
            rss_bytes: 0,
            messages_in: 0,
            messages_out: 0,
            lag_ms: 1.5,
            age_ms: (state == "ready").then_some(250),
        }
    }

    fn scrape(ledger: &Ledger, workers: &[WorkerRow]) -> BTreeMap<String, (String, f64)> {
        let metrics = Metrics {
            version: "0.1.0 \"x\\",
            uptime: Duration::from_millis(1500),
            workers,
            feeder: FeederRow { pid: Some(8), state: "ready", restarts: 1 },
            totals: Totals { workers: 2, sessions: 6, users: 5, by_endpoint: [5, 1], by_transport: [6] },
            ledger,
            master: Usage { cpu_us: 10, rss: 11 },
            prices: vec![
                PriceGauge { symbol: "BTC-USD", age: Some(Duration::from_millis(2500)), stale: true },
                PriceGauge { symbol: "ETH-USD", age: None, stale: false },
            ],
            revision: 4,
            reload_taken: false,
        };
        parse(&metrics.text())
    }

    fn counted(n: u64) -> Counters {
        let mut counters = Counters { messages_in: n, messages_out: n, opened: n, ..Counters::default() };
        (counters.cpu_us, counters.rss, counters.connections) = (n * 1_000_000, 100, 9);
        counters.count_closed(1001);
        counters.count_refused("full");
        counters.count_http(202);
        counters.count_quote("delivered");
        counters
    }

    #[test]
    fn the_text_parses_and_says_it_all() {
        let mut ledger = Ledger::default();
        (0..3).for_each(|slot| ledger.born(slot.into(), slot, NOW));
        (0..3u32).for_each(|slot| ledger.beat(slot, &counted(5), NOW));
        let samples = scrape(&ledger, &[row(1, "ready"), row(2, "backoff")]);
        for (key, value) in [
            (r#"build_info{version="0.1.0 \"x\\"}"#, 1.0),
            ("uptime_seconds", 1.5),
            (r#"workers{state="ready"}"#, 1.0),
            (r#"workers{state="failed"}"#, 0.0),
            (r#"sessions{worker="2"}"#, 3.0),
            (r#"endpoint_sessions{endpoint="echo"}"#, 1.0),
            (r#"transport_sessions{transport="websocket"}"#, 6.0),
            ("users", 5.0),
            (r#"messages_out_total{worker="1"}"#, 5.0),
            (r#"sessions_closed_total{code="1001"}"#, 2.0),
            (r#"refused_total{reason="full"}"#, 2.0),
            (r#"quotes_total{outcome="delivered"}"#, 2.0),
            (r#"http_responses_total{status="202"}"#, 2.0),
            ("sessions_opened_total", 10.0),
            ("accept_errors_total", 0.0),
            (r#"restarts_total{process="worker-1"}"#, 2.0),
            (r#"restarts_total{process="feeder"}"#, 1.0),
            (r#"process_cpu_seconds_total{process="feeder"}"#, 5.0),
            (r#"process_cpu_seconds_total{process="master"}"#, 0.000_01),
            (r#"process_resident_memory_bytes{process="worker-2"}"#, 100.0),
            (r#"timer_lag_seconds{worker="1"}"#, 0.0015),
            (r#"beat_age_seconds{worker="1"}"#, 0.25),
            (r#"price_age_seconds{symbol="BTC-USD"}"#, 2.5),
            (r#"price_stale{symbol="BTC-USD"}"#, 1.0),
            (r#"price_available{symbol="ETH-USD"}"#, 0.0),
            ("configuration_revision", 4.0),
            ("configuration_reload_successful", 0.0),
        ] {
            let found =
                samples.get(&format!("btc_cluster_{key}")).unwrap_or_else(|| panic!("{key} in {samples:#?}"));
            assert!((found.1 - value).abs() < 1e-9, "{key} is {found:?}");
        }
        assert!(!samples.contains_key(r#"btc_cluster_timer_lag_seconds{worker="2"}"#), "there is no process");
    }

    #[test]
    fn no_counter_falls_when_workers_die_and_when_their_slot_is_no_more() {
        let mut ledger = Ledger::default();
        (0..3).for_each(|slot| ledger.born(slot.into(), slot, NOW));
        (0..3u32).for_each(|slot| ledger.beat(slot, &counted(5), NOW));
        let both = [row(1, "ready"), row(2, "ready")];
        let mut before = scrape(&ledger, &both);
        let steps: [&dyn Fn(&mut Ledger); 5] = [
            &|ledger| ledger.gone(1),
            &|ledger| ledger.born(3, 1, NOW),
            &|ledger| ledger.beat(3, &counted(1), NOW),
            &|ledger| ledger.gone(2),
            &|ledger| ledger.gone(0),
        ];
        for step in steps {
            step(&mut ledger);
            let after = scrape(&ledger, &both);
            for (key, (kind, value)) in before.iter().filter(|(_, (kind, _))| kind == "counter") {
                assert!(
                    after.get(key).is_some_and(|(_, now)| now >= value),
                    "{kind} {key} fell from {value}"
                );
            }
            before = after;
        }
        let fewer = scrape(&ledger, &both[..1]);
        let gone = r#"btc_cluster_messages_out_total{worker="2"}"#;
        assert_eq!(fewer[gone], before[gone]);
    }
}
