//! Tests of the metrics: a parser of the text that refuses what the format does not allow.

use super::*;
use crate::model::Mono;

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
        let suffixes = match kind.as_str() {
            "counter" => &["_total"][..],
            "info" => &["_info"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{other}"),
        };
        let suffix = sample.strip_prefix(name.as_str());
        assert!(name_ok(sample) && suffix.is_some_and(|suffix| suffixes.contains(&suffix)), "{line}");
        assert!(name.starts_with("btc_cluster_"), "{line}");
        let labels = labels.strip_suffix('}').unwrap();
        if let Some((label, value)) = labels.split_once('=') {
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
            assert!(name_ok(label) && !inner.replace("\\\\", "").replace("\\\"", "").contains('"'), "{line}");
        }
        let value: f64 = value.parse().unwrap();
        assert!(samples.insert(key.to_owned(), (kind, value)).is_none(), "twice: {key}");
    }
    samples
}

fn row(id: u16, state: &'static str) -> WorkerRow {
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

fn metrics<'a>(ledger: &'a Ledger, workers: &'a [WorkerRow]) -> Metrics<'a> {
    Metrics {
        version: "0.1.0 \"x\\",
        uptime: Duration::from_millis(1500),
        workers,
        feeder: FeederRow { pid: Some(8), state: "ready", restarts: 1 },
        totals: Totals {
            workers: 2,
            sessions: 6,
            users: 5,
            by_endpoint: [5, 1, 0, 0, 0, 0],
            by_transport: [6, 0, 0],
        },
        ledger,
        keeper: Usage { cpu_us: 20, rss: 21 },
        master: Usage { cpu_us: 10, rss: 11 },
        master_restarts: 2,
        rooms: RoomGauges { rooms: 3, messages: 4, bytes: 500 },
        prices: vec![
            PriceGauge { symbol: "BTC-USD", age: Some(Duration::from_millis(2500)), stale: true },
            PriceGauge { symbol: "ETH-USD", age: None, stale: false },
        ],
        revision: 4,
        reload_taken: false,
        polled: Some(Duration::from_secs(5)),
        certificates: vec![CertificateGauge {
            name: "example.com".into(),
            left: Duration::from_millis(9500),
        }],
        keys: KeyGauges { files: 2, fetched: 3, age: Some(Duration::from_millis(4500)) },
        dropped: BTreeMap::from([(Role::Worker(2), 3)]),
    }
}

fn scrape(ledger: &Ledger, workers: &[WorkerRow]) -> BTreeMap<String, (String, f64)> {
    parse(&metrics(ledger, workers).open_text())
}

/// Every metric as Prometheus names it, with its type and its label.
pub(crate) fn list() -> Vec<(String, &'static str, Option<&'static str>)> {
    let mut ledger = Ledger::default();
    for (generation, role) in (0..).zip(Role::all(1)) {
        ledger.born(generation, role, NOW);
        ledger.beat(generation, &counted(5), NOW);
    }
    let families = metrics(&ledger, &[row(1, "ready")]).families();
    let described = families.iter().map(|family| match family.kind().expect(family.name) {
        MetricType::Counter => (format!("{PREFIX}_{}_total", family.name), "counter", family.label),
        MetricType::Histogram => (format!("{PREFIX}_{}", family.name), "histogram", family.label),
        _ => (format!("{PREFIX}_{}", family.name), "gauge", family.label),
    });
    described.chain([(format!("{PREFIX}_build_info"), "info", Some("version"))]).collect()
}

fn counted(n: u64) -> Counters {
    let mut counters = Counters { messages_in: n, messages_out: n, opened: n, ..Counters::default() };
    (counters.cpu_us, counters.rss, counters.connections) = (n * 1_000_000, 100, 9);
    (counters.resumed, counters.suspended, counters.suspended_bytes) = (n, 7, 8);
    counters.count_closed(1001);
    counters.count_refused("full");
    counters.count_http(202);
    counters.count_quote("delivered");
    counters.count_handshake("full");
    counters.handover(Handover::Held, n);
    counters.handover(Handover::Dirty, 1);
    (0..n).for_each(|n| counters.silence(Duration::from_millis(3 * n)));
    (counters.covered, counters.uncovered) = (3, 1);
    counters
}

/// Samples of [`counted`] processes.
const SAID: [(&str, f64); 54] = [
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
    (r#"tls_handshakes_total{outcome="full"}"#, 2.0),
    (r#"certificate_expiry_seconds{name="example.com"}"#, 9.0),
    (r#"auth_keys{source="file"}"#, 2.0),
    (r#"auth_keys{source="jwks"}"#, 3.0),
    ("jwks_age_seconds", 4.0),
    ("sessions_opened_total", 10.0),
    ("accept_errors_total", 0.0),
    (r#"link_dropped_total{process="worker-2"}"#, 3.0),
    (r#"link_dropped_total{process="feeder"}"#, 0.0),
    (r#"restarts_total{process="worker-1"}"#, 2.0),
    (r#"restarts_total{process="feeder"}"#, 1.0),
    (r#"process_cpu_seconds_total{process="feeder"}"#, 5.0),
    (r#"process_cpu_seconds_total{process="master"}"#, 0.000_01),
    (r#"process_cpu_seconds_total{process="keeper"}"#, 0.000_02),
    (r#"process_resident_memory_bytes{process="keeper"}"#, 21.0),
    (r#"process_resident_memory_bytes{process="worker-2"}"#, 100.0),
    (r#"timer_lag_seconds{worker="1"}"#, 0.0015),
    (r#"beat_age_seconds{worker="1"}"#, 0.25),
    (r#"price_age_seconds{symbol="BTC-USD"}"#, 2.5),
    (r#"price_stale{symbol="BTC-USD"}"#, 1.0),
    (r#"price_available{symbol="ETH-USD"}"#, 0.0),
    ("chat_history_bytes", 500.0),
    ("sessions_resumed_total", 10.0),
    (r#"handover_sessions_total{result="held"}"#, 10.0),
    (r#"handover_sessions_total{result="dirty"}"#, 2.0),
    (r#"handover_sessions_total{result="late"}"#, 0.0),
    (r#"handover_silence_seconds_bucket{le="0.001"}"#, 2.0),
    (r#"handover_silence_seconds_bucket{le="0.005"}"#, 4.0),
    (r#"handover_silence_seconds_bucket{le="10.0"}"#, 10.0),
    (r#"handover_silence_seconds_bucket{le="+Inf"}"#, 10.0),
    ("handover_silence_seconds_count", 10.0),
    ("handover_silence_seconds_sum", 0.06),
    (r#"crash_cover_sessions{cover="covered"}"#, 6.0),
    (r#"crash_cover_sessions{cover="uncovered"}"#, 2.0),
    (r#"restarts_total{process="master"}"#, 2.0),
    ("suspended_sessions", 14.0),
    ("suspended_bytes", 16.0),
    ("configuration_revision", 4.0),
    ("configuration_reload_successful", 0.0),
    ("configuration_watched", 0.0),
    ("configuration_poll_seconds", 5.0),
];

#[test]
fn the_text_parses_and_says_it_all() {
    let mut ledger = Ledger::default();
    (0..).zip(Role::all(2)).for_each(|(generation, role)| {
        ledger.born(generation, role, NOW);
        ledger.beat(generation, &counted(5), NOW);
    });
    let samples = scrape(&ledger, &[row(1, "ready"), row(2, "backoff")]);
    for (key, value) in SAID {
        let found =
            samples.get(&format!("btc_cluster_{key}")).unwrap_or_else(|| panic!("{key} in {samples:#?}"));
        assert!((found.1 - value).abs() < 1e-9, "{key} is {found:?}");
    }
    assert!(!samples.contains_key(r#"btc_cluster_timer_lag_seconds{worker="2"}"#), "there is no process");
}

#[test]
fn no_counter_falls_when_workers_die_and_when_their_slot_is_no_more() {
    let mut ledger = Ledger::default();
    (0..).zip(Role::all(2)).for_each(|(generation, role)| {
        ledger.born(generation, role, NOW);
        ledger.beat(generation, &counted(5), NOW);
    });
    let both = [row(1, "ready"), row(2, "ready")];
    let mut before = scrape(&ledger, &both);
    let steps: [&dyn Fn(&mut Ledger); 5] = [
        &|ledger| ledger.gone(1),
        &|ledger| ledger.born(3, Role::Worker(1), NOW),
        &|ledger| ledger.beat(3, &counted(1), NOW),
        &|ledger| ledger.gone(2),
        &|ledger| ledger.gone(0),
    ];
    for step in steps {
        step(&mut ledger);
        let after = scrape(&ledger, &both);
        let counters = |(_, (kind, _)): &(_, &(String, _))| kind != "gauge" && kind != "info";
        for (key, (kind, value)) in before.iter().filter(counters) {
            assert!(after.get(key).is_some_and(|(_, now)| now >= value), "{kind} {key} fell from {value}");
        }
        before = after;
    }
    let fewer = scrape(&ledger, &both[..1]);
    let gone = r#"btc_cluster_messages_out_total{worker="2"}"#;
    assert_eq!(fewer[gone], before[gone]);
}

#[test]
fn both_forms_tell_the_same() {
    let mut ledger = Ledger::default();
    for (generation, role) in (0..).zip(Role::all(2)) {
        ledger.born(generation, role, NOW);
        ledger.beat(generation, &counted(5), NOW);
    }
    let workers = [row(1, "ready"), row(2, "backoff")];
    let metrics = metrics(&ledger, &workers);
    let (open, text) = (parse(&metrics.open_text()), metrics.text());
    let (mut samples, mut last) = (BTreeMap::new(), String::new());
    for line in text.lines() {
        match line.strip_prefix("# ").map(|line| line.splitn(3, ' ').collect::<Vec<_>>()) {
            Some(words) if words[0] == "HELP" => last = words[1].to_owned(),
            Some(words) => {
                assert_eq!((words[0], words[1]), ("TYPE", last.as_str()), "{line}");
                let kind = match last.as_str() {
                    "btc_cluster_handover_silence_seconds" => "histogram",
                    counter if counter.ends_with("_total") => "counter",
                    _ => "gauge",
                };
                assert_eq!(words[2], kind, "{line}");
            }
            None => {
                let (key, value) = line.rsplit_once(' ').unwrap();
                let suffix = key.split('{').next().and_then(|name| name.strip_prefix(last.as_str()));
                let of_histogram = ["_bucket", "_sum", "_count"].contains(&suffix.unwrap_or("none"));
                assert!(suffix == Some("") || of_histogram, "a sample below its own head: {line}");
                samples.insert(key.to_owned(), value.parse::<f64>().unwrap());
            }
        }
    }
    let open: BTreeMap<_, _> = open.into_iter().map(|(key, (_, value))| (key, value)).collect();
    assert_eq!(samples, open);
    assert!(text.contains(r#"btc_cluster_build_info{version="0.1.0 \"x\\"} 1"#), "{text}");
    assert!(!text.contains("EOF"));
}
