//! Faults of the other side: every case against every provider in `remotes.rs`. Each must give the right
//! fault or verdict, in time, in bounded memory, and never a price that was not meant.

use super::battery::{Heard, PATIENCE, listen, listen_until, word};
use super::remotes::{At, LIMITS, LONG, Remote, remotes};
use super::standin::{Act, Frame, Standin, nobody};
use crate::providers::wire::http::tests::impostor;
use crate::providers::wire::push::Limits;
use crate::providers::{Fault, Http, PriceProvider};
use futures_util::{StreamExt, stream};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Time-out for a server that is too slow.
const SHORT: Duration = Duration::from_millis(400);
const IMPATIENT: Limits = Limits { silence: SHORT, no_tick: LONG, renew_after: Duration::ZERO };
/// The only price that these servers mean.
const GOOD: &str = "64250.10";

/// Runs a check for every source and case, some at the same time.
async fn all<C: Clone, F: Future<Output = ()>>(cases: &[C], check: impl Fn(Arc<Remote>, C) -> F) {
    let remotes: Vec<_> = remotes().into_iter().map(Arc::new).collect();
    let both = remotes.iter().flat_map(|remote| cases.iter().map(move |case| (remote.clone(), case.clone())));
    stream::iter(both).for_each_concurrent(8, |(remote, case)| check(remote, case)).await;
}

/// No price but the meant one.
fn honest(heard: &Heard) -> bool {
    heard.ticks.iter().all(|tick| tick.price.to_string() == GOOD)
}

fn impatient(remote: &Remote, server: &Standin, http: &Arc<Http>) -> Box<dyn PriceProvider> {
    let host = server.address.to_string();
    remote.at(&At { host: &host, tls: false, http: http.clone(), limits: IMPATIENT })
}

#[tokio::test]
async fn a_server_that_cannot_be_had_is_tried_again() {
    let hosts = [
        ("refused connection", false, nobody().await.unwrap().to_string()),
        ("no such name", false, "no-such-host.invalid".to_owned()),
        ("a certificate that nobody signed", true, impostor().await.unwrap().to_string()),
    ];
    let http = Http::within(LONG);
    all(&hosts, |remote, (case, tls, host)| {
        let http = http.clone();
        async move {
            let at = At { host: &host, tls, http, limits: LIMITS };
            let heard = listen(&mut *remote.at(&at), PATIENCE).await;
            let Some(Fault::Retry(why)) = &heard.fault else { panic!("{} {case}: {heard:?}", remote.name) };
            assert!(!why.contains("the-key") && why.len() < 200 && heard.ticks.is_empty(), "{why}");
            assert!(!tls || why.contains("certificate"), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_ends_the_session_as_it_should() {
    let cases = [
        (Act::later(429, 7, "{}"), "wait 7"),
        (Act::answer(429, "{}"), "wait 10"),
        (Act::later(418, 300, r#"{"code":-1003,"msg":"banned"}"#), "wait 300"),
        (Act::answer(418, ""), "wait 120"),
        (Act::answer(451, r#"{"code":0,"msg":"restricted location"}"#), "barred"),
        (Act::answer(403, "<html>WAF</html>"), "refused"),
        (Act::answer(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#), "unknown"),
        (Act::answer(404, ""), "missing"),
        (Act::answer(500, "oops"), "retry"),
        (Act::later(503, 3, "oops"), "wait 3"),
        (Act::answer(503, r#"{"code":-1008,"msg":"overloaded"}"#), "retry"),
        (Act::answer(504, ""), "retry"),
        (Act::redirect("http://127.0.0.1:1/elsewhere"), "retry"),
    ];
    all(&cases, |remote, (act, expected)| async move {
        // The handshake of a stream does not reach its dialect.
        let expected = match expected {
            "missing" if remote.streams => "refused",
            "missing" => remote.missing,
            expected => expected,
        };
        let server = Standin::always(act.clone()).await.unwrap();
        let heard = listen(&mut *remote.of(&server), PATIENCE).await;
        let fault = heard.fault.as_ref().map(word);
        assert_eq!(fault.as_deref(), Some(expected), "{} {act:?}", remote.name);
        assert_eq!((server.requests().len(), heard.ticks.len()), (1, 0), "one request, no storm");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_drips_or_floods_is_given_up_in_time() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"Data\"".to_vec();
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1_000_000));
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let chunks = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(20));
    let acts = [
        Act::Hang,
        Act::Cut,
        Act::Bytes(b"HTTP/1.1 200 OK\r\nx: ".to_vec()),
        Act::Bytes(half.clone()),
        Act::Drip(half, Duration::from_millis(50)),
        Act::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Act::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n".to_vec()),
        Act::Bytes(long.into_bytes()),
        Act::Bytes(chunks.into_bytes()),
        Act::ok(vec![b' '; 3_000_000]),
    ];
    let http = Http::within(SHORT);
    all(&acts, |remote, act| {
        let http = http.clone();
        async move {
            let server = Standin::always(act.clone()).await.unwrap();
            let heard = listen(&mut *impatient(&remote, &server, &http), PATIENCE).await;
            let shown: String = format!("{act:?}").chars().take(60).collect();
            let fault = heard.fault.as_ref().map(word);
            assert_eq!(fault.as_deref(), Some("retry"), "{} {shown} {heard:?}", remote.name);
            assert_eq!(heard.ticks.len(), 0, "{} {shown}", remote.name);
        }
    })
    .await;
}

/// A text frame of a server: its header, and a part of the announced payload.
fn frame(first: u8, announced: u64, sent: usize) -> Vec<u8> {
    let mut bytes = vec![first, 127];
    bytes.extend(announced.to_be_bytes());
    bytes.resize(bytes.len() + sent, b' ');
    bytes
}

#[tokio::test]
async fn a_stream_that_hangs_drips_floods_or_breaks_is_given_up_in_time() {
    let cases = [
        ("half-open: nothing after the handshake", Act::Stream(vec![])),
        ("drip", Act::Raw(frame(0x81, 1000, 1000), Duration::from_millis(50))),
        ("a frame of a terabyte", Act::Raw(frame(0x81, 1 << 40, 1000), Duration::ZERO)),
        (
            "a message without an end",
            Act::Raw(
                [frame(0x01, 60_000, 60_000), frame(0x00, 60_000, 60_000).repeat(10)].concat(),
                Duration::ZERO,
            ),
        ),
        ("a large message", Act::Stream(vec![Frame::Text(" ".repeat(300_000))])),
        ("reserved bits", Act::Raw(vec![0xf1, 0], Duration::ZERO)),
        ("no frames at all", Act::Raw(b"HTTP/1.1 500 \r\n\r\n".to_vec(), Duration::ZERO)),
        ("not UTF-8", Act::Raw(vec![0x81, 2, 0xff, 0xfe], Duration::ZERO)),
        ("cut", Act::Stream(vec![Frame::Cut])),
        ("closed", Act::Stream(vec![Frame::Close(1001, "bye")])),
    ];
    let http = Http::within(LONG);
    all(&cases, |remote, (case, act)| {
        let http = http.clone();
        async move {
            if !remote.streams {
                return;
            }
            let server = Standin::always(act).await.unwrap();
            let heard = listen(&mut *impatient(&remote, &server, &http), PATIENCE).await;
            let fault = heard.fault.as_ref().map(word);
            assert_eq!(fault.as_deref(), Some("retry"), "{} {case} {heard:?}", remote.name);
            assert_eq!(heard.ticks.len(), 0, "{} {case}", remote.name);
        }
    })
    .await;
}

#[tokio::test]
async fn what_breaks_after_a_price_leaves_the_price() {
    // Long enough for the price itself on a busy machine.
    let brief = Duration::from_secs(3);
    let http = Http::within(brief);
    all(&["silence", "cut"], |remote, case| {
        let http = http.clone();
        async move {
            let good = remote.message(GOOD, 7);
            let server = match (remote.streams, case) {
                (true, "cut") => Standin::always(Act::Stream(vec![Frame::Text(good), Frame::Cut])).await,
                (true, _) => Standin::always(Act::Stream(vec![Frame::Text(good)])).await,
                (false, "cut") => Standin::script(vec![Act::ok(good), Act::Cut]).await,
                (false, _) => Standin::script(vec![Act::ok(good), Act::Hang]).await,
            };
            let server = server.unwrap();
            let limits = Limits { silence: brief, ..LIMITS };
            let host = server.address.to_string();
            let mut provider = remote.at(&At { host: &host, tls: false, http, limits });
            let heard = listen(&mut *provider, PATIENCE).await;
            assert_eq!(heard.fault.as_ref().map(word).as_deref(), Some("retry"), "{} {case}", remote.name);
            assert!(heard.ticks.len() == 1 && honest(&heard), "{} {case} {heard:?}", remote.name);
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_that_it_goes_is_left_for_another_connection() {
    let mut some = 0;
    for remote in remotes() {
        let Some(goodbye) = remote.goodbye else { continue };
        let server = remote.server(vec![remote.message(GOOD, 7).into(), goodbye.into()]).await;
        let heard = listen_until(&mut *remote.of(&server), |heard| heard.ticks.len() > 1).await;
        assert_eq!((heard.fault, server.requests().len()), (None, 2), "{}", remote.name);
        some += 1;
    }
    assert_eq!(some, 2, "Binance and Bitstamp say so");
}

#[tokio::test]
async fn what_is_no_price_is_counted_and_the_session_goes_on() {
    let digits = [
        "NaN",
        "Infinity",
        "-1",
        "0",
        "0.00",
        "1e400",
        "1e400",
        "1_0",
        "63,000.10",
        "0.-10000",
        "",
        "1000000000000000",
        "0.0000000000000001",
        "0x10",
        "1111111111111111111111111111111111111111",
        "null",
        "{}",
    ];
    all(&digits, |remote, digits| async move {
        let server =
            remote.server(vec![remote.message(digits, 1).into(), remote.message(GOOD, 2).into()]).await;
        let heard = listen_until(&mut *remote.of(&server), |heard| !heard.ticks.is_empty()).await;
        // "0x10" as bare JSON numbers, "NaN" as a bare word: for some providers no JSON at all.
        assert_eq!((heard.bad.len(), &heard.fault), (1, &None), "{} {digits}", remote.name);
        assert!(heard.ticks.len() == 1 && honest(&heard), "{} {digits}", remote.name);
    })
    .await;
}

#[tokio::test]
async fn garbage_is_counted_and_the_session_goes_on() {
    let garbage: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"garbage".to_vec(),
        b"<html>busy</html>".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\xff\xfe{\x00}\x00".to_vec(),
        b"\xef\xbb\xbfgarbage".to_vec(),
        "[".repeat(100_000).into_bytes(),
        "{\"data\":".repeat(20_000).into_bytes(),
        // gzip that was not requested
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00".to_vec(),
        b"truncated".to_vec(),
        b"of another pair".to_vec(),
    ];
    all(&garbage, |remote, garbage| async move {
        let whole = remote.message("64999.99", 1);
        let message = match &garbage[..] {
            b"truncated" => whole[..whole.len() / 2].into(),
            b"of another pair" if !remote.named => return,
            b"of another pair" => whole.replace("BTC", "DOGE").replace("btc", "doge").into(),
            _ => garbage,
        };
        let shown = String::from_utf8_lossy(&message[..message.len().min(40)]).into_owned();
        let server = remote.server(vec![message, remote.message(GOOD, 2).into()]).await;
        let heard = listen_until(&mut *remote.of(&server), |heard| !heard.ticks.is_empty()).await;
        assert_eq!((heard.ticks.len(), &heard.fault), (1, &None), "{} {shown}", remote.name);
        // `[]` is an answer without a price for a list of tickers, and ignored on a stream.
        assert!(!heard.bad.is_empty() || shown == "[]", "{} {shown}", remote.name);
        assert!(honest(&heard), "{} {shown}", remote.name);
    })
    .await;
}

#[tokio::test]
async fn duplicates_and_what_was_overtaken_can_be_told_by_their_numbers() {
    all(&[()], |remote, ()| async move {
        let told = [(GOOD, 7), ("64111.11", 7), ("64222.22", 6), (GOOD, 9)];
        let messages = told.map(|(digits, seq)| remote.message(digits, seq).into());
        let server = remote.server(messages.into()).await;
        let heard = listen_until(&mut *remote.of(&server), |heard| heard.ticks.len() >= 4).await;
        assert_eq!((heard.bad.len(), &heard.fault), (0, &None), "{}", remote.name);
        let numbers: Vec<_> = heard.ticks.into_iter().take(4).map(|tick| tick.seq).collect();
        let expected = told.map(|(_, seq)| remote.numbered.then_some(seq));
        assert_eq!(numbers, expected, "{}", remote.name);
    })
    .await;
}
