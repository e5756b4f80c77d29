//! What all clients share, the kernel's memory and the daemon's: one client may fill its part, and no more.

use crate::harness::{
    Cluster, Connection, Poller, Raw, Tab, cluster, eventually, get, kernel_holds, kill, post, promised,
    quiet, resident, within,
};
use futures_util::future::join_all;
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
            tokio::time::sleep(Duration::from_millis(20)).await;
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

/// Sessions that are used a little, as anybody's, and whose connections are then lost.
async fn lost_victims(cluster: &Cluster) -> Vec<(String, String)> {
    let (mut victims, mut tabs) = (vec![], vec![]);
    for n in 0..5 {
        let user = format!("victim-{n}");
        let mut tab = cluster.tab_with(&format!("user_id={user}&channels=news")).await;
        tab.until_pong().await;
        victims.push((user, tab.welcome["resume"].as_str().unwrap().to_owned()));
        tabs.push(tab);
    }
    // How long a session was there counts, too. On a busy machine one that is cut at once may last for seconds.
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(tabs);
    eventually("all are suspended", async || {
        let suspended = suspended(cluster).await;
        if suspended >= 5 { Ok(()) } else { Err(suspended.to_string()) }
    })
    .await;
    victims
}

async fn suspended(cluster: &Cluster) -> u64 {
    metric(cluster, "btc_cluster_suspended_sessions").await
}

async fn metric(cluster: &Cluster, name: &str) -> u64 {
    let text = cluster.administer(&get("/metrics")).await.text().to_owned();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default().to_owned();
    line.rsplit_once(' ').map_or(0, |(_, value)| value.parse::<f64>().unwrap() as u64)
}

async fn all_come_back(cluster: &Cluster, victims: Vec<(String, String)>) {
    for (user, token) in victims {
        let back: Tab = cluster.tab_with(&format!("user_id={user}&resume={token}")).await;
        assert_eq!(back.welcome["resumed"], true, "{user}: {}", back.welcome);
    }
}

const SMALL: &str = "[resume]\nsessions = 10\n[poll]\ngap = \"1s\"\n[limits]\nsessions_per_address = 0\n\
                     [[channels]]\nname = \"news\"\n";

#[tokio::test]
async fn polls_that_are_never_taken_up_throw_nobody_out() {
    let cluster = cluster().workers(1).config(SMALL).start().await;
    let victims = lost_victims(&cluster).await;
    for n in 0..60 {
        let begun = Poller::new(cluster.http, &format!("user_id=flood-{n}&channels=none")).poll().await;
        assert_eq!(begun[0]["type"], "welcome");
    }
    eventually("the polls have ended", async || {
        let left = cluster.stats().await["totals"]["sessions"].as_u64().unwrap();
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    all_come_back(&cluster, victims).await;
}

#[tokio::test]
async fn sessions_that_are_opened_and_cut_throw_nobody_out() {
    let cluster = cluster().workers(1).config(SMALL).start().await;
    let victims = lost_victims(&cluster).await;
    // From another address, and used as well as anybody's.
    for n in 0..60 {
        let path = format!("/ws?user_id=flood-{n}&channels=news");
        let mut one = Raw::session_from([127, 0, 0, 2].into(), cluster.ws, &path).await;
        one.frame(0x81, br#"{"type":"ping","id":1}"#).await;
        while one.next().await.unwrap().json()["type"] != "pong" {}
    }
    // From the same address, and cut at once.
    for n in 0..60 {
        let mut one = Raw::session(cluster.ws, &format!("/ws?user_id=cut-{n}&channels=news")).await;
        one.next().await.unwrap();
    }
    eventually("all have been cut", async || {
        let left = cluster.stats().await["totals"]["sessions"].as_u64().unwrap();
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    all_come_back(&cluster, victims).await;
}

#[tokio::test]
async fn memory_of_suspended_sessions_is_bounded_and_goes_back() {
    let config = "[resume]\nmemory = \"4MiB\"\nbytes = \"1MiB\"\n[limits]\nmessages_per_session = \"0\"\n[ws]\noutbox = \"1MiB\"";
    let cluster = cluster().workers(1).config(config).start().await;
    let pid = cluster.worker(1).await.pid.unwrap();
    let before = resident(pid);
    let echo = json!({"type": "echo", "data": "x".repeat(60_000)}).to_string();
    let fill = async |n: u32| {
        let mut tab = cluster.quiet_tab(&format!("large-{n}")).await;
        for _ in 0..12 {
            tab.say_text(echo.clone()).await;
        }
        for _ in 0..12 {
            tab.next("echo").await;
        }
        tab
    };
    let tabs = join_all((0..60).map(fill)).await;
    let peak = resident(pid);
    assert!(peak > before + (30 << 20), "{before}, then {peak}: nothing is kept, this shows nothing");
    drop(tabs);
    eventually("little is kept, and the rest goes back", async || {
        let (kept, left) = (metric(&cluster, "btc_cluster_suspended_bytes").await, resident(pid));
        let few = kept > 0 && kept <= 4 << 20;
        if few && left < before + (20 << 20) {
            Ok(())
        } else {
            Err(format!("{before}, {peak}, {left}, {kept}"))
        }
    })
    .await;
    assert!(suspended(&cluster).await < 10, "800 KB each");
}

#[tokio::test]
async fn many_sessions_that_have_gone_leave_no_memory_behind() {
    // On a busy machine the last come long after the first, which must not have gone.
    let config = "[resume]\nwindow = \"1s\"\n[poll]\ngap = \"15s\"\ntake_up = \"15s\"\n[limits]\nsessions_per_address = 0\n\
                  [[channels]]\nname = \"news\"\n";
    let cluster = cluster().workers(1).config(config).start().await;
    let pid = cluster.worker(1).await.pid.unwrap();
    let master = cluster.master().await;
    let before = (resident(pid), resident(master));
    let text = json!({"data": "x".repeat(100)}).to_string();
    let flood = async |of: u32| {
        let mut connection = Connection::open(cluster.http).await.unwrap();
        for n in 0..1_000 {
            let path = format!("/api/v1/poll?user_id=flood-{of}-{n}&channels=news");
            assert_eq!(connection.ask(&get(&path)).await.status, 200);
        }
    };
    join_all((0..6).map(flood)).await;
    let mut peak = 0;
    for _ in 0..60 {
        cluster.administer(&post("/api/v1/channels/news/messages", &text)).await;
        peak = peak.max(resident(pid));
    }
    // 8 MiB that are free are not worth a walk, and 4 MiB are held from then on.
    let rest = 16 << 20;
    assert!(peak > before.0 + rest + (8 << 20), "{before:?}, then {peak}: this shows nothing");
    within(Duration::from_secs(40), "all is given back", async || {
        let left = (resident(pid), resident(master));
        let few = left.0 < before.0 + rest && left.1 < before.1 + rest;
        let none = suspended(&cluster).await == 0;
        if few && none { Ok(()) } else { Err(format!("{before:?}, {peak:?}, {left:?}")) }
    })
    .await;
}

/// A session whose client never says a byte.
async fn silent(cluster: &Cluster, address: u8, user: &str) -> Raw {
    let path = format!("/ws?user_id={user}&channels=none");
    Raw::session_from([127, 0, 0, address].into(), cluster.ws, &path).await
}

#[tokio::test]
async fn sessions_that_were_never_heard_give_way_to_newcomers_of_their_address() {
    let config = "[limits]\nsessions = 12\n[poll]\ntake_up = \"1s\"\n";
    let cluster = cluster().workers(2).config(config).start().await;
    let mut fair = cluster.quiet_tab("fair").await;
    fair.until_pong().await;
    let mut deaf = vec![];
    for n in 0..11 {
        deaf.push(silent(&cluster, 1, &format!("deaf-{n}")).await);
    }
    let mut answers = deaf.pop().unwrap();
    let mut inside = vec![];
    for n in 0..6 {
        let mut newcomer = eventually("there is room", async || {
            let tab = Tab::open_as(cluster.ws, &quiet(&format!("new-{n}"))).await;
            // One that answers pings, and says nothing else.
            answers.frame(0x8A, b"").await;
            tab.map_err(|refusal| format!("{refusal:?}"))
        })
        .await;
        newcomer.until_pong().await;
        inside.push(newcomer);
    }
    for tab in inside.iter_mut().chain([&mut fair]) {
        tab.until_pong().await;
    }
    answers.frame(0x81, br#"{"type":"ping","id":1}"#).await;
    while answers.next().await.unwrap().json()["type"] != "pong" {}
    let gone = cluster.administer(&get("/metrics")).await.text().to_owned();
    assert!(gone.contains("btc_cluster_gave_way_total{what=\"session\"} "), "{gone}");
}

#[tokio::test]
async fn sessions_that_were_never_heard_give_way_where_their_address_has_its_share() {
    let config = "[limits]\nsessions_per_address = 3\n[poll]\ntake_up = \"1s\"\n";
    let cluster = cluster().workers(1).config(config).start().await;
    let mut other = silent(&cluster, 3, "other").await;
    let _deaf =
        [silent(&cluster, 1, "a").await, silent(&cluster, 1, "b").await, silent(&cluster, 1, "c").await];
    assert_eq!(Tab::open_as(cluster.ws, &quiet("d")).await.unwrap_err().status, 429);
    let mut late = eventually("one has ended", async || {
        Tab::open_as(cluster.ws, &quiet("d")).await.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    late.until_pong().await;
    other.frame(0x81, br#"{"type":"ping","id":1}"#).await;
    while other.next().await.unwrap().json()["type"] != "pong" {}
}

/// Enters a room from another address and says so much in it.
async fn speak_from(cluster: &Cluster, address: u8, room: &str, messages: usize) -> Raw {
    let path = "/ws?user_id=loud&channels=none";
    let mut one = Raw::session_from([127, 0, 0, address].into(), cluster.ws, path).await;
    let enter = json!({"type": "subscribe", "channels": [room], "id": 1}).to_string();
    let say = json!({"type": "publish", "channel": room, "data": "x".repeat(4_000), "id": 1}).to_string();
    for text in std::iter::once(&enter).chain(std::iter::repeat_n(&say, messages)) {
        one.frame(0x81, text.as_bytes()).await;
        loop {
            let message = one.next().await.unwrap().json();
            assert_ne!(message["type"], "error", "{message}");
            if message["type"] == "ack" {
                break;
            }
        }
    }
    one
}

#[tokio::test]
async fn loud_rooms_wipe_nobody_elses_history() {
    let config = "[limits]\nmessages_per_session = \"0\"\n[chat]\nhistory_bytes = \"64KiB\"\n";
    let cluster = cluster().workers(2).config(config).start().await;
    let mut quiet = cluster.quiet_tab("quiet").await;
    quiet.ask(&json!({"type": "subscribe", "channels": ["chat:quiet"], "id": 0}), "ack").await;
    let say = json!({"type": "publish", "channel": "chat:quiet", "data": "remember", "id": 1});
    quiet.ask(&say, "ack").await;
    let mut loud = vec![];
    for n in 0..15 {
        // Of one other address, and of the same.
        let address = if n < 8 { 2 } else { 1 };
        loud.push(speak_from(&cluster, address, &format!("chat:loud-{n}"), 20).await);
    }
    assert!(metric(&cluster, "btc_cluster_chat_history_bytes").await > 40 << 10, "full, or it shows nothing");
    let mut late = cluster.tab_with("user_id=late&channels=chat:quiet").await;
    assert_eq!(late.next("message").await["data"], "remember");
}

#[tokio::test]
async fn rooms_of_those_who_went_give_way_and_who_has_most_has_no_more() {
    let config = "[limits]\nmessages_per_session = \"0\"\n[chat]\nrooms = 6\nhistory = 5\n";
    let cluster = cluster().workers(1).config(config).start().await;
    let mut gone = vec![];
    for n in 0..6 {
        gone.push(speak_from(&cluster, 2, &format!("chat:gone-{n}"), 1).await);
    }
    drop(gone);
    eventually("they are away", async || {
        let suspended = suspended(&cluster).await;
        if suspended == 6 { Ok(()) } else { Err(suspended.to_string()) }
    })
    .await;
    let mut tab = cluster.quiet_tab("alice").await;
    let subscribe = |room: &str| json!({"type": "subscribe", "channels": [room], "id": 1});
    tab.say(&subscribe("chat:mine")).await;
    tab.next("ack").await;
    // One whose sessions stay may have half of them; whoever has fewer still gets one.
    let mut stay = vec![];
    for n in 0..3 {
        stay.push(speak_from(&cluster, 3, &format!("chat:stay-{n}"), 1).await);
    }
    tab.say(&subscribe("chat:mine-too")).await;
    tab.next("ack").await;
    let mut greedy =
        Raw::session_from([127, 0, 0, 3].into(), cluster.ws, "/ws?user_id=g&channels=none").await;
    greedy.frame(0x81, subscribe("chat:more").to_string().as_bytes()).await;
    loop {
        let message = greedy.next().await.expect("the session stays").json();
        assert_ne!(message["type"], "ack");
        if message["type"] == "error" {
            assert_eq!(message["code"], "too-many-rooms");
            break;
        }
    }
    // What was said in a room that gave way still reaches those who are in it.
    let say = json!({"type": "publish", "channel": "chat:mine", "data": "here", "id": 2});
    tab.say(&say).await;
    assert_eq!(tab.next("message").await["data"], "here");
}
