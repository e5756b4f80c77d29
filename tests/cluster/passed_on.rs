//! Proxies that pass connections on as they are, and say whose they are by the PROXY protocol.

use crate::harness::{Proxy, Raw, Setup, cluster, eventually, get, in_time, upgrade, which};
use rustix::process::Signal;
use std::net::SocketAddr;

/// Where the proxy is.
const PROXY: [u8; 4] = [127, 0, 0, 9];
const TOLD: &str = "[limits]\nconnects_per_address = \"1/h\"\n[http]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.9/32\"]\n[ws]\nproxy_protocol = true\n";

fn told() -> Setup {
    cluster().workers(2).config(TOLD)
}

fn line(from: &str) -> Vec<u8> {
    let family = if from.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    format!("PROXY {} {from} {} 4711 3000\r\n", family.0, family.1).into_bytes()
}

fn binary(command: u8, from: [u8; 4]) -> Vec<u8> {
    let head = [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11, 0, 12][..]].concat();
    [&head[..], &from, &[127, 0, 0, 1, 0x12, 0x67, 1, 187]].concat()
}

/// What a connection gets that begins with these bytes: the whole of what is said when it asks for a poll.
async fn polls(to: SocketAddr, header: &[u8], more: &str) -> String {
    let mut raw = Raw::connect_from(PROXY.into(), to).await;
    let request = format!(
        "GET /api/v1/poll?user_id=a&channels=none HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n"
    );
    let _ = raw.try_write(&[header, request.as_bytes()].concat()).await;
    String::from_utf8_lossy(&in_time("an answer or an end", raw.rest()).await).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test]
async fn the_address_is_the_one_that_the_header_tells() {
    let cluster = told().start().await;

    for (header, more, expected) in [
        (line("192.0.2.1"), "", "200"),
        (line("192.0.2.1"), "", "429"),
        (binary(0x21, [192, 0, 2, 1]), "", "429"),
        (binary(0x21, [192, 0, 2, 2]), "", "200"),
        (line("2001:db8:0:1::1"), "", "200"),
        (line("2001:db8:0:1:ffff::2"), "", "429"),
        // The proxy's own, once.
        (binary(0x20, [192, 0, 2, 99]), "", "200"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "", "429"),
        // Whom the header names is a client: its own words are not believed.
        (line("192.0.2.1"), "X-Forwarded-For: 192.0.2.50\r\n", "429"),
        // A trusted proxy behind another.
        (line("127.0.0.9"), "X-Forwarded-For: 192.0.2.51\r\n", "200"),
        (line("127.0.0.9"), "X-Forwarded-For: 192.0.2.1\r\n", "429"),
    ] {
        let answer = polls(cluster.http, &header, more).await;
        assert_eq!(status(&answer), expected, "{} {more} {answer}", String::from_utf8_lossy(&header));
    }
}

#[tokio::test]
async fn a_session_of_the_websocket_port_begins_with_it_as_well() {
    let cluster = told().start().await;
    let bytes = upgrade("/ws?user_id=alice&channels=none").bytes("localhost");
    let mut raw = Raw::connect_from(PROXY.into(), cluster.ws).await;
    raw.write(&[&line("192.0.2.1")[..], &bytes].concat()).await;
    eventually("she is there", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let mut other = Raw::connect_from(PROXY.into(), cluster.ws).await;
    other.write(&[&line("192.0.2.1")[..], &bytes].concat()).await;
    let (_, said) = eventually("it is refused", async || {
        let (end, text) = other.more().await;
        if text.contains("\r\n\r\n") { Ok((end, text)) } else { Err(text) }
    })
    .await;
    assert_eq!(status(&said), "429", "{said}");
}

#[tokio::test]
async fn a_session_that_moves_counts_for_its_client_and_not_for_the_proxy() {
    let config = "[limits]\nconnections_per_address = 2\n[http]\nproxy_protocol = true\n\
                  trusted_proxies = [\"127.0.0.9/32\"]\n[ws]\nproxy_protocol = true\n";
    let cluster = cluster().workers(1).config(config).start().await;
    let mut raws = vec![];
    for user in ["a", "b"] {
        let bytes = upgrade(&format!("/ws?user_id={user}&channels=none")).bytes("localhost");
        let mut raw = Raw::connect_from(PROXY.into(), cluster.ws).await;
        raw.write(&[&line("192.0.2.1")[..], &bytes].concat()).await;
        raws.push(raw);
    }
    let turned = async |from: &str, expected: &str| {
        eventually("the address has its share", async || {
            let answer = polls(cluster.http, &line(from), "").await;
            if status(&answer) == expected { Ok(()) } else { Err(answer) }
        })
        .await;
    };
    turned("192.0.2.1", "429").await;
    let before = cluster.worker(1).await.pid;
    cluster.signal(Signal::USR2);
    eventually("the worker is new", async || {
        let now = cluster.try_workers().await?;
        if now[0].pid != before && now[0].state == "ready" { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(cluster.stats().await["totals"]["sessions"], 2);
    turned("192.0.2.1", "429").await;
    turned("192.0.2.2", "200").await;
}

#[tokio::test]
async fn a_trusted_proxy_that_does_not_say_is_not_heard_and_others_need_not() {
    let cluster = told().start().await;
    for header in ["", "PROXY TCP4 192.0.2.1\r\n", "PROXY TCP4 a b 1 2\r\n", "proxy UNKNOWN\r\n"] {
        let answer = polls(cluster.http, header.as_bytes(), "").await;
        assert_eq!(answer, "", "{header:?}");
    }
    cluster.logged(&["proxy-header-missing", "127.0.0.9"]).await;
    let mut stranger = Raw::connect_from([127, 0, 0, 2].into(), cluster.http).await;
    stranger.write(&get("/api/v1/price").bytes("localhost")).await;
    eventually("a stranger is answered", async || {
        let (_, text) = stranger.more().await;
        if status(&text) == "200" { Ok(()) } else { Err(text) }
    })
    .await;
    let mut liar = Raw::connect_from([127, 0, 0, 2].into(), cluster.http).await;
    liar.write(&[&line("192.0.2.1")[..], &get("/api/v1/price").bytes("localhost")].concat()).await;
    let said = in_time("an end", liar.rest()).await;
    assert_eq!(status(&String::from_utf8_lossy(&said)), "400", "a stranger may not say it");
}

#[tokio::test]
async fn haproxy_says_whose_connections_it_passes_on() {
    let test = "haproxy_says_whose_connections_it_passes_on";
    let Some(haproxy) = which("haproxy", test) else { return };
    for how in ["send-proxy", "send-proxy-v2"] {
        let cluster = told().start().await;
        let proxy =
            Proxy::haproxy(haproxy.clone(), &format!("  server a {} source 127.0.0.9 {how}", cluster.http))
                .await;
        let from = async |last: u8| {
            let mut raw = Raw::connect_from([127, 0, 0, last].into(), proxy.address).await;
            let request = get("/api/v1/poll?user_id=a&channels=none").header("Connection", "close");
            raw.write(&request.bytes("localhost")).await;
            let said = in_time("an answer", raw.rest()).await;
            status(&String::from_utf8_lossy(&said)).to_owned()
        };
        assert_eq!(from(21).await, "200", "{how}");
        assert_eq!(from(21).await, "429", "{how}");
        assert_eq!(from(22).await, "200", "{how}");
    }
}
