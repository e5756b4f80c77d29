//! Real proxies and the real judge of metrics: nginx as docs/operations.md advises, `HAProxy`, promtool. What happens to
//! a server that a proxy believes to be ill is the proxy's business, and cannot be seen without one.

use crate::harness::{
    Cluster, Connection, Proxy, Raw, Request, cluster, eventually, get, is_gone, post, promised, quote_for,
    which, within,
};
use rustix::process::Signal;
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const TWO_ADDRESSES: &str = "[http]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\"]";

async fn on_two_addresses() -> (Cluster, [SocketAddr; 2]) {
    let cluster = cluster().config(TWO_ADDRESSES).start().await;
    let mut other = cluster.http;
    other.set_ip([127, 0, 0, 2].into());
    let both = [cluster.http, other];
    (cluster, both)
}

/// A quote whose body is larger than `http.max_body`.
fn too_large(size: usize) -> Request {
    post("/api/v1/quotes", json!({ "user_id": "a".repeat(size) }).to_string())
}

/// Two large requests again and again, and what others get meanwhile.
async fn others_beside_large_requests(proxy: &Proxy, size: usize) -> (Vec<u16>, Vec<u16>) {
    let (mut large, mut others) = (vec![], vec![]);
    for _ in 0..8 {
        for _ in 0..2 {
            large.push(proxy.send(&too_large(size)).await.status);
        }
        for _ in 0..6 {
            others.push(proxy.send(&get("/api/v1/price")).await.status);
        }
    }
    (large, others)
}

#[tokio::test]
async fn a_refused_body_does_not_make_nginx_give_up_the_server() {
    let test = "a_refused_body_does_not_make_nginx_give_up_the_server";
    let Some(nginx) = which("nginx", test) else { return };
    let (_cluster, upstreams) = on_two_addresses().await;
    let proxy = Proxy::nginx(nginx, &upstreams).await;
    let (large, others) = others_beside_large_requests(&proxy, 20_000).await;
    assert_eq!(others, [200; 48]);
    assert_eq!(large, [413; 16]);
}

#[tokio::test]
async fn a_refused_body_does_not_make_haproxy_give_up_the_server() {
    let test = "a_refused_body_does_not_make_haproxy_give_up_the_server";
    let Some(haproxy) = which("haproxy", test) else { return };
    let (_cluster, [one, two]) = on_two_addresses().await;
    let check = "check observe layer7 error-limit 1 on-error mark-down inter 10s";
    let backend = format!("  http-reuse always\n  server a {one} {check}\n  server b {two} {check}");
    let proxy = Proxy::haproxy(haproxy, &backend).await;
    let (large, others) = others_beside_large_requests(&proxy, 1_000_000).await;
    assert_eq!(others, [200; 48]);
    assert_eq!(large, [413; 16]);
}

/// `HAProxy` asks HTTP/1.0 without a host.
#[tokio::test]
async fn haproxy_finds_the_cluster_ready_whatever_hosts_it_serves() {
    let test = "haproxy_finds_the_cluster_ready_whatever_hosts_it_serves";
    let Some(haproxy) = which("haproxy", test) else { return };
    let cluster = cluster().config("[http]\nhosts = [\"price.example.com\"]").start();
    let cluster = cluster.await;
    let backend = format!(
        "  option httpchk GET /readyz\n  timeout check 10s\n  default-server check inter 100ms rise 1 fall 1\n  server a {}",
        cluster.http
    );
    let proxy = Proxy::haproxy(haproxy, &backend).await;
    let request = get("/api/v1/price").header("Host", "price.example.com");
    eventually("the server is up", async || {
        let answer = proxy.send(&request).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // The first state of a checked server is up: it must stay so.
    for _ in 0..20 {
        assert_eq!(proxy.send(&request).await.status, 200);
        sleep(Duration::from_millis(30)).await;
    }
}

/// What clients have done so far, and whether it is enough.
#[derive(Default)]
struct Load {
    answers: AtomicUsize,
    enough: AtomicBool,
}

/// Clients in bursts, so that the proxy keeps connections that it does not use for moments. The answers that were no
/// 404.
async fn clients(proxy: SocketAddr, load: Arc<Load>) -> Vec<String> {
    let mut all = JoinSet::new();
    for place in 0..24_u64 {
        let load = load.clone();
        all.spawn(async move {
            let (mut answers, mut kept) = (vec![], None);
            for round in place.. {
                for _ in 0..=round % 8 {
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => Connection::open(proxy).await.unwrap(),
                    };
                    let answer = connection.send(&quote_for("nobody")).await;
                    load.answers.fetch_add(1, Ordering::Relaxed);
                    match &answer {
                        Ok(answer) if answer.status == 404 => {}
                        Ok(answer) => answers.push(format!("{} {}", answer.status, answer.text())),
                        Err(error) => answers.push(format!("the proxy hung up: {error}")),
                    }
                    // A proxy ends a client's connection after a thousand requests.
                    kept = answer.is_ok_and(|answer| !answer.is_last()).then_some(connection);
                }
                if load.enough.load(Ordering::Relaxed) {
                    break;
                }
                sleep(Duration::from_millis(place % 4 * (round * 37 % 150))).await;
            }
            answers
        });
    }
    all.join_all().await.into_iter().flatten().collect()
}

async fn replaced_under_load(cluster: &Cluster, proxy: &Proxy) {
    let load = Arc::new(Load::default());
    let clients = tokio::spawn(clients(proxy.address, load.clone()));
    // At least five times, and until there were enough requests meanwhile.
    for round in 1.. {
        let before: Vec<_> = cluster.workers().await.iter().map(|worker| worker.pid).collect();
        cluster.signal(Signal::USR2);
        eventually("all workers are new", async || {
            let now = cluster.try_workers().await?;
            let new = now.iter().all(|w| w.state == "ready" && !before.contains(&w.pid));
            let gone = before.iter().flatten().all(|pid| is_gone(*pid));
            if new && gone { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        if round >= 5 && load.answers.load(Ordering::Relaxed) >= 1_000 {
            break;
        }
    }
    load.enough.store(true, Ordering::Relaxed);
    let bad = clients.await.unwrap();
    let all = load.answers.load(Ordering::Relaxed);
    assert!(bad.is_empty(), "{} of {all}: {bad:?}\n{}", bad.len(), cluster.log());
}

#[tokio::test]
async fn nginx_keeps_connections_while_workers_are_replaced() {
    let Some(nginx) = which("nginx", "nginx_keeps_connections_while_workers_are_replaced") else { return };
    let cluster = cluster().config("[limits]\nquotes_per_user = \"0\"").start().await;
    let proxy = Proxy::nginx(nginx, &[cluster.http]).await;
    replaced_under_load(&cluster, &proxy).await;
}

#[tokio::test]
async fn haproxy_keeps_connections_while_workers_are_replaced() {
    let Some(haproxy) = which("haproxy", "haproxy_keeps_connections_while_workers_are_replaced") else {
        return;
    };
    let cluster = cluster().config("[limits]\nquotes_per_user = \"0\"").start().await;
    let backend = format!("  http-reuse always\n  server a {}", cluster.http);
    let proxy = Proxy::haproxy(haproxy, &backend).await;
    replaced_under_load(&cluster, &proxy).await;
}

#[tokio::test]
async fn promtool_has_no_complaint() {
    let Some(promtool) = which("promtool", "promtool_has_no_complaint") else { return };
    let cluster = cluster().start().await;
    cluster.quote("nobody").await;
    let answer = cluster.administer(&get("/metrics")).await;
    assert_eq!(answer.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut judge = Command::new(promtool);
    judge.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut judge = judge.spawn().unwrap();
    judge.stdin.take().unwrap().write_all(&answer.body).unwrap();
    let said = judge.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert_eq!((said.status.code(), text.as_str()), (Some(0), ""), "{}", answer.text());
}

/// nginx closes its connection to the server when its client goes; a client that has said all does less.
#[tokio::test]
async fn clients_that_go_behind_nginx_are_missed_at_once() {
    let Some(nginx) = which("nginx", "clients_that_go_behind_nginx_are_missed_at_once") else { return };
    let cluster = cluster().start().await;
    let proxy = Proxy::nginx(nginx, &[cluster.http]).await;
    let mut listener = Raw::connect(proxy.address).await;
    listener.write(&get("/api/v1/events?user_id=alice&channels=none").bytes("localhost")).await;
    eventually("the listener is greeted", async || {
        let (_, text) = listener.more().await;
        if text.contains("event: welcome") { Ok(()) } else { Err(text) }
    })
    .await;
    let first = proxy.send(&get("/api/v1/poll?user_id=bob&channels=none")).await.json();
    let path = format!("/api/v1/poll?user_id=bob&cursor={}", first["cursor"].as_str().unwrap());
    let mut poller = Raw::connect(proxy.address).await;
    poller.write(&get(&path).bytes("localhost")).await;
    for user in ["alice", "bob"] {
        eventually("it is reached", async || match cluster.quote(user).await.status {
            202 => Ok(()),
            other => Err(format!("{user}: {other}")),
        })
        .await;
    }
    drop((listener, poller));
    let gone = async || match cluster.quote("alice").await.status {
        404 => Ok(()),
        other => Err(other.to_string()),
    };
    within(promised(Duration::from_secs(3)), "the listener is gone", gone).await;
}
