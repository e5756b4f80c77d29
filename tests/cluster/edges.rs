//! HTTP at its edges: slow, silent, huge and crooked clients, and the small routes.

use crate::harness::{
    Cluster, Connection, Raw, Stopwatch, cluster, eventually, get, keys, post, promised, send_to, timely,
    upgrade,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Limits of time that a test can wait for.
const SHORT: &str = r#"
[http]
header_timeout = "1s"
body_timeout = "1s"
idle_timeout = "1s"
[ws]
handshake_timeout = "1s"
"#;

/// How long the server bears a client that sends this and then nothing, and what it says at last.
async fn patience_with(to: SocketAddr, bytes: &[u8]) -> (Stopwatch, String) {
    let mut raw = Raw::connect(to).await;
    let begin = Stopwatch::start();
    raw.write(bytes).await;
    let said = String::from_utf8_lossy(&raw.rest().await).into_owned();
    (begin, said)
}

fn about_a_second(since: Stopwatch, what: &str) {
    let (time, net) = (since.elapsed(), since.net());
    assert!(time > Duration::from_millis(700), "{what}: cut already after {time:?}");
    assert!(
        net < promised(Duration::from_millis(2_500)),
        "{what}: cut only after {time:?}, {net:?} of it without load"
    );
}

#[tokio::test]
async fn slow_and_silent_clients_are_cut_in_time() {
    let cluster = cluster().config(SHORT).start().await;
    let _tab = cluster.quiet_tab("alice").await;
    for port in [cluster.http, cluster.ws, cluster.admin] {
        let (time, said) = patience_with(port, b"").await;
        about_a_second(time, "silent");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        let (time, said) = patience_with(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ").await;
        about_a_second(time, "half a head");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    let head = "POST /api/v1/quotes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let (time, said) =
        patience_with(cluster.http, format!("{head}Content-Length: 50\r\n\r\n{{").as_bytes()).await;
    about_a_second(time, "half a body");
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("application/problem+json"), "{said}");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{");
    let (time, said) = patience_with(cluster.http, chunked.as_bytes()).await;
    about_a_second(time, "half a chunk");
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert_eq!(cluster.quote("alice").await.status, 202);
}

#[tokio::test]
async fn a_head_that_drips_is_cut_as_well() {
    let cluster = cluster().config(SHORT).start().await;
    let mut raw = Raw::connect(cluster.http).await;
    let begin = Stopwatch::start();
    let mut bytes = upgrade("/ws?user_id=alice").bytes("localhost").into_iter();
    // Each byte is in time; the whole is not.
    for byte in bytes.by_ref() {
        if raw.try_write(&[byte]).await.is_err() || begin.net() > promised(Duration::from_secs(3)) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(bytes.next().is_some(), "the whole head was borne");
    about_a_second(begin, "a dripping head");
}

#[tokio::test]
async fn a_connection_kept_alive_may_rest_for_a_while() {
    let cluster = cluster().config(SHORT).start().await;
    let (mut connection, rested) = timely(Duration::from_millis(900), async || {
        let mut connection = Connection::open(cluster.http).await.unwrap();
        connection.ask(&get("/healthz")).await;
        let begin = Instant::now();
        sleep(Duration::from_millis(400)).await;
        let answer = connection.send(&get("/healthz")).await;
        (begin.elapsed(), (connection, answer))
    })
    .await;
    assert_eq!(rested.unwrap().status, 200);
    connection.ask(&get("/healthz")).await;
    let begin = Stopwatch::start();
    let rest = Raw::after(connection).rest().await;
    about_a_second(begin, "idle");
    assert_eq!(rest, b"", "the end of a kept connection is no answer to anything");
}

#[tokio::test]
async fn a_session_is_no_idle_connection() {
    let cluster = cluster().config(SHORT).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2_500) {
        tab.until_pong().await;
        sleep(Duration::from_millis(1_200)).await;
    }
    tab.until_pong().await;
}

/// What a crooked request gets: at most one answer, then the end.
async fn answers(cluster: &Cluster, bytes: &[u8]) -> Vec<u16> {
    let mut raw = Raw::connect(cluster.http).await;
    let _ = raw.try_write(bytes).await;
    let said = raw.rest().await;
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

#[tokio::test]
async fn a_request_that_two_servers_would_read_differently_is_refused() {
    let cluster = cluster().config(SHORT).start().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = "POST /api/v1/quotes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let table = [
        (
            "length and chunks",
            format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "chunks and length",
            format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("two lengths", format!("{head}Content-Length: 2\r\nContent-Length: 60\r\n\r\n{{}}{smuggled}")),
        ("a list of lengths", format!("{head}Content-Length: 2, 60\r\n\r\n{{}}{smuggled}")),
        ("a negative length", format!("{head}Content-Length: -2\r\n\r\n{{}}{smuggled}")),
        ("a signed length", format!("{head}Content-Length: +2\r\n\r\n{{}}{smuggled}")),
        ("an odd encoding", format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("chunked twice", format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}")),
        (
            "a chunk of bad size",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n{smuggled}"),
        ),
        ("a space before the colon", format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("a folded header", format!("{head}X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{{}}{smuggled}")),
        ("a bare newline in a header", format!("{head}X-A: b\rContent-Length: 2\r\n\r\n{{}}{smuggled}")),
    ];
    for (what, bytes) in table {
        let got = answers(&cluster, bytes.as_bytes()).await;
        assert!(got == [400] || got.is_empty(), "{what}: {got:?}");
    }
}

#[tokio::test]
async fn a_head_has_a_largest_size() {
    let cluster = cluster().config(SHORT).start().await;
    let with = |more: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let table = [
        ("5,000 headers", with(&"X-A: b\r\n".repeat(5_000)), 431),
        ("a header of 1 MiB", with(&format!("X-A: {}\r\n", "b".repeat(1 << 20))), 431),
        (
            "a target of 100 kB",
            format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000)),
            414,
        ),
    ];
    for (what, bytes, status) in table {
        let got = answers(&cluster, bytes.as_bytes()).await;
        // A reset may overtake the answer to somebody who still sends.
        assert!(matches!(got[..], [] | [400 | 431]) || got == [status], "{what}: {got:?}");
    }
    let tls = answers(&cluster, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await;
    assert!(matches!(tls[..], [] | [400]), "TLS is no HTTP: {tls:?}");
    assert_eq!(cluster.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn health_is_told_on_every_port() {
    let cluster = cluster().start().await;
    for port in [cluster.http, cluster.ws, cluster.admin] {
        for path in ["/healthz", "/livez"] {
            let answer = send_to(port, &get(path)).await;
            assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ok")), "{path}");
        }
        assert_eq!(send_to(port, &get("/readyz")).await.status, 200);
        assert_eq!(send_to(port, &get("/healthz").method("HEAD")).await.status, 200);
    }
}

#[tokio::test]
async fn the_price_is_there_for_the_asking() {
    let cluster = cluster().start().await;
    let answer = cluster.get("/api/v1/price").await;
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let price = answer.json();
    let fields =
        ["age_ms", "mock", "pair", "price", "received_at", "seq", "source", "stale", "symbol", "time"];
    assert_eq!((keys(&price), &price["price"]), (fields.to_vec(), &json!("64000.00")));
    assert_eq!(cluster.get("/api/v1/price?symbol=BTC-USD&x=1").await.status, 200);
}

#[tokio::test]
async fn the_info_says_what_may_be_asked() {
    let cluster = cluster().config("[http]\npage_ws_url = \"ws://{host}:8080/ws\"").start().await;
    let info = cluster.get("/api/v1/info").await.json();
    for key in ["name", "version", "ws_url", "transports", "limits", "symbols", "environment", "mock"] {
        assert!(info.get(key).is_some(), "{key}: {info}");
    }
    assert_eq!((&info["name"], &info["version"]), (&json!("btc-cluster"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!((&info["environment"], &info["mock"]), (&json!("test"), &json!(true)));
    assert_eq!((&info["symbols"], &info["ws_url"]), (&json!(["BTC-USD"]), &json!("ws://127.0.0.1:8080/ws")));
    let other = cluster.send(&get("/api/v1/info").header("Host", "[::1]:3000")).await.json();
    assert_eq!(other["ws_url"], "ws://[::1]:8080/ws");
}

#[tokio::test]
async fn the_statistics_are_complete_and_of_one_moment() {
    let cluster = cluster().workers(3).start().await;
    let mut tabs = cluster.tabs_on_all("alice", 3).await;
    tabs.push(cluster.quiet_tab("bob").await);
    let _echo = cluster.open("/echo?user_id=bob").await.unwrap();
    let stats = cluster.stats().await;
    let fields =
        ["feeder", "price", "time", "totals", "uptime_s", "users", "users_truncated", "version", "workers"];
    assert_eq!(keys(&stats), fields, "{stats}");
    let worker = [
        "age_ms",
        "cpu_pct",
        "id",
        "lag_ms",
        "messages_in",
        "messages_out",
        "pid",
        "restarts",
        "rss_bytes",
        "sessions",
        "state",
        "uptime_s",
        "users",
    ];
    for (id, row) in (1..).zip(stats["workers"].as_array().unwrap()) {
        assert_eq!((keys(row), &row["id"], &row["state"]), (worker.to_vec(), &json!(id), &json!("ready")));
    }
    assert_eq!(keys(&stats["feeder"]), ["pid", "restarts", "state"]);
    assert_eq!(stats["price"]["price"], "64000.00");
    let sessions = tabs.len() + 1;
    let totals = json!({
        "workers": 3, "sessions": sessions, "users": 2,
        "by_endpoint": {
            "ws": tabs.len(), "echo": 1, "command": 0, "chat": 0, "broadcast": 0, "stream": 0,
        },
        "by_transport": {"websocket": sessions, "sse": 0, "poll": 0},
    });
    assert_eq!(stats["totals"], totals);
    let of_workers: u64 =
        stats["workers"].as_array().unwrap().iter().filter_map(|w| w["sessions"].as_u64()).sum();
    assert_eq!(of_workers, sessions as u64);
    let alice = json!({"user_id": "alice", "sessions": tabs.len() - 1, "workers": [1, 2, 3]});
    assert_eq!((&stats["users"][0], &stats["users_truncated"]), (&alice, &json!(0)));
}

#[tokio::test]
async fn users_are_only_shown_where_the_configuration_says_so() {
    let cluster = cluster().config("[stats]\nusers = false").start().await;
    let _tab = cluster.quiet_tab("secret-id").await;
    let stats = cluster.stats().await;
    assert_eq!(stats["totals"]["users"], 1);
    assert!(!stats.to_string().contains("secret-id"), "{stats}");
    assert!(stats.get("users").is_none_or(|users| *users == json!([]) || *users == Value::Null), "{stats}");
}

#[tokio::test]
async fn only_fifty_users_are_shown() {
    let cluster = cluster().start().await;
    let mut tabs = vec![];
    for n in 0..55 {
        tabs.push(cluster.quiet_tab(&format!("user-{n}")).await);
    }
    let stats = cluster.stats().await;
    assert_eq!((stats["users"].as_array().unwrap().len(), &stats["users_truncated"]), (50, &json!(5)));
    assert_eq!(stats["totals"]["users"], 55);
}

#[tokio::test]
async fn what_is_for_administrators_is_not_on_the_public_ports() {
    let cluster = cluster().config("[[channels]]\nname = \"news\"").start().await;
    let tab = cluster.quiet_tab("alice").await;
    let session = format!("/api/v1/sessions/{}", tab.session());
    let requests = [
        post("/api/v1/channels/news/messages", r#"{"data":1}"#),
        get("/api/v1/sessions"),
        get("/api/v1/sessions?user_id=alice"),
        get(&session).method("DELETE"),
        get("/metrics"),
    ];
    for request in &requests {
        assert_eq!(cluster.send(request).await.problem(), (404, "not-found".into()), "{request:?}");
        assert_eq!(send_to(cluster.ws, request).await.status, 426, "{request:?}");
    }
    let mut tab = tab;
    tab.until_pong().await;
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_names_of_our_own() {
    let cluster = cluster().workers(3).start().await;
    let _tab = cluster.tab("alice").await;
    cluster.quote("alice").await;
    eventually("a quote is counted", async || {
        let answer = cluster.administer(&get("/metrics")).await;
        assert_eq!(answer.status, 200);
        let text = answer.text().to_owned();
        let samples: Vec<_> =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert!(samples.len() > 10, "{text}");
        for sample in &samples {
            let (name, value) = sample.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {sample}"));
            assert!(name.starts_with("btc_cluster_"), "{sample}");
            assert!(value.parse::<f64>().is_ok(), "{sample}");
            let bare = name.split('{').next().unwrap();
            let of = |end| {
                bare.strip_suffix(end).filter(|bare| text.contains(&format!("# TYPE {bare} histogram\n")))
            };
            let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(of);
            let (bare, kind) = match (histogram, bare.ends_with("_total")) {
                (Some(bare), _) => (bare, "histogram"),
                (None, true) => (bare, "counter"),
                (None, false) => (bare, "gauge"),
            };
            assert!(text.contains(&format!("# TYPE {bare} {kind}\n")), "{sample} has a type");
            assert!(text.contains(&format!("# HELP {bare} ")), "{sample} has a help");
        }
        for process in ["master", "feeder", "worker-3"] {
            let name = format!("btc_cluster_process_cpu_seconds_total{{process=\"{process}\"}}");
            assert!(samples.iter().any(|sample| sample.starts_with(&name)), "{name}: {text}");
        }
        let counted = samples.iter().any(|sample| sample.contains("delivered") && sample.ends_with(" 1"));
        if counted { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn without_an_admin_port_metrics_are_on_the_public_one() {
    let cluster = cluster().config("[admin]\nlisten = []").start().await;
    assert_eq!(cluster.ctl(&["status"]).await.json()["listening"]["admin"], json!([]));
    let answer = cluster.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("btc_cluster_"));
    assert_eq!(cluster.get("/api/v1/sessions").await.problem().0, 404, "the other admin routes are nowhere");
}
