//! Users of `wss` and `https`, whose TLS a proxy ends: the daemon's side is plain TCP, so their sessions live through a
//! replacement of all workers like any other.

use crate::harness::{
    Cluster, Proxy, SecureListener, Wss, cluster, eventually, is_gone, post, quote_for, which,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const NEWS: &str = "[[channels]]\nname = \"news\"\n[limits]\nquotes_per_user = \"0\"";

async fn publish(cluster: &Cluster, number: u32) {
    let request = post("/api/v1/channels/news/messages", json!({ "data": { "n": number } }).to_string());
    let answer = cluster.administer(&request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// All workers are replaced, while messages are published.
async fn replace(cluster: &Cluster, numbers: &mut u32) {
    let before: Vec<u32> = cluster.workers().await.iter().filter_map(|worker| worker.pid).collect();
    cluster.signal(Signal::USR2);
    eventually("all workers are new", async || {
        *numbers += 1;
        publish(cluster, *numbers).await;
        let gone = before.iter().all(|pid| is_gone(*pid));
        let now = cluster.try_workers().await?;
        if gone && now.iter().all(|worker| worker.state == "ready") {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

/// Sessions through the proxy keep their connection and hear everything once, in order.
async fn sessions_survive(cluster: &Cluster, proxy: &Proxy) {
    let mut tabs = vec![];
    for user in 0..12 {
        tabs.push(Wss::open(proxy.address, &format!("user_id=wss-{user}&channels=news")).await);
    }
    let mut listeners = vec![];
    for user in 0..4 {
        listeners
            .push(SecureListener::open(proxy.address, &format!("user_id=sse-{user}&channels=news")).await);
    }
    let mut published = 0;
    for _ in 0..2 {
        replace(cluster, &mut published).await;
    }
    for (user, tab) in tabs.iter_mut().enumerate() {
        assert_eq!(cluster.send(&quote_for(&format!("wss-{user}"))).await.status, 202);
        let heard = tab.until_pong().await;
        let of = |kind: &str| heard.iter().filter(|message| message["type"] == kind).collect::<Vec<&Value>>();
        let numbers: Vec<u64> = of("message").iter().filter_map(|news| news["data"]["n"].as_u64()).collect();
        assert_eq!(numbers, (1..=u64::from(published)).collect::<Vec<_>>(), "wss-{user}");
        assert_eq!(of("quote").len(), 1, "wss-{user}");
    }
    for (user, listener) in listeners.iter_mut().enumerate() {
        assert_eq!(cluster.send(&quote_for(&format!("sse-{user}"))).await.status, 202);
        let text = listener.until("event: quote").await;
        let numbers: Vec<u32> = text
            .split("\"data\":{\"n\":")
            .skip(1)
            .filter_map(|rest| rest.split('}').next()?.parse().ok())
            .collect();
        assert_eq!(numbers, (1..=published).collect::<Vec<_>>(), "sse-{user}");
    }
}

#[tokio::test]
async fn behind_nginx_sessions_survive_a_replacement_of_all_workers() {
    let test = "behind_nginx_sessions_survive_a_replacement_of_all_workers";
    let Some(nginx) = which("nginx", test) else { return };
    let cluster = cluster().config(NEWS).start().await;
    let proxy = Proxy::secure_nginx(nginx, cluster.http).await;
    sessions_survive(&cluster, &proxy).await;
}

#[tokio::test]
async fn behind_haproxy_sessions_survive_a_replacement_of_all_workers() {
    let test = "behind_haproxy_sessions_survive_a_replacement_of_all_workers";
    let Some(haproxy) = which("haproxy", test) else { return };
    let cluster = cluster().config(NEWS).start().await;
    let proxy = Proxy::secure_haproxy(haproxy, cluster.http).await;
    sessions_survive(&cluster, &proxy).await;
}

#[tokio::test]
async fn behind_caddy_sessions_survive_a_replacement_of_all_workers() {
    let test = "behind_caddy_sessions_survive_a_replacement_of_all_workers";
    let Some(caddy) = which("caddy", test) else { return };
    let cluster = cluster().config(NEWS).start().await;
    let proxy = Proxy::secure_caddy(caddy, cluster.http).await;
    sessions_survive(&cluster, &proxy).await;
}
