//! Clients that break the protocol: each is told why, by a close frame, and nobody else notices.

use crate::harness::{Cluster, Raw, cluster, masked};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

async fn session(cluster: &Cluster) -> Raw {
    let mut raw = Raw::session(cluster.ws, "/ws?user_id=rude&channels=none").await;
    assert_eq!(raw.next().await.unwrap().json()["type"], "welcome");
    raw
}

/// The close code that these bytes get.
async fn close_for(cluster: &Cluster, bytes: &[u8]) -> (u16, String) {
    let mut raw = session(cluster).await;
    raw.write(bytes).await;
    raw.closed().await
}

#[tokio::test]
async fn broken_frames_are_1002() {
    let cluster = cluster().start().await;
    let mut polite = cluster.quiet_tab("polite").await;
    let unmasked = [TEXT, 2, b'h', b'i'];
    let long_ping = masked(PING, &[0; 126]);
    let split_ping = masked(0x09, b"");
    let continuation = masked(0x80, b"from nowhere");
    let interrupted = [masked(0x01, b"a"), masked(TEXT, b"b")].concat();
    let table: [(&str, &[u8]); 10] = [
        ("unmasked", &unmasked),
        ("reserved bit 1", &masked(0xC1, b"x")),
        ("reserved bit 2", &masked(0xA1, b"x")),
        ("reserved bit 3", &masked(0x91, b"x")),
        ("reserved data opcode", &masked(0x83, b"x")),
        ("reserved control opcode", &masked(0x8B, b"x")),
        ("control frame of 126 bytes", &long_ping),
        ("control frame in pieces", &split_ping),
        ("continuation of nothing", &continuation),
        ("a message inside another", &interrupted),
    ];
    for (what, bytes) in table {
        assert_eq!(close_for(&cluster, bytes).await.0, 1002, "{what}");
    }
    polite.until_pong().await;
}

#[tokio::test]
async fn a_close_must_be_one_that_may_be_sent() {
    let cluster = cluster().start().await;
    assert_eq!(close_for(&cluster, &masked(CLOSE, &[3])).await.0, 1002, "a body of one byte");
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let close = masked(CLOSE, &code.to_be_bytes());
        assert_eq!(close_for(&cluster, &close).await.0, 1002, "{code}");
    }
    for code in [1000u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        let close = masked(CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat());
        assert_eq!(close_for(&cluster, &close).await.0, code, "a valid one is echoed");
    }
    assert_eq!(close_for(&cluster, &masked(CLOSE, b"")).await.0, 1005, "an empty one, too");
    let reason = [&1000u16.to_be_bytes()[..], b"\xff\xfe"].concat();
    assert_eq!(close_for(&cluster, &masked(CLOSE, &reason)).await.0, 1007);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_1007() {
    let cluster = cluster().start().await;
    let split = [masked(0x01, b"ok \xe2\x82"), masked(0x80, b"x")].concat();
    let table: [(&str, Vec<u8>); 5] = [
        ("a stray byte", masked(TEXT, b"ok \xff")),
        ("cut off at the end", masked(TEXT, b"ok \xe2\x82")),
        ("a surrogate", masked(TEXT, b"\xed\xa0\x80")),
        ("too long for what it says", masked(TEXT, b"\xc0\xaf")),
        ("broken over two frames", split),
    ];
    for (what, bytes) in table {
        assert_eq!(close_for(&cluster, &bytes).await, (1007, "invalid-utf8".into()), "{what}");
    }
    let mut raw = session(&cluster).await;
    raw.write(&[masked(0x01, b"{\"type\":\"echo\",\"data\":\"\xe2\x82"), masked(0x80, b"\xac\"}")].concat())
        .await;
    assert_eq!(
        raw.next().await.unwrap().json(),
        json!({"type": "echo", "data": "\u{20ac}"}),
        "a letter in two frames"
    );
}

#[tokio::test]
async fn binary_is_1003() {
    let cluster = cluster().start().await;
    assert_eq!(close_for(&cluster, &masked(BINARY, b"x")).await, (1003, "binary-not-accepted".into()));
}

#[tokio::test]
async fn a_message_may_be_64_kib_and_no_more() {
    let cluster = cluster().start().await;
    let padding = 65_536 - r#"{"type":"echo","data":""}"#.len();
    let echo = |padding| json!({"type": "echo", "data": "x".repeat(padding)});
    let mut tab = cluster.quiet_tab("alice").await;
    assert!(tab.ask(&echo(padding), "echo").await == echo(padding));
    tab.say(&echo(padding + 1)).await;
    assert_eq!(tab.closed().await, (1009, "message-too-big".into()));
    // What a header claims is enough: nothing of it has come.
    for length in [65_537u64, 1 << 30, 1 << 62, (1 << 63) - 1] {
        let claim = [&[TEXT, 0x80 | 127][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
        assert_eq!(close_for(&cluster, &claim).await.0, 1009, "{length}");
    }
    let mut pieces = masked(0x01, &[b'x'; 40_000]);
    pieces.extend(masked(0x80, &[b'x'; 40_000]));
    assert_eq!(close_for(&cluster, &pieces).await.0, 1009, "the pieces are counted together");
}

#[tokio::test]
async fn endless_empty_pieces_and_unread_pings_end_in_a_close() {
    let cluster = cluster().config("[limits]\nmessages_per_session = \"0\"").start().await;
    let mut raw = session(&cluster).await;
    let _ = raw.try_write(&[masked(0x01, b""), masked(0x00, b"").repeat(200_000)].concat()).await;
    let (code, _) = raw.closed().await;
    assert!(matches!(code, 1008 | 1009), "{code}");
    let mut polite = cluster.quiet_tab("polite").await;
    polite.until_pong().await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_words() {
    let cluster = cluster().start().await;
    let mut raw = session(&cluster).await;
    for payload in [&b""[..], b"hello", &[7; 125]] {
        raw.frame(PING, payload).await;
        let pong = raw.next().await.unwrap();
        assert_eq!((pong.opcode, pong.payload.as_slice()), (10, payload));
    }
    // An answer to nothing is nothing.
    raw.frame(0x8A, b"unasked").await;
    raw.frame(PING, b"after").await;
    assert_eq!(raw.next().await.unwrap().payload, b"after");
}

#[tokio::test]
async fn frames_may_come_in_pieces_of_any_size_and_around_a_ping() {
    let cluster = cluster().start().await;
    let mut raw = session(&cluster).await;
    let text = br#"{"type":"echo","data":"in pieces"}"#;
    for byte in masked(TEXT, text) {
        raw.write(&[byte]).await;
    }
    assert_eq!(raw.next().await.unwrap().json()["data"], "in pieces");
    let (head, tail) = text.split_at(9);
    raw.write(&[masked(0x01, head), masked(PING, b"between"), masked(0x80, tail)].concat()).await;
    assert_eq!(raw.next().await.unwrap().payload, b"between");
    assert_eq!(raw.next().await.unwrap().json()["data"], "in pieces");
}

#[tokio::test]
async fn too_many_messages_are_4101() {
    let cluster =
        cluster().config("[limits]\nmessages_per_session = \"1/m\"\nmessages_burst = 20").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let mut polite = cluster.quiet_tab("polite").await;
    for n in 0..20 {
        let pong = tab.ask(&json!({"type": "ping", "id": n}), "pong").await;
        assert_eq!(pong["id"], n, "within the burst");
    }
    tab.send(Message::text("{}")).await;
    assert_eq!(tab.closed().await, (4101, "message-rate".into()));
    polite.until_pong().await;
}

#[tokio::test]
async fn what_comes_right_behind_the_handshake_is_heard() {
    let cluster = cluster().start().await;
    let mut raw = Raw::connect(cluster.ws).await;
    let mut bytes = crate::harness::upgrade("/ws?user_id=alice&channels=none").bytes(&cluster.ws.to_string());
    bytes.extend(masked(TEXT, br#"{"type":"ping","id":1}"#));
    raw.write(&bytes).await;
    assert_eq!(raw.response().await.unwrap().status, 101);
    assert_eq!(raw.next().await.unwrap().json()["type"], "welcome");
    assert_eq!(raw.next().await.unwrap().json(), json!({"type": "pong", "id": 1}));
}
