//! What all clients share, the kernel's memory and the daemon's: one client may fill its part, and no more.

use crate::harness::{Cluster, Raw, cluster, eventually, get, kernel_holds, kill, post, promised, within};
use rustix::process::Signal;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that the kernel may hold of one connection to a client that does not read: `ws.send_buffer` and what Linux
/// adds.
const HELD: u64 = 256 << 10;

const NEWS: &str = "[limits]\nmessages_per_session = \"0\"\n[[channels]]\nname = \"news\"\n";

/// Publishes 4 MB on the channel `news`, in messages that fit into one queue.
async fn publish_much(cluster: &Cluster) {
    let text = json!({"data": "x".repeat(15_000)}).to_string();
    for _ in 0..280 {
        let sent = cluster.administer(&post("/api/v1/channels/news/messages", &text)).await;
        assert_eq!(sent.status, 202, "{sent:?}");
    }
}

/// The most that the kernel holds of a connection while something happens.
async fn most_held(at: (SocketAddr, SocketAddr), what: impl Future<Output = ()>) -> u64 {
    let mut most = 0;
    let look = async {
        loop {
            most = most.max(kernel_holds(at.0, at.1).map_or(0, |(send, _)| send));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! { () = look => {}, () = what => {} }
    most
}

#[tokio::test]
async fn the_kernel_holds_little_for_a_session_that_does_not_read() {
    let cluster = cluster().workers(1).config(NEWS).start().await;
    let deaf = Raw::narrow(cluster.ws, "/ws?user_id=deaf&channels=news").await;
    let held = most_held((cluster.ws, deaf.address()), publish_much(&cluster)).await;
    assert!(held > 0 && held <= HELD, "WebSocket: {held} bytes");
    let mut deaf = Raw::narrow_to(cluster.http).await;
    deaf.write(b"GET /api/v1/events?user_id=e&channels=news HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    eventually("the listener is there", async || {
        let sent = cluster.administer(&post("/api/v1/channels/news/messages", r#"{"data":1}"#)).await.json();
        if sent["sessions"] == 1 { Ok(()) } else { Err(sent.to_string()) }
    })
    .await;
    let held = most_held((cluster.http, deaf.address()), publish_much(&cluster)).await;
    assert!(held > 0 && held <= HELD, "events: {held} bytes");
}

#[tokio::test]
async fn the_kernel_holds_little_for_a_client_that_does_not_read_answers() {
    let cluster = cluster().workers(1).start().await;
    let mut deaf = Raw::narrow_to(cluster.http).await;
    let address = deaf.address();
    let ask = async {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
        deaf.write(&request).await;
        // Served until the kernel takes no more.
        let mut before = None;
        eventually("the server waits for the client", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = kernel_holds(cluster.http, address).map(|(send, _)| send).filter(|send| *send > 0);
            let still = now.is_some() && now == before;
            before = now;
            if still { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    };
    let held = most_held((cluster.http, address), ask).await;
    assert!(held > 0 && held <= HELD, "{held} bytes");
}

#[tokio::test]
async fn the_kernel_holds_little_of_a_client_before_it_is_read() {
    let cluster = cluster().workers(1).config("[limits]\nmessages_per_session = \"0\"").start().await;
    let mut loud = Raw::session(cluster.ws, "/echo").await;
    // The kernel lets grow what is read quickly.
    for _ in 0..400 {
        loud.frame(0x82, &[7; 60_000]).await;
        assert_eq!(loud.next().await.unwrap().payload.len(), 60_000);
    }
    let worker = cluster.worker(1).await.pid.unwrap();
    kill(worker, Signal::STOP);
    let flood = async {
        let frame = crate::harness::masked(0x82, &[7; 60_000]);
        while tokio::time::timeout(Duration::from_secs(1), loud.try_write(&frame)).await.is_ok() {}
    };
    flood.await;
    let held = kernel_holds(cluster.ws, loud.address()).map(|(_, unread)| unread);
    kill(worker, Signal::CONT);
    assert!(held.is_some_and(|held| held > 0 && held <= HELD), "{held:?} bytes");
}

#[tokio::test]
async fn the_kernel_keeps_nothing_for_a_reader_that_was_cut() {
    let cluster = cluster().workers(1).config(NEWS).start().await;
    let deaf = Raw::narrow(cluster.ws, "/ws?user_id=deaf&channels=news").await;
    publish_much(&cluster).await;
    let (server, client) = (cluster.ws, deaf.address());
    // Three seconds for the last bytes, and three for the client's own end.
    within(promised(Duration::from_secs(30)), "nothing is kept", async || {
        match kernel_holds(server, client) {
            None => Ok(()),
            Some(held) => Err(format!("{held:?} bytes")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_says_so_many_bytes_and_no_more() {
    let cluster = cluster().workers(1).start().await;
    let text = json!({"type": "ping", "x": "x".repeat(60_000)}).to_string();
    // Within the burst, as one who pastes something large.
    let mut fair = cluster.quiet_tab("fair").await;
    for _ in 0..4 {
        fair.say_text(text.clone()).await;
    }
    fair.until_pong().await;
    for (what, first, payload) in [("texts", 0x81, text.as_bytes()), ("pings", 0x89, &[7; 125])] {
        let mut loud = Raw::session(cluster.ws, &format!("/ws?user_id={what}&channels=none")).await;
        let frame = crate::harness::masked(first, payload);
        let mut sent = 0;
        while sent < 2 << 20 && loud.try_write(&frame).await.is_ok() {
            sent += frame.len();
        }
        assert_eq!(loud.closed().await, (4101, "message-rate".into()), "{what}");
    }
    assert_eq!(cluster.get("/healthz").await.status, 200);
    let info = cluster.send(&get("/api/v1/info")).await.json();
    assert_eq!(info["limits"]["bytes_per_session"], "65536/s");
}

#[tokio::test]
async fn a_rate_of_bytes_follows_the_configuration() {
    let config = "[limits]\nbytes_per_session = \"1KiB/m\"\nbytes_burst = \"8KiB\"\nmessages_per_session = \"0\"\n[ws]\nmax_message = \"4KiB\"";
    let cluster = cluster().workers(1).config(config).start().await;
    let mut loud = cluster.quiet_tab("loud").await;
    let text = json!({"type": "ping", "x": "x".repeat(1_000)}).to_string();
    for _ in 0..20 {
        loud.say_text(text.clone()).await;
    }
    assert_eq!(loud.closed().await, (4101, "message-rate".into()));
    cluster.reconfigure("[limits]\nbytes_per_session = 0\nmessages_per_session = \"0\"").await;
    let mut loud = cluster.quiet_tab("loud").await;
    for _ in 0..100 {
        loud.say_text(text.clone()).await;
    }
    loud.until_pong().await;
}
