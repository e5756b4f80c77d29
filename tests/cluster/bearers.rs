//! Who counts as what by what a request carries: cookies of other pages, clients without a name, streams of files.

use crate::harness::{Cluster, Request, Tab, cluster, get, send_to, upgrade};
use crate::tokens::{bearing, tab, token, with_tokens};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write as _;

#[tokio::test]
async fn a_cookie_counts_for_pages_of_the_own_origin_only() {
    let listed = "https://app.example.com";
    let cluster =
        with_tokens(&format!("[http]\nallowed_origins = [\"{listed}\"]\n")).workers(1).start().await;
    let token = token(&cluster, &["--user", "ann"]).await;
    let with_cookie = |request: Request| request.header("Cookie", &format!("token={token}"));
    let (own, other_port) = (format!("http://{}", cluster.http), format!("http://{}", cluster.ws));
    for (origin, status) in [(None, 200), (Some(&*own), 200), (Some(&*other_port), 401), (Some(listed), 401)]
    {
        let from = |request: Request| match origin {
            None => request,
            Some(origin) => request.header("Origin", origin),
        };
        let answer = cluster.send(&with_cookie(from(get("/api/v1/price")))).await;
        assert_eq!(answer.status, status, "{origin:?}: {answer:?}");
        let answer = send_to(cluster.http, &with_cookie(from(upgrade("/ws")))).await;
        let expected = if status == 200 { 101 } else { status };
        assert_eq!(answer.status, expected, "/ws of {origin:?}: {answer:?}");
        // A token that the page sends itself is good everywhere.
        let answer = cluster.send(&bearing(from(get("/api/v1/price")), &token)).await;
        assert_eq!(answer.status, 200, "{origin:?}: {answer:?}");
    }
    let same_site = with_cookie(get("/api/v1/price")).header("Sec-Fetch-Site", "same-site");
    assert_eq!(cluster.send(&same_site).await.problem(), (401, "token-missing".into()));
    // What a proxy without the port in `Host` passes on.
    let proxied = with_cookie(get("/api/v1/price"))
        .header("Host", "localhost")
        .header("Origin", "https://localhost:8443");
    assert_eq!(cluster.send(&proxied).await.problem(), (401, "token-missing".into()));
    assert_eq!(cluster.send(&proxied.header("Sec-Fetch-Site", "same-origin")).await.status, 200);
}

#[tokio::test]
async fn an_answer_for_want_of_a_token_says_how_to_bring_one() {
    let cluster = with_tokens("").workers(1).start().await;
    for (request, parts) in [
        (get("/api/v1/price"), &[][..]),
        (bearing(get("/api/v1/price"), "x.y.z"), &["error=\"invalid_token\""]),
        (bearing(upgrade("/ws"), "x.y.z"), &["error=\"invalid_token\""]),
    ] {
        let answer = cluster.send(&request).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let challenge = answer.header("WWW-Authenticate").expect("WWW-Authenticate");
        assert!(challenge.starts_with("Bearer realm=\""), "{challenge}");
        assert_eq!(challenge.contains("error="), !parts.is_empty(), "{challenge}");
        assert!(parts.iter().all(|part| challenge.contains(part)), "{challenge}");
    }
}

#[tokio::test]
async fn a_refused_token_over_a_session_is_logged() {
    let cluster = with_tokens("").workers(1).start().await;
    let good = token(&cluster, &["--user", "ann"]).await;
    let mut tab = tab(&cluster, &good, "channels=none").await;
    tab.ask(&json!({ "type": "auth", "token": "x.y.z", "id": 1 }), "error").await;
    cluster.logged(&["token-refused", "token-invalid", "encoding"]).await;
}

async fn on(cluster: &Cluster, path: &str) -> Tab {
    cluster.open(path).await.unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"))
}

#[tokio::test]
async fn strangers_of_one_address_end_no_streams_of_each_other() {
    let cluster = cluster().workers(1).start().await;
    let mut tabs = vec![];
    for _ in 0..3 {
        tabs.push(on(&cluster, "/stream1?device=tv").await);
    }
    for path in ["/stream1?takeover=1", "/stream1?user_id=127.0.0.1&takeover=1"] {
        let asked = send_to(cluster.http, &get(path)).await;
        assert_eq!(asked.problem(), (429, "user-stream-limit".into()), "{path}");
        let refused = cluster.open(path).await.unwrap_err();
        assert_eq!(refused.problem(), (429, "user-stream-limit".into()), "{path}");
    }
    for tab in &mut tabs {
        tab.next("price").await;
    }
}

#[tokio::test]
async fn addresses_are_shown_to_nobody() {
    let open = cluster().workers(1).start().await;
    let (_stream, _ann) = (on(&open, "/stream1").await, on(&open, "/stream1?user_id=ann").await);
    let stats = open.stats().await;
    assert_eq!(stats["totals"]["users"], 2, "{stats}");
    assert_eq!((users(&stats), &stats["users_truncated"]), (vec!["ann"], &json!(1)), "{stats}");

    let asks = with_tokens("anonymous = [\"price\", \"stats\", \"presence\"]").workers(1).start().await;
    let mut nobody = on(&asks, "/ws?channels=presence").await.greeted().await;
    let _stream = on(&asks, "/stream1").await;
    let mut presence = nobody.next("presence").await;
    while presence["sessions"] != 2 {
        presence = nobody.next("presence").await;
    }
    assert_eq!(presence["users_total"], 1, "one user at an address: {presence}");
    let stats = asks.stats().await;
    assert!(users(&stats).is_empty() && !stats.to_string().contains("127.0.0.1"), "{stats}");
    assert!(!presence.to_string().contains("127.0.0.1"), "{presence}");
    // Nobody else can be such a user.
    let signed = token(&asks, &["--user", "anonymous:127.0.0.1"]).await;
    let refused = asks.send(&bearing(get("/api/v1/price"), &signed)).await;
    assert_eq!(refused.problem(), (401, "token-invalid".into()));
}

fn users(stats: &Value) -> Vec<&str> {
    let users = stats["users"].as_array().expect("users");
    users.iter().map(|user| user["user_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_name_of_a_stream_of_a_file_makes_it_free_to_nobody() {
    let cluster = with_tokens("anonymous = [\"price\", \"stats\", \"message\"]")
        .file("app.log", "secret\n")
        .file(
            "conf.d/60-streams.toml",
            "[[streams]]\nname = \"price\"\nfile = \"{dir}/app.log\"\n\
             [[streams]]\nname = \"lines\"\nfile = \"{dir}/app.log\"\n\
             [[streams]]\nname = \"free\"\nchannel = \"price:BTC-USD\"\n",
        )
        .workers(1)
        .start()
        .await;
    for path in ["/price", "/lines"] {
        let refused = cluster.open(path).await.unwrap_err();
        assert_eq!(refused.problem(), (401, "token-missing".into()), "{path}");
    }
    let mut free = on(&cluster, "/free").await;
    free.next("price").await;
    let narrow = token(&cluster, &["--user", "ann", "--subscribe", "lines"]).await;
    let refused = Tab::open_as(cluster.ws, &bearing(upgrade("/price"), &narrow)).await.unwrap_err();
    assert_eq!(refused.problem(), (403, "forbidden".into()));
    let mut lines = Tab::open_as(cluster.ws, &bearing(upgrade("/lines"), &narrow)).await.unwrap();
    assert_eq!(lines.text().await, "secret");
    // A reload that takes rights away leaves it where it is.
    cluster.write("conf.d/70-less.toml", "[auth]\nanonymous = [\"stats\"]\n");
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
    assert_eq!(free.closed().await, (4001, "token-invalid".into()));
    let log = OpenOptions::new().append(true).open(cluster.folder().join("app.log"));
    log.unwrap().write_all(b"more\n").unwrap();
    assert_eq!(lines.text().await, "more");
}
