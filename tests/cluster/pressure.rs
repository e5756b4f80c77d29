//! What one client may take, and who gives way when there is little left.

use crate::harness::{
    Cluster, Connection, Listener, Poller, Raw, Tab, cluster, eventually, get, in_time, promptly, quiet,
    send_to, upgrade,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Whoever is answered later than this has been kept waiting for somebody else's descriptor.
const SOON: Duration = Duration::from_secs(5);

/// Connections that were used once and are kept, as browsers and proxies do.
async fn kept(to: SocketAddr, count: usize) -> Vec<Connection> {
    let mut all = vec![];
    for n in 0..count {
        let what = format!("connection {n} is answered");
        let mut connection = promptly(SOON, &what, Connection::open(to)).await.unwrap();
        let answer = promptly(SOON, &what, connection.send(&get("/healthz"))).await;
        assert_eq!(answer.unwrap().status, 200, "connection {n}");
        all.push(connection);
    }
    all
}

/// Every port answers a newcomer.
async fn all_ports_answer(cluster: &Cluster) {
    for port in [cluster.http, cluster.ws, cluster.admin] {
        for path in ["/healthz", "/readyz"] {
            let answer = promptly(SOON, &format!("{path} at {port}"), send_to(port, &get(path))).await;
            assert_eq!(answer.status, 200, "{path} at {port}");
        }
    }
}

/// The value of a line of the metrics.
async fn metric(cluster: &Cluster, line: &str) -> u64 {
    let text = cluster.administer(&get("/metrics")).await.text().to_owned();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0)
}

/// So many of that kind gave way, at least.
async fn gave_way(cluster: &Cluster, what: &str, least: u64) {
    eventually("the metrics tell how many gave way", async || {
        let count = metric(cluster, &format!("btc_cluster_gave_way_total{{what=\"{what}\"}}")).await;
        if count >= least { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn kept_connections_without_a_request_give_way() {
    let cluster = cluster().workers(1).files(128).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let idle = kept(cluster.http, 300).await;
    all_ports_answer(&cluster).await;
    let newcomer = Tab::open_as(cluster.ws, &quiet("bob")).await;
    assert!(newcomer.is_ok(), "{newcomer:?}");
    assert_eq!(tab.until_pong().await, [] as [Value; 0], "a session never gives way to a connection");
    gave_way(&cluster, "connection", 150).await;
    assert_eq!(metric(&cluster, "btc_cluster_accept_errors_total").await, 0, "none was missing");
    drop(idle);
}

#[tokio::test]
async fn connections_without_a_complete_request_give_way() {
    let cluster = cluster().workers(1).files(128).start().await;
    let mut crowd = vec![];
    for n in 0..300 {
        let mut one = Raw::connect(cluster.http).await;
        match n % 3 {
            0 => {}
            1 => one.write(b"GET / HTTP/1.1\r\nHost: x\r\n").await,
            _ => one.write(b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{").await,
        }
        crowd.push(one);
    }
    all_ports_answer(&cluster).await;
    assert!(Tab::open_as(cluster.ws, &quiet("bob")).await.is_ok());
}

#[tokio::test]
async fn polls_that_are_held_and_answers_that_are_not_read_give_way() {
    let cluster = cluster().workers(1).files(128).config("[poll]\nwait = \"10m\"").start().await;
    let mut held = vec![];
    for n in 0..150 {
        let mut poller = Poller::new(cluster.http, &format!("user_id=u{n}&channels=none"));
        poller.poll().await;
        let (request, to) = (poller.request(), cluster.http);
        let mut raw = Raw::connect(to).await;
        raw.write(&request.bytes(&to.to_string())).await;
        held.push(raw);
        if n % 30 == 29 {
            all_ports_answer(&cluster).await;
        }
    }
    let mut first = held.swap_remove(0);
    let answer = in_time("the one held longest is answered", first.response()).await.unwrap();
    assert_eq!((answer.status, &answer.json()["messages"]), (200, &json!([])));
}

#[tokio::test]
async fn sessions_that_have_ended_and_linger_give_way() {
    let cluster = cluster().workers(1).files(128).start().await;
    let mut crowd = vec![];
    for n in 0..250 {
        let path = format!("/ws?user_id=u{n}&channels=none");
        let opened = Raw::session(cluster.ws, &path);
        let mut one = promptly(Duration::from_secs(2), &format!("newcomer {n} comes in"), opened).await;
        // Not masked: the server says 1002 and waits for the client's own close, which never comes.
        one.write(&[0x81, 0x00]).await;
        crowd.push(one);
    }
    all_ports_answer(&cluster).await;
}

#[tokio::test]
async fn where_sessions_have_all_descriptors_a_newcomer_is_told_so() {
    let cluster = cluster().workers(1).files(128).config("[limits]\nsessions = 10000").start().await;
    let mut inside = vec![];
    let refusal = loop {
        let what = format!("a newcomer after {} sessions", inside.len());
        match promptly(SOON, &what, Tab::open_as(cluster.ws, &quiet("alice"))).await {
            Ok(tab) => inside.push(tab),
            Err(refusal) => break refusal,
        }
        assert!(inside.len() < 128);
    };
    assert_eq!(refusal.problem(), (503, "full".into()));
    assert!(inside.len() >= 80, "{}", inside.len());
    all_ports_answer(&cluster).await;
    let events = Listener::ask(cluster.http, "/api/v1/events?user_id=bob", "", "1.1").await;
    assert_eq!(events.status, 503, "{}", events.head);
    let page = send_to(cluster.http, &get("/api/v1/price")).await;
    assert!(matches!(page.status, 200 | 503), "{page:?}");
    for tab in &mut inside {
        let heard = tab.until_pong().await;
        assert!(
            heard.iter().all(|message| message["type"] == "welcome"),
            "who is there notices nothing: {heard:?}"
        );
    }
    drop(inside);
    eventually("there is room again", async || {
        Tab::open_as(cluster.ws, &quiet("bob")).await.map(drop).map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
}

/// Opens sessions by polls over one connection and never comes back to them.
async fn open_polls(to: SocketAddr, count: usize) -> Vec<u16> {
    let mut connection = Connection::open(to).await.unwrap();
    let mut statuses = vec![];
    for n in 0..count {
        let request = get(&format!("/api/v1/poll?user_id=flood-{n}&channels=none"));
        statuses.push(connection.ask(&request).await.status);
    }
    statuses
}

#[tokio::test]
async fn polls_that_nobody_takes_up_give_way() {
    let cluster = cluster().workers(2).config("[limits]\nsessions = 40").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    tab.until_pong().await;
    let mut taken = Poller::new(cluster.http, "user_id=carol&channels=none");
    let welcome = taken.poll().await.remove(0);
    let polls = tokio::spawn(async move {
        loop {
            taken.poll().await;
        }
    });
    assert_eq!(cluster.quote("carol").await.status, 202, "her poll is there");
    let flood = open_polls(cluster.http, 400).await;
    assert!(flood.iter().all(|status| *status == 200), "a newcomer takes the place of one that gave way");
    for user in ["bob", "dave", "erin"] {
        let newcomer = Tab::open_as(cluster.ws, &quiet(user)).await;
        assert!(newcomer.is_ok(), "{newcomer:?}");
    }
    let mut poller = Poller::new(cluster.http, "user_id=frank&channels=none");
    assert_eq!(poller.poll().await[0]["type"], "welcome");
    assert_eq!(tab.until_pong().await, [] as [Value; 0], "who was there is there");
    let listed = cluster.administer(&get("/api/v1/sessions?user_id=carol")).await.json();
    assert_eq!(listed[0]["session_id"], welcome["session_id"], "a poll that was taken up stays: {listed}");
    gave_way(&cluster, "poll", 360).await;
    polls.abort();
}

#[tokio::test]
async fn sessions_without_a_descriptor_do_not_use_up_descriptors() {
    let cluster = cluster().workers(1).files(100).start().await;
    let flood = open_polls(cluster.http, 200).await;
    assert!(flood.iter().all(|status| *status == 200), "{flood:?}");
    let newcomer = Tab::open_as(cluster.ws, &quiet("bob")).await;
    assert!(newcomer.is_ok(), "{newcomer:?}");
}

#[tokio::test]
async fn polls_have_a_bound_of_their_own() {
    let cluster = cluster().workers(2).config("[poll]\nsessions = 8\nwait = \"30s\"").start().await;
    let mut all = vec![];
    for n in 0..8 {
        let mut poller = Poller::new(cluster.http, &format!("user_id=u{n}&channels=none"));
        poller.poll().await;
        let (request, to) = (poller.request(), cluster.http);
        all.push(tokio::spawn(async move { Connection::open(to).await.unwrap().ask(&request).await }));
        assert_eq!(cluster.quote(&format!("u{n}")).await.status, 202);
    }
    let ninth = send_to(cluster.http, &get("/api/v1/poll?user_id=late&channels=none")).await;
    assert_eq!(ninth.problem(), (503, "full".into()));
    assert!(Tab::open_as(cluster.ws, &quiet("bob")).await.is_ok(), "it is no bound of other sessions");
}

#[tokio::test]
async fn a_poll_that_nobody_takes_up_lives_for_seconds_and_may_be_come_back_to() {
    let config = "[poll]\ntake_up = \"1s\"\ngap = \"1h\"";
    let cluster = cluster().workers(2).config(config).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice&channels=none");
    let first = poller.poll().await.remove(0);
    eventually("it is gone", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let again = poller.poll().await.remove(0);
    assert_eq!((&again["resumed"], &again["session_id"]), (&json!(true), &first["session_id"]));
}

#[tokio::test]
async fn a_forwarded_address_has_its_share_of_sessions_and_others_get_in() {
    let config = "[limits]\nsessions = 40\n[http]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let cluster = cluster().workers(2).config(config).start().await;
    let from = async |n: usize, address: &str| {
        let request = upgrade(&format!("/ws?user_id=u{n}&channels=none")).header("X-Forwarded-For", address);
        Tab::open_as(cluster.ws, &request).await
    };
    let mut inside = vec![];
    for n in 0..10 {
        inside.push(from(n, "198.51.100.1").await.unwrap());
    }
    let refused = from(10, "198.51.100.1").await.unwrap_err();
    assert_eq!(refused.problem(), (429, "address-session-limit".into()));
    assert!(String::from_utf8_lossy(&refused.body).contains("trusted_proxies"), "{refused:?}");
    assert!(from(11, "198.51.100.2").await.is_ok(), "another address has its own share");
    cluster.logged(&["address-session-limit", "198.51.100.1", "trusted_proxies"]).await;
}

#[tokio::test]
async fn a_local_address_beyond_its_share_gives_way_to_another() {
    let cluster = cluster().workers(1).config("[limits]\nsessions = 40").start().await;
    let from = async |n: usize, source: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((source, 0))).unwrap();
        let stream = in_time("connect", socket.connect(cluster.ws)).await.unwrap();
        Raw::of(stream).tried(cluster.ws, &quiet(&format!("u{n}"))).await
    };
    let mut crowd = vec![];
    for n in 0..40 {
        crowd.push(from(n, [127, 0, 0, 2]).await.expect("a machine's own clients may use what nobody needs"));
    }
    let same = from(40, [127, 0, 0, 2]).await.map(drop).unwrap_err();
    assert_eq!(same.problem(), (503, "full".into()));
    let mut others = vec![];
    for n in 50..60 {
        others.push(from(n, [127, 0, 0, 1]).await.unwrap_or_else(|refused| panic!("{n}: {refused:?}")));
    }
    assert!(from(60, [127, 0, 0, 1]).await.is_err(), "a quarter, and no more at the expense of others");
    assert_eq!(cluster.stats().await["totals"]["sessions"], 40);
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let cluster = cluster().workers(1).config("[limits]\nconnections_per_address = 4").start().await;
    let mut tabs = vec![];
    for n in 0..4 {
        tabs.push(Tab::open_as(cluster.ws, &quiet(&format!("u{n}"))).await.unwrap());
    }
    let refused = Tab::open_as(cluster.ws, &quiet("late")).await.unwrap_err();
    assert_eq!(refused.problem(), (429, "address-connection-limit".into()));
    let turned = send_to(cluster.http, &get("/api/v1/price")).await;
    assert_eq!((turned.status, turned.header("X-Content-Type-Options")), (429, Some("nosniff")));
    assert_eq!(turned.header("Cross-Origin-Resource-Policy"), Some("same-origin"));
    all_ports_answer(&cluster).await;
    tabs.pop();
    eventually("there is room again", async || {
        Tab::open_as(cluster.ws, &quiet("late")).await.map(drop).map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_has_as_many_connections_as_it_likes() {
    let config = "[limits]\nconnections_per_address = 4\n[http]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let cluster = cluster().workers(1).config(config).start().await;
    let idle = kept(cluster.http, 20).await;
    assert_eq!(send_to(cluster.http, &get("/api/v1/price")).await.status, 200);
    drop(idle);
}

#[tokio::test]
async fn an_idle_connection_gives_way_to_one_of_the_same_address() {
    let cluster = cluster().workers(1).config("[limits]\nconnections_per_address = 4").start().await;
    let idle = kept(cluster.http, 20).await;
    assert_eq!(send_to(cluster.http, &get("/api/v1/price")).await.status, 200);
    drop(idle);
}
