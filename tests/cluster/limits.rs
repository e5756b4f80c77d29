//! How many sessions there may be: counted once for the whole cluster.

use crate::harness::{Cluster, Connection, Response, Tab, cluster, eventually, get, quiet, send_to, upgrade};
use futures_util::future::join_all;

async fn knock(cluster: &Cluster, user: &str) -> Result<Tab, Response> {
    Tab::open_as(cluster.ws, &quiet(user)).await
}

#[tokio::test]
async fn a_user_has_so_many_sessions_on_all_workers_together() {
    let cluster = cluster().workers(3).config("[limits]\nsessions_per_user = 3").start().await;
    let tries = join_all((0..20).map(|_| knock(&cluster, "alice"))).await;
    let (mut inside, outside): (Vec<_>, Vec<_>) = tries.into_iter().partition(Result::is_ok);
    assert_eq!((inside.len(), outside.len()), (3, 17), "of 20 that came at once");
    for refused in outside {
        assert_eq!(refused.unwrap_err().problem(), (429, "user-session-limit".into()));
    }
    assert!(knock(&cluster, "bob").await.is_ok(), "another user is another matter");
    let leaving = inside.pop().unwrap().unwrap();
    assert_eq!(knock(&cluster, "alice").await.unwrap_err().status, 429);
    drop(leaving);
    let _new = eventually("there is room again", async || {
        knock(&cluster, "alice").await.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    assert_eq!(
        cluster.quote("alice").await.json()["sessions"],
        3,
        "those that were refused left nothing behind"
    );
}

#[tokio::test]
async fn an_address_has_so_many_sessions() {
    let cluster = cluster().workers(3).config("[limits]\nsessions_per_address = 4").start().await;
    let paths = ["/ws?user_id=a", "/ws?user_id=b", "/echo"].repeat(4);
    let tries = join_all(paths.iter().map(|path| Tab::open(cluster.ws, path))).await;
    let (inside, outside): (Vec<_>, Vec<_>) = tries.into_iter().partition(Result::is_ok);
    assert_eq!((inside.len(), outside.len()), (4, 8));
    for refused in outside {
        assert_eq!(refused.unwrap_err().problem(), (429, "address-session-limit".into()));
    }
}

#[tokio::test]
async fn an_address_may_come_so_often_and_ask_as_often_as_it_likes() {
    let cluster = cluster().workers(2).config("[limits]\nconnects_per_address = \"5/h\"").start().await;
    for path in ["/healthz", "/api/v1/price", "/ws?user_id=alice"].repeat(5) {
        send_to(cluster.http, &get(path)).await;
    }
    for round in 0..5 {
        let tab = knock(&cluster, "alice").await;
        assert!(tab.is_ok(), "REST and plain questions are not counted; round {round}: {tab:?}");
    }
    let refused = knock(&cluster, "alice").await.unwrap_err();
    assert_eq!(refused.problem(), (429, "address-connect-rate".into()));
    let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((60..=720).contains(&seconds), "one of five an hour comes after 12 minutes: {seconds}");
    assert_eq!(cluster.get("/api/v1/price").await.status, 200);
}

#[tokio::test]
async fn a_full_cluster_says_so() {
    let cluster = cluster().workers(2).config("[limits]\nsessions = 3").start().await;
    let mut inside = vec![];
    for user in ["a", "b", "c"] {
        inside.push(knock(&cluster, user).await.unwrap());
    }
    assert_eq!(knock(&cluster, "d").await.unwrap_err().problem(), (503, "full".into()));
    let plain = send_to(cluster.http, &get("/ws?user_id=d")).await;
    assert_eq!(plain.problem(), (503, "full".into()), "the page asks why, and is told");
    assert_eq!(cluster.quote("a").await.status, 202, "those inside are served");
    inside.pop();
    eventually("there is room again", async || {
        knock(&cluster, "d").await.map(drop).map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_address_is_the_one_that_a_trusted_proxy_tells() {
    let limits = "[limits]\nsessions_per_address = 1\n[http]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let cluster = cluster().workers(2).config(limits).start().await;
    let from =
        async |chain: &str| Tab::open_as(cluster.ws, &quiet("alice").header("X-Forwarded-For", chain)).await;
    let _one = from("192.0.2.1").await.unwrap();
    assert_eq!(from("192.0.2.1").await.unwrap_err().status, 429);
    assert_eq!(
        from("203.0.113.9, 192.0.2.1, 127.0.0.9").await.unwrap_err().status,
        429,
        "the last untrusted one"
    );
    assert_eq!(from("::ffff:192.0.2.1").await.unwrap_err().status, 429, "IPv4 all the same");
    let _two = from("192.0.2.1, 192.0.2.2").await.unwrap();
    let _six = from("2001:db8:0:1::1").await.unwrap();
    assert_eq!(from("2001:db8:0:1:ffff::2").await.unwrap_err().status, 429, "one network of IPv6");
    let _seven = from("2001:db8:0:2::1").await.unwrap();
}

#[tokio::test]
async fn the_address_may_come_by_the_header_of_the_standard_alone() {
    let limits = "[limits]\nsessions_per_address = 1\n[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\nforwarded_header = \"forwarded\"";
    let cluster = cluster().workers(2).config(limits).start().await;
    let from = async |told: &str| {
        let pretended = quiet("alice").header("X-Forwarded-For", "203.0.113.77");
        Tab::open_as(cluster.ws, &pretended.header("Forwarded", told)).await
    };
    let _one = from("for=192.0.2.1;proto=https").await.unwrap();
    assert_eq!(from("for=203.0.113.9, for=\"192.0.2.1:4711\", for=127.0.0.9").await.unwrap_err().status, 429);
    let _two = from("for=192.0.2.1, for=192.0.2.2").await.unwrap();
    let _six = from("for=\"[2001:db8:0:1::1]\"").await.unwrap();
    assert_eq!(from("for=\"[2001:db8:0:1:ffff::2]:443\"").await.unwrap_err().status, 429);
    let _own = from("for=unknown").await.unwrap();
    assert_eq!(from("for=6.6.6.6, for=_hidden").await.unwrap_err().status, 429, "the proxy's own");
}

#[tokio::test]
async fn an_untrusted_client_cannot_choose_its_address() {
    let cluster = cluster().workers(2).config("[limits]\nsessions_per_address = 1").start().await;
    let _one = knock(&cluster, "alice").await.unwrap();
    let pretending = upgrade("/ws?user_id=bob").header("X-Forwarded-For", "192.0.2.7");
    assert_eq!(Tab::open_as(cluster.ws, &pretending).await.unwrap_err().status, 429);
}

#[tokio::test]
async fn a_client_that_gives_up_during_its_handshake_leaves_nothing_behind() {
    let cluster = cluster().workers(2).config("[limits]\nsessions_per_user = 1").start().await;
    for _ in 0..50 {
        let mut raw = crate::harness::Raw::connect(cluster.ws).await;
        raw.write(&quiet("alice").bytes(&cluster.ws.to_string())).await;
        drop(raw);
    }
    eventually("they are all forgotten", async || {
        let stats = cluster.stats().await;
        if stats["totals"]["sessions"] == 0 { Ok(()) } else { Err(stats["totals"].to_string()) }
    })
    .await;
    // One whose bytes came late may have been a session for a moment: half a good-bye is none.
    eventually("there is room for her", async || {
        knock(&cluster, "alice").await.map(drop).map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    drop(Connection::open(cluster.ws).await);
}
