//! hyper behind the guard, in virtual time; the upgrade on a real socket.

use super::*;
use crate::net::give_way::Rank;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const LIMITS: Limits = Limits { head: secs(10), idle: secs(75) };

fn guarded<S>(socket: S, limits: Limits) -> (Guard<S>, Phase) {
    let phase = Phase::new();
    (Guard::new(socket, limits, phase.clone()), phase)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

type Body = BoxBody<Bytes, Infallible>;
type Ended = JoinHandle<hyper::Result<()>>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body with an event every 25 s, for ever.
fn events() -> Body {
    let events = stream::repeat(()).then(|()| async {
        sleep(secs(25)).await;
        Ok(Frame::data(Bytes::from_static(b"tick")))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(events) as Pin<Box<dyn stream::Stream<Item = _> + Send + Sync>>))
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    Response::new(match request.uri().path() {
        "/slow" => {
            sleep(secs(1000)).await;
            full("late")
        }
        "/big" => full(vec![b'x'; 1 << 20]),
        "/events" => events(),
        _ => full("ok"),
    })
}

/// A connection to hyper over a pipe of this size.
fn connect(pipe: usize) -> (DuplexStream, Ended) {
    let (client, server) = duplex(pipe);
    let (guard, phase) = guarded(server, LIMITS);
    let service = service_fn(move |request| {
        let serving = phase.begin();
        async move {
            let held = secs(if request.uri().path() == "/held" { 5 } else { 0 });
            let response = answer(request).await;
            if held.is_zero() {
                drop(serving);
            } else {
                tokio::spawn(async move {
                    sleep(held).await;
                    drop(serving);
                });
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guard), service);
    (client, tokio::spawn(connection))
}

/// All data until the end, and when the end came.
async fn rest(client: &mut DuplexStream) -> (String, Duration) {
    let start = Instant::now();
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    (String::from_utf8(text).unwrap(), start.elapsed())
}

async fn get(client: &mut DuplexStream) -> String {
    client.write_all(GET).await.unwrap();
    let mut text = vec![0; 1024];
    let len = client.read(&mut text).await.unwrap();
    String::from_utf8(text[..len].to_vec()).unwrap()
}

/// Timers have a resolution of a millisecond.
fn about(found: Duration, wanted: Duration) {
    assert!(found >= wanted && found < wanted + Duration::from_millis(10), "{found:?} is not {wanted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_quietly() {
    let (mut client, ended) = connect(4096);
    let (text, after) = rest(&mut client).await;
    assert_eq!(text, "");
    about(after, LIMITS.head);
    ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_answered_with_408_however_it_drips() {
    let (client, ended) = connect(4096);
    let start = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(client);
    let drip = tokio::spawn(async move {
        for byte in GET.iter().chain(b"X: y\r\n").cycle().filter(|byte| **byte != b'\n') {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(secs(1)).await;
        }
    });
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    about(start.elapsed(), LIMITS.head);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("Connection: close"), "{head}");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], 408);
    assert!(ended.await.unwrap().is_err());
    drip.abort();
}

#[tokio::test(start_paused = true)]
async fn a_later_head_has_its_own_time_from_its_first_byte() {
    let (mut client, _ended) = connect(4096);
    assert!(get(&mut client).await.ends_with("ok"));
    sleep(secs(60)).await;
    client.write_all(b"GET / HT").await.unwrap();
    let (text, after) = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    about(after, LIMITS.head);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_quietly() {
    let (mut client, ended) = connect(4096);
    assert!(get(&mut client).await.ends_with("ok"));
    let (text, after) = rest(&mut client).await;
    assert_eq!(text, "");
    about(after, LIMITS.idle);
    ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_lives_on() {
    let (mut client, ended) = connect(4096);
    for pause in [0, 1, 9, 11, 74, 74, 0, 30, 70] {
        sleep(secs(pause)).await;
        assert!(get(&mut client).await.ends_with("ok"), "after {pause} s");
    }
    // Two at once: the second request's head came while the first was served.
    client.write_all(&GET.repeat(2)).await.unwrap();
    sleep(secs(1)).await;
    assert!(!ended.is_finished());
    let (text, after) = rest(&mut client).await;
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2);
    about(after, LIMITS.idle - secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_served_has_no_limit_here() {
    let (mut client, _ended) = connect(4096);
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (text, after) = rest(&mut client).await;
    assert!(text.ends_with("late"), "{text}");
    about(after, secs(1000));
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_cut() {
    let (mut client, ended) = connect(4096);
    client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let error = ended.await.unwrap().unwrap_err();
    about(start.elapsed(), LIMITS.idle);
    assert!(format!("{error:?}").contains("does not read"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_gets_it_all() {
    let (mut client, ended) = connect(64 << 10);
    client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut buffer, mut got) = (vec![0; 64 << 10], 0);
    loop {
        sleep(secs(70)).await;
        match client.read(&mut buffer).await.unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert!(got > 1 << 20, "{got}");
    ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_head_is_not_answered_in_the_middle_of_an_answer() {
    let (mut client, server) = duplex(64);
    let (mut guard, phase) = guarded(server, LIMITS);
    drop(phase.begin());
    guard.write_all(&[b'x'; 64]).await.unwrap();
    let more = guard.write(b"more");
    assert!(futures_util::poll!(std::pin::pin!(more)).is_pending());
    client.write_all(b"GET / HT").await.unwrap();
    let mut buffer = [0; 64];
    assert_eq!(guard.read(&mut buffer).await.unwrap(), 8);
    client.read_exact(&mut buffer).await.unwrap();
    let error = guard.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(guard);
    assert_eq!(rest(&mut client).await.0, "");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_is_not_idle() {
    let (mut client, ended) = connect(4096);
    client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buffer = [0; 256];
    for _ in 0..20 {
        assert!(client.read(&mut buffer).await.unwrap() > 0);
    }
    assert!(!ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_serving_may_be_told_by_another_task() {
    let (mut client, ended) = connect(4096);
    client.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (_, after) = rest(&mut client).await;
    assert!(after >= LIMITS.idle && after <= LIMITS.idle * 2 + secs(5), "{after:?}");
    ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_timer_is_made_where_nobody_waits() {
    let (mut client, server) = duplex(64);
    let (mut guard, _phase) = guarded(server, LIMITS);
    client.write_all(b"abc").await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(guard.read(&mut buffer).await.unwrap(), 3);
    assert!(guard.timer.is_none());
}

#[test]
fn several_requests_may_be_served_at_once() {
    let phase = Phase::default();
    let (one, two) = (phase.begin(), phase.begin());
    drop(one);
    assert!(Phase::is_served(phase.now()));
    drop(two);
    assert_eq!((Phase::is_served(phase.now()), phase.now() >> 32), (false, 4));
}

#[tokio::test]
async fn an_upgraded_connection_is_given_back_without_limits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: secs(20), idle: secs(20) };
    let (sent, given) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (guard, phase) = guarded(listener.accept().await.unwrap().0, limits);
        let sent = std::sync::Mutex::new(Some(sent));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (_serving, sent) = (phase.begin(), sent.lock().unwrap().take());
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let parts = upgrade.await.unwrap().downcast::<TokioIo<Guard<TcpStream>>>().unwrap();
                sent.unwrap().send(parts.io.into_inner().into_inner()).unwrap();
            });
            let response =
                Response::builder().status(101).header("Upgrade", "x").header("Connection", "upgrade");
            async move { response.body(full("")) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        http.serve_connection(TokioIo::new(guard), service).with_upgrades().await.unwrap();
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(client.read(&mut buffer).await.unwrap() > 0);
    let mut server = given.await.unwrap();
    tokio::time::pause();
    sleep(secs(60)).await;
    server.write_all(b"still here").await.unwrap();
    assert_eq!(client.read(&mut buffer).await.unwrap(), 10);
}

#[tokio::test]
async fn a_real_client_sees_the_408_and_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let limits = Limits { head: Duration::from_millis(100), idle: secs(1) };
        let (guard, _phase) = guarded(listener.accept().await.unwrap().0, limits);
        let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(full(""))) });
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guard), service).await
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, refusal(ProblemKind::HeaderTimeout));
}

/// A connection to hyper over a pipe of this size, and its phase.
fn connect_with_phase(pipe: usize) -> (DuplexStream, Phase) {
    let (client, server) = duplex(pipe);
    let (guard, phase) = guarded(server, LIMITS);
    let own = phase.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (serving, phase) = (phase.begin(), phase.clone());
        async move {
            let (parts, body) = request.into_parts();
            if !hyper::body::Body::is_end_stream(&body) {
                phase.receives(true);
                let _ = body.collect().await;
                return Ok::<_, Infallible>(Response::new(full("received")));
            }
            if parts.uri.path() == "/held" {
                phase.holds().await;
            }
            let big = if parts.uri.path() == "/big" { full(vec![b'x'; 1 << 20]) } else { full("ok") };
            drop(serving);
            Ok(Response::new(big))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guard), service);
    tokio::spawn(connection);
    (client, own)
}

/// What is read after a connection was told to give way, which ends it at once.
async fn given_way(client: &mut DuplexStream, phase: &Phase, rank: Rank) -> String {
    assert_eq!(phase.waits().map(|(rank, _)| rank), Some(rank));
    phase.give_way();
    assert_eq!(phase.waits(), None, "it is told once");
    let (text, after) = rest(client).await;
    about(after, Duration::ZERO);
    text
}

#[tokio::test(start_paused = true)]
async fn what_gives_way_ends_at_once() {
    let (mut client, phase) = connect_with_phase(4096);
    sleep(secs(1)).await;
    assert_eq!(given_way(&mut client, &phase, Rank::Idle).await, "", "silent");
    let (mut client, phase) = connect_with_phase(4096);
    assert!(get(&mut client).await.ends_with("ok"));
    sleep(secs(1)).await;
    assert_eq!(given_way(&mut client, &phase, Rank::Idle).await, "", "kept");
    let full = refusal(ProblemKind::Full);
    assert!(full.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && full.contains("Retry-After: 1\r\n"));
    for partial in [&GET[..9], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"] {
        let (mut client, phase) = connect_with_phase(4096);
        client.write_all(partial).await.unwrap();
        sleep(secs(1)).await;
        let rank = if partial.len() < 10 { Rank::Idle } else { Rank::Receiving };
        assert!(given_way(&mut client, &phase, rank).await.starts_with(&full));
    }
    let (mut client, phase) = connect_with_phase(64);
    client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(secs(1)).await;
    assert!(given_way(&mut client, &phase, Rank::Unread).await.len() < 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_served_is_answered_first() {
    let (mut client, phase) = connect_with_phase(4096);
    client.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(secs(1)).await;
    assert!(given_way(&mut client, &phase, Rank::Held).await.ends_with("ok"));
    let (mut client, phase) = connect_with_phase(4096);
    sleep(secs(1)).await;
    let _serving = phase.begin();
    assert_eq!(phase.waits(), None, "it waits for nothing of its client");
    // A request that came just before it was told.
    let (mut raced, phase) = connect_with_phase(4096);
    raced.write_all(GET).await.unwrap();
    phase.give_way();
    let (text, _) = rest(&mut raced).await;
    assert!(text.ends_with("ok"), "{text}");
    drop(client.shutdown().await);
}
