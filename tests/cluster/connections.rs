//! Connections whose ends do not come at once: a client that has said all and listens on, a refusal before the body was
//! read, kept connections of a worker that leaves.

use crate::harness::{
    Cluster, Connection, Raw, Request, cluster, eventually, get, post, promised, upgrade, within,
};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const QUOTE: &str = "/api/v1/quotes";

/// Sends a request and shuts down this side, as `nc -N` does; then everything until the server's end.
async fn said_and_done(cluster: &Cluster, bytes: &[u8]) -> String {
    let mut client = Raw::connect(cluster.http).await;
    client.write(bytes).await;
    client.say_no_more().await;
    String::from_utf8(client.rest().await).unwrap()
}

#[tokio::test]
async fn a_client_that_has_said_all_is_answered() {
    let cluster = cluster().start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let quote = json!({ "user_id": "alice" }).to_string();
    let chunked = format!(
        "POST {QUOTE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{quote}\r\n0\r\n\r\n",
        quote.len()
    );
    let old = format!("GET {} HTTP/1.0\r\n\r\n", "/api/v1/stats");
    let two = [get("/api/v1/price").bytes("localhost"), get("/api/v1/stats").bytes("localhost")].concat();
    let half = post(QUOTE, &quote).bytes("localhost");
    let half = half[..half.len() - 5].to_vec();
    let cases: [(&str, Vec<u8>, &str, usize); 7] = [
        ("quote", post(QUOTE, &quote).bytes("localhost"), "202 Accepted", 1),
        ("chunks", chunked.into_bytes(), "202 Accepted", 1),
        ("a question to the master", get("/api/v1/stats").bytes("localhost"), "200 OK", 1),
        ("HTTP/1.0", old.into_bytes(), "200 OK", 1),
        ("two at once", two, "200 OK", 2),
        ("a large file", get("/app.js").bytes("localhost"), "200 OK", 1),
        ("half a body", half, "400 Bad Request", 1),
    ];
    for (what, bytes, status, answers) in &cases {
        for _ in 0..5 {
            let text = said_and_done(&cluster, bytes).await;
            assert_eq!(
                text.matches(&format!("HTTP/1.1 {status}")).count()
                    + text.matches(&format!("HTTP/1.0 {status}")).count(),
                *answers,
                "{what}: {text}"
            );
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(!body.is_empty(), "{what}: {text}");
        }
    }
}

#[tokio::test]
async fn a_listener_that_has_said_all_hears_on_until_it_goes() {
    let cluster = cluster().workers(1).start().await;
    let mut client = Raw::connect(cluster.http).await;
    client.write(&get("/api/v1/events?user_id=alice&channels=none").bytes("localhost")).await;
    client.say_no_more().await;
    eventually("it is greeted", async || {
        let (_, text) = client.more().await;
        if text.contains("event: welcome") { Ok(()) } else { Err(text) }
    })
    .await;
    // Longer than the looks for whether it is there.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.quote("alice").await.status, 202);
    eventually("it hears the quote", async || {
        let (there, text) = client.more().await;
        assert!(there, "the server hung up: {text}");
        if text.contains("event: quote") { Ok(()) } else { Err(text) }
    })
    .await;
    drop(client);
    let gone = async || match cluster.quote("alice").await.problem() {
        (404, _) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    within(promised(Duration::from_secs(3)), "it is gone", gone).await;
}

#[tokio::test]
async fn a_poll_that_is_held_ends_when_its_client_has_said_all() {
    let cluster = cluster().start().await;
    let first = cluster.get("/api/v1/poll?user_id=alice&channels=none").await.json();
    let cursor = first["cursor"].as_str().unwrap();
    let path = format!("/api/v1/poll?user_id=alice&cursor={cursor}");
    let mut client = Raw::connect(cluster.http).await;
    client.write(&get(&path).bytes("localhost")).await;
    client.say_no_more().await;
    let held = async || client.response().await.map_err(|error| error.to_string());
    let answer = within(promised(Duration::from_secs(5)), "an answer before poll.wait", held).await.json();
    assert_eq!((&answer["cursor"], &answer["messages"]), (&first["cursor"], &json!([])));
    // Its cursor is good, and what comes to it is what it missed.
    let mut poll = Connection::open(cluster.http).await.unwrap();
    let waits = tokio::spawn(async move { poll.ask(&get(&path)).await.json() });
    eventually("the quote is taken", async || match cluster.quote("alice").await.status {
        202 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    assert_eq!(waits.await.unwrap()["messages"][0]["type"], "quote");
}

/// Requests that are answered before their body has been read.
fn refused(large: &[u8]) -> Vec<(u16, Request)> {
    vec![
        (413, post(QUOTE, large)),
        (404, post("/nowhere", large)),
        (405, post("/api/v1/price", large)),
        (405, post("/app.js", large)),
        (405, post("/ws", large)),
        (400, post(QUOTE, large).header("Host", "a b")),
        (421, post(QUOTE, large).header("Host", "evil.example")),
        (403, post(QUOTE, large).header("Origin", "http://evil.example")),
        (200, get("/api/v1/price").header("Content-Length", &large.len().to_string())),
    ]
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends() {
    let cluster = cluster().start().await;
    for size in [100_000, 3_000_000] {
        let large = vec![b'x'; size];
        for (status, request) in refused(&large) {
            let mut bytes = request.bytes("localhost");
            if status == 200 {
                bytes.extend_from_slice(&large);
            }
            let mut client = Raw::connect(cluster.http).await;
            // All of it is taken, although nobody wants it, and the answer is not torn away by a reset.
            client.write(&bytes).await;
            sleep(Duration::from_millis(50)).await;
            let answer =
                client.response().await.unwrap_or_else(|error| panic!("{size} {request:?}: {error}"));
            assert_eq!((answer.status, answer.is_last()), (status, true), "{size} {answer:?}");
            assert_eq!(client.rest().await, b"", "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_outlives_a_short_body_that_nobody_wanted() {
    let cluster = cluster().start().await;
    let large = vec![b'x'; 20_000];
    for (status, request) in refused(&large).into_iter().filter(|(status, _)| *status != 200) {
        let mut connection = Connection::open(cluster.http).await.unwrap();
        for _ in 0..3 {
            let answer = connection.ask(&request).await;
            assert_eq!((answer.status, answer.is_last()), (status, false), "{answer:?}");
        }
        assert_eq!(connection.ask(&get("/api/v1/price")).await.status, 200, "{request:?}");
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_spared_the_body() {
    let cluster = cluster().start().await;
    let head = format!(
        "POST {QUOTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut client = Raw::connect(cluster.http).await;
    client.write(head.as_bytes()).await;
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status, answer.is_last()), (413, true));
    client.say_no_more().await;
    assert_eq!(client.rest().await, b"");
}

/// A client that hung up while its handshake was on its way: a session for it would be suspended at once, for nobody.
#[tokio::test]
async fn a_handshake_of_a_client_that_has_said_all_opens_no_session() {
    let cluster = cluster().start().await;
    for path in ["/ws?user_id=alice&channels=none", "/broadcast", "/chat", "/stream1"] {
        for port in [cluster.ws, cluster.http] {
            let mut client = Raw::connect(port).await;
            client.write_last(&upgrade(path).bytes("localhost")).await;
            assert_eq!(client.response().await.unwrap().problem(), (400, "bad-handshake".into()), "{path}");
            assert_eq!(client.rest().await, b"");
        }
    }
    eventually("the refusals are counted, and no session", async || {
        let metrics = cluster.administer(&get("/metrics")).await;
        let value = |name: &str| {
            let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(str::to_owned)
        };
        let refused = value("btc_cluster_refused_total{reason=\"bad-handshake\"}");
        let opened = value("btc_cluster_sessions_opened_total");
        if (refused.as_deref(), opened.as_deref()) == (Some("8"), Some("0")) {
            Ok(())
        } else {
            Err(format!("{refused:?} {opened:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn the_first_bytes_of_http_2_are_answered() {
    let cluster = cluster().start().await;
    for port in [cluster.http, cluster.ws, cluster.admin] {
        let mut client = Raw::connect(port).await;
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let answer = client.response().await.unwrap();
        assert_eq!((answer.status, answer.is_last()), (505, true), "{answer:?}");
        client.say_no_more().await;
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn an_answer_after_which_the_connection_ends_says_so() {
    let cluster = cluster().start().await;
    let head = format!(
        "POST {QUOTE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for chunks in ["zz\r\n", "2;a=\nb\r\n{}\r\n0\r\n\r\n", "2\n{}\n0\n\n", "fffffffffffffffff\r\n{}"] {
        let mut client = Raw::connect(cluster.http).await;
        client.write(format!("{head}{chunks}").as_bytes()).await;
        let answer = client.response().await.unwrap();
        assert_eq!((answer.status, answer.is_last()), (400, true), "{chunks:?} {answer:?}");
    }
    let mut client = Raw::connect(cluster.ws).await;
    client.write(head.as_bytes()).await;
    let answer = client.response().await.unwrap();
    let said: Vec<_> = answer.header("Connection").unwrap_or_default().split(", ").collect();
    assert_eq!((answer.status, said), (426, vec!["upgrade", "close"]), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_never_stops_is_left() {
    let cluster = cluster().config("[http]\nbody_timeout = \"1s\"\nmax_discard = \"1MiB\"").start().await;
    let mut client = Raw::connect(cluster.http).await;
    client.write(&post("/nowhere", vec![b'x'; 10_000_000]).bytes("localhost")[..100_000]).await;
    let ended = async || match client.try_write(&[b'x'; 65536]).await {
        Ok(()) => Err("it takes more".to_owned()),
        Err(_) => Ok(()),
    };
    within(promised(Duration::from_secs(10)), "the server hangs up", ended).await;
    eventually("nothing is left of it", async || {
        let metrics = cluster.administer(&get("/metrics")).await;
        let open = metrics.text().lines().filter_map(|line| line.strip_prefix("btc_cluster_connections{"));
        let open: f64 = open.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
        // The question's own connection.
        if open <= 1.0 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;
}

/// Kept connections that have been used once.
async fn kept(cluster: &Cluster, count: usize) -> Vec<Connection> {
    let mut all = cluster.connections_to_all(2).await;
    while all.len() < count {
        let mut connection = Connection::open(cluster.http).await.unwrap();
        connection.ask(&get("/healthz")).await;
        all.push(connection);
    }
    all
}

#[tokio::test]
async fn a_kept_connection_of_a_leaving_worker_is_answered_once_more() {
    let cluster = cluster().start().await;
    let mut connections = kept(&cluster, 6).await;
    let mut ws = Connection::open(cluster.ws).await.unwrap();
    ws.ask(&get("/healthz")).await;
    connections.push(ws);
    let before: Vec<_> = cluster.workers().await.iter().map(|worker| worker.pid).collect();
    cluster.signal(Signal::USR2);
    let mut last = 0;
    // Each is used all the time, so that no worker leaves before it was asked once more.
    while !connections.is_empty() {
        let mut stay = vec![];
        for mut connection in connections {
            let answer = connection.ask(&post("/healthz", "{}")).await;
            assert_eq!(answer.status, 405);
            if answer.is_last() {
                last += 1;
            } else {
                stay.push(connection);
            }
        }
        connections = stay;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(last, 7);
    eventually("all workers are new", async || {
        let now = cluster.try_workers().await?;
        let new = now.iter().all(|worker| worker.state == "ready" && !before.contains(&worker.pid));
        if new { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_quiet_connection_does_not_keep_a_leaving_worker() {
    let mut cluster = cluster().start().await;
    // As browsers do: opened for later, and never used. It is accepted before those that are used.
    let unused = Connection::open(cluster.http).await.unwrap();
    let mut connections = kept(&cluster, 4).await;
    connections.push(unused);
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.ended(promised(Duration::from_secs(4))).await.code(), Some(0));
    for connection in connections {
        let (stream, buffer) = connection.into_parts();
        let mut rest = [0];
        stream.readable().await.unwrap();
        assert_eq!((stream.try_read(&mut rest).unwrap(), buffer.len()), (0, 0), "an end, and no reset");
    }
}

#[tokio::test]
async fn a_stopping_daemon_answers_on_kept_connections() {
    let mut cluster = cluster().start().await;
    let mut connections = kept(&cluster, 4).await;
    cluster.signal(Signal::TERM);
    eventually("the stop has begun", async || {
        if cluster.log().contains("graceful") || cluster.log().contains("shutdown") {
            Ok(())
        } else {
            Err(String::new())
        }
    })
    .await;
    for connection in &mut connections {
        assert_eq!(connection.ask(&get("/api/v1/price")).await.status, 200);
    }
    assert_eq!(cluster.ended(promised(Duration::from_secs(5))).await.code(), Some(0));
}

#[tokio::test]
async fn a_handshake_with_a_body_is_refused() {
    let cluster = cluster().start().await;
    let path = "/ws?user_id=alice&channels=none";
    for request in
        [upgrade(path).also("Content-Length", "5"), upgrade(path).also("Transfer-Encoding", "chunked")]
    {
        for port in [cluster.ws, cluster.http] {
            let mut client = Raw::connect(port).await;
            let mut bytes = request.bytes("localhost");
            bytes.extend_from_slice(b"hello");
            client.write(&bytes).await;
            assert_eq!(client.response().await.unwrap().problem(), (400, "bad-handshake".into()));
        }
    }
    let empty = upgrade(path).also("Content-Length", "0");
    assert_eq!(cluster.send(&empty).await.status, 101);
}
