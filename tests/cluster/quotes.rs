//! The main job: a POST brings the price to all tabs of one user, and its poster a receipt that is true.

use crate::harness::{
    Connection, Raw, Tab, cluster, eventually, get, is_time, is_uuid_v7, keys, post, quiet, quote_for,
    upgrade,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_post_on_any_worker_reaches_every_tab_of_its_user_and_nobody_else() {
    let cluster = cluster().workers(3).start().await;
    let mut alice = cluster.tabs_on_all("alice", 3).await;
    let mut others = cluster.tabs_on_all("bob", 3).await;
    others.push(cluster.quiet_tab("Alice").await);
    others.push(cluster.quiet_tab("alice.").await);
    for connection in &mut cluster.connections_to_all(3).await {
        let receipt = connection.ask(&quote_for("alice")).await;
        assert_eq!(receipt.status, 202, "{receipt:?}");
        let receipt = receipt.json();
        assert_eq!(receipt["sessions"], alice.len());
        for tab in &mut alice {
            assert_eq!(tab.message().await["request_id"], receipt["request_id"]);
        }
        for tab in &mut others {
            assert_eq!(tab.until_pong().await, [] as [Value; 0], "nobody else hears of it");
        }
    }
}

#[tokio::test]
async fn a_quote_and_its_receipt_have_exactly_these_fields() {
    let cluster = cluster().start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let receipt =
        cluster.send(&post("/api/v1/quotes", r#"{"user_id":"alice","symbol":"BTC-USD","more":[1]}"#)).await;
    assert_eq!((receipt.status, receipt.header("Cache-Control")), (202, Some("no-store")));
    let (receipt, quote) = (receipt.json(), tab.message().await);
    assert_eq!(keys(&receipt), ["request_id", "sessions", "symbol", "user_id"]);
    assert!(is_uuid_v7(receipt["request_id"].as_str().unwrap()), "{receipt}");
    assert_eq!((&receipt["user_id"], &receipt["symbol"]), (&json!("alice"), &json!("BTC-USD")));
    assert_eq!(receipt["sessions"], 1);
    let expected = [
        "age_ms",
        "mock",
        "pair",
        "price",
        "received_at",
        "request_id",
        "seq",
        "source",
        "stale",
        "symbol",
        "time",
        "type",
    ];
    assert_eq!(keys(&quote), expected, "{quote}");
    assert_eq!((&quote["type"], &quote["request_id"]), (&json!("quote"), &receipt["request_id"]));
    assert_eq!((&quote["symbol"], &quote["pair"]), (&json!("BTC-USD"), &json!("BTC-USD")));
    assert_eq!((&quote["price"], &quote["source"]), (&json!("64000.00"), &json!("mock")));
    assert_eq!((&quote["time"], &quote["stale"]), (&Value::Null, &json!(false)));
    assert!(is_time(quote["received_at"].as_str().unwrap()), "{quote}");
    assert!(quote["seq"].as_u64().is_some() && quote["age_ms"].as_u64().unwrap() < 5_000, "{quote}");
}

#[tokio::test]
async fn a_quote_may_be_of_any_configured_symbol() {
    let cluster = cluster().config("[price]\nsymbols = [\"BTC-USD\", \"ETH-USD\"]").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    eventually("there is a price of ETH-USD", async || {
        let receipt =
            cluster.send(&post("/api/v1/quotes", r#"{"user_id":"alice","symbol":"ETH-USD"}"#)).await;
        if receipt.status == 202 { Ok(()) } else { Err(format!("{receipt:?}")) }
    })
    .await;
    assert_eq!(tab.quote().await["symbol"], "ETH-USD");
    let price = cluster.get("/api/v1/price?symbol=ETH-USD").await.json();
    assert_eq!(price["symbol"], "ETH-USD");
}

#[tokio::test]
async fn an_echo_session_takes_no_quotes() {
    let cluster = cluster().start().await;
    let _echo = cluster.open("/echo?user_id=alice").await.unwrap();
    assert_eq!(cluster.quote("alice").await.problem(), (404, "user-not-connected".into()));
    let mut tab = cluster.quiet_tab("alice").await;
    assert_eq!(cluster.quote("alice").await.json()["sessions"], 1, "only the session on /ws counts");
    tab.quote().await;
}

#[tokio::test]
async fn a_user_who_has_never_come_or_has_left_is_not_connected() {
    let cluster = cluster().start().await;
    assert_eq!(cluster.quote("alice").await.problem(), (404, "user-not-connected".into()));
    let (first, second) = (cluster.quiet_tab("alice").await, cluster.quiet_tab("alice").await);
    assert_eq!(cluster.quote("alice").await.json()["sessions"], 2);
    first.leave().await;
    eventually("one session is left", async || match cluster.quote("alice").await {
        receipt if receipt.status == 202 && receipt.json()["sessions"] == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    drop(second);
    eventually("nobody is left", async || match cluster.quote("alice").await {
        answer if answer.status == 404 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_post_right_after_the_101_finds_the_user_each_of_300_times() {
    let cluster = cluster().workers(3).start().await;
    let mut posters = cluster.connections_to_all(3).await;
    for round in 0..300 {
        let user = format!("newcomer-{round}");
        let mut session = Connection::open(cluster.ws).await.unwrap();
        // Reading stops at the end of the 101: nothing that the server says later is waited for.
        assert_eq!(session.ask(&quiet(&user)).await.status, 101);
        let receipt = posters[round % 3].ask(&quote_for(&user)).await;
        assert_eq!(receipt.status, 202, "round {round}: {receipt:?}");
        let mut session = Raw::after(session);
        assert_eq!(session.next().await.unwrap().json()["type"], "welcome");
        assert_eq!(session.next().await.unwrap().json()["request_id"], receipt.json()["request_id"]);
    }
}

#[tokio::test]
async fn the_late_end_of_an_old_session_takes_nothing_from_the_new_one() {
    let cluster = cluster().workers(3).config("[limits]\nquotes_per_user = \"0\"").start().await;
    let mut old = cluster.quiet_tab("alice").await;
    for round in 0..100 {
        let new = cluster.quiet_tab("alice").await;
        drop(std::mem::replace(&mut old, new));
        let receipt = cluster.quote("alice").await;
        assert_eq!(receipt.status, 202, "round {round}: {receipt:?}");
        assert_eq!(old.quote().await["request_id"], receipt.json()["request_id"], "round {round}");
    }
}

#[tokio::test]
async fn many_posts_over_one_connection_are_answered_in_order() {
    let cluster = cluster().config("[limits]\nquotes_per_user = \"0\"").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let mut raw = Raw::connect(cluster.http).await;
    let request = quote_for("alice").bytes(&cluster.http.to_string());
    raw.write(&request.repeat(20)).await;
    for _ in 0..20 {
        let receipt = raw.response().await.unwrap();
        assert_eq!(receipt.status, 202, "{receipt:?}");
        assert_eq!(tab.quote().await["request_id"], receipt.json()["request_id"]);
    }
}

#[tokio::test]
async fn the_limit_of_quotes_is_one_for_the_whole_cluster() {
    let cluster = cluster().workers(3).config("[limits]\nquotes_per_user = \"5/m\"").start().await;
    let mut alice = cluster.quiet_tab("alice").await;
    let _bob = cluster.quiet_tab("bob").await;
    let mut posters = cluster.connections_to_all(3).await;
    for round in 0..5 {
        assert_eq!(posters[round % 3].ask(&quote_for("alice")).await.status, 202, "round {round}");
        alice.quote().await;
    }
    for poster in &mut posters {
        let refused = poster.ask(&quote_for("alice")).await;
        assert_eq!(refused.problem(), (429, "rate-limited".into()));
        let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=12).contains(&seconds), "one of five a minute comes after 12 s: {seconds}");
        assert_eq!(poster.ask(&quote_for("bob")).await.status, 202, "another user is another matter");
    }
    assert_eq!(alice.until_pong().await, [] as [Value; 0], "what is refused is not delivered");
}

#[tokio::test]
async fn a_poster_has_a_limit_of_its_own_which_counts_against_no_user() {
    let limits = "[limits]\nquotes_per_user = \"5/m\"\nquotes_per_poster = \"5/m\"\n[http]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let cluster = cluster().workers(3).config(limits).start().await;
    let mut alice = cluster.quiet_tab("alice").await;
    let mut posters = cluster.connections_to_all(3).await;
    let from = |user, address| quote_for(user).header("X-Forwarded-For", address);
    for round in 0..5 {
        assert_eq!(posters[round % 3].ask(&from("nobody", "192.0.2.1")).await.status, 404, "round {round}");
    }
    for poster in &mut posters {
        let refused = poster.ask(&from("alice", "192.0.2.1")).await;
        assert_eq!(refused.problem(), (429, "poster-rate-limited".into()));
        let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=12).contains(&seconds), "one of five a minute comes after 12 s: {seconds}");
    }
    for round in 0..4 {
        assert_eq!(posters[round % 3].ask(&from("alice", "2001:db8::1")).await.status, 202, "round {round}");
        alice.quote().await;
    }
    assert_eq!(posters[0].ask(&from("alice", "2001:db8::2")).await.status, 202);
    let spent = posters[1].ask(&from("nobody", "2001:db8::3")).await;
    assert_eq!(spent.problem(), (429, "poster-rate-limited".into()), "IPv6 by its network");
    let spent = posters[2].ask(&from("alice", "192.0.2.2")).await;
    assert_eq!(spent.problem(), (429, "rate-limited".into()), "refused ones have used up nothing");
}

#[tokio::test]
async fn a_limited_user_is_served_again_after_the_wait() {
    let cluster = cluster().config("[limits]\nquotes_per_user = \"2/s\"").start().await;
    let _tab = cluster.quiet_tab("alice").await;
    eventually("the limit is met", async || match cluster.quote("alice").await.status {
        429 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    eventually("the limit is over", async || match cluster.quote("alice").await.status {
        202 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
}

#[tokio::test]
async fn without_a_price_a_connected_user_is_503_and_another_404() {
    let cluster = cluster()
        .config("[provider.mock]\nscript = \"{dir}/script\"")
        .file("script", "silent")
        .without_price()
        .start()
        .await;
    let mut tab = cluster.quiet_tab("alice").await;
    assert_eq!(tab.welcome["price"], Value::Null);
    assert_eq!(cluster.quote("alice").await.problem(), (503, "price-unavailable".into()));
    assert_eq!(cluster.quote("bob").await.problem(), (404, "user-not-connected".into()));
    assert_eq!(cluster.get("/api/v1/price").await.problem(), (503, "price-unavailable".into()));
    assert_eq!(tab.ask(&json!({"type": "quote", "id": 1}), "error").await["code"], "price-unavailable");
    assert_eq!(cluster.stats().await["price"], Value::Null);
    let ready = cluster.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.text().contains("price-unavailable") && ready.header("Retry-After").is_some(), "{ready:?}");
    assert_eq!(cluster.get("/healthz").await.status, 200, "the worker lives all the same");
}

#[tokio::test]
async fn quotes_go_over_both_ports_and_both_kinds_of_session() {
    let cluster = cluster().start().await;
    let mut on_ws = cluster.quiet_tab("alice").await;
    let mut on_http = Tab::open_as(cluster.http, &upgrade("/ws?user_id=alice&channels=none")).await.unwrap();
    on_http = on_http.greeted().await;
    let receipt = cluster.quote("alice").await.json();
    assert_eq!(receipt["sessions"], 2);
    for tab in [&mut on_ws, &mut on_http] {
        assert_eq!(tab.quote().await["request_id"], receipt["request_id"]);
    }
    assert_eq!(cluster.get("/api/v1/price").await.json()["price"], "64000.00");
    let mut kept = Connection::open(cluster.http).await.unwrap();
    assert_eq!(kept.ask(&get("/api/v1/price")).await.status, kept.ask(&get("/healthz")).await.status);
}
