//! The client against answers of all forms: good ones, odd ones, broken ones.

use super::http_tests::request;
use super::*;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A server that says this to each request, and then nothing more: `close` the connection or leave it open.
async fn saying(answer: Vec<u8>, close: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(say(stream, answer.clone(), close));
        }
    });
    address
}

async fn say(mut stream: TcpStream, answer: Vec<u8>, close: bool) {
    while request(&mut stream).await.is_some() {
        let _ = stream.write_all(&answer).await;
        if close {
            return;
        }
    }
}

#[tokio::test]
async fn every_form_of_an_answer_is_read() {
    for (answer, close) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.1 200 OK\r\n\r\nok", true),
        ("HTTP/1.0 200 OK\r\n\r\nok", true),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", false),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\na: b\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            false,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", false),
    ] {
        let address = saying(answer.into(), close).await;
        let http = Http::within(Duration::from_secs(10));
        for _ in 0..3 {
            let got = http.get(&format!("http://{address}/"), HeaderMap::new()).await;
            let got = got.map(|got| (got.reply().status, got.reply().body.to_vec()));
            assert_eq!(got, Ok((200, b"ok".to_vec())), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_fault() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n{}", "x".repeat(300_000));
    for answer in [
        "",
        "\r\n\r\n",
        "<html>",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nok",
        &long,
        &many,
        &large,
    ] {
        let address = saying(answer.into(), true).await;
        let http = Http::within(Duration::from_secs(10));
        let got = http.get(&format!("http://{address}/"), HeaderMap::new()).await;
        let shown = &answer[..answer.len().min(80)];
        assert!(matches!(got, Err(Fault::Retry(_))), "{shown:?}");
    }
}

/// Refusals whose text is endless, broken off or too large.
fn refusals() -> [(Vec<u8>, bool); 4] {
    let head = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n";
    let large = format!("{head}content-length: 300000\r\n\r\n{}", "x".repeat(300_000));
    [
        (format!("{head}\r\nslower").into(), false),
        (format!("{head}content-length: 100\r\n\r\nslower").into(), true),
        (format!("{head}transfer-encoding: chunked\r\n\r\n6\r\nslower\r\nzz\r\n").into(), false),
        (large.into(), false),
    ]
}

#[tokio::test]
async fn the_status_of_a_refusal_counts_whatever_its_text_is() {
    for (answer, close) in refusals() {
        let address = saying(answer.clone(), close).await;
        let http = Http::within(Duration::from_secs(3));
        for url in [format!("http://{address}/"), format!("ws://{address}/")] {
            let fault = if url.starts_with("ws") {
                http.open(&url).await.map(|_| ()).err()
            } else {
                http.get(&url, HeaderMap::new()).await.map_or_else(Some, |answer| answer.reply().fault())
            };
            let shown = String::from_utf8_lossy(&answer[..120.min(answer.len())]).into_owned();
            let Some(Fault::Wait(time, why)) = fault else { panic!("{url} {shown}: {fault:?}") };
            assert!(time == Duration::from_secs(7) && why.starts_with("HTTP 429: "), "{url} {shown}: {why}");
        }
    }
}

#[tokio::test]
async fn a_proxy_s_refusal_is_named_whatever_its_text_is() {
    let page = format!("<html><title>Access denied</title>{}", " ".repeat(9000));
    let head = "HTTP/1.1 403 Forbidden\r\n";
    for answer in [
        format!("{head}\r\n"),
        format!("{head}content-length: {}\r\n\r\n{page}", page.len()),
        format!("{head}content-length: 99999\r\n\r\n{page}"),
    ] {
        let address = saying(answer.clone().into(), false).await;
        let proxies = Matcher::builder().all(format!("http://{address}")).build();
        let http = Http::with(Dialer::new(Names::default(), Tls::default(), Some(proxies)));
        let fault = http.open("wss://a.example/").await.map(|_| ()).unwrap_err();
        let Fault::Retry(why) = &fault else { panic!("{fault:?}") };
        assert!(why.starts_with("proxy: CONNECT a.example:443 was refused: HTTP 403"), "{why}");
        assert_eq!(why.contains("Access denied"), answer.contains("Access denied"), "{why}");
    }
}

/// The names' answer: two addresses, the first of which takes connections and says nothing.
async fn half_dead(port: u16) -> (Names, TcpListener) {
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind(SocketAddr::from(([127, 0, 0, 2], port))).unwrap();
    let silent = silent.listen(100).unwrap();
    let both = ["127.0.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
    (Names::new(move |_| Box::pin(async move { Ok(both.to_vec()) })), silent)
}

fn quick(tls: u64, answer: u64) -> HttpLimits {
    let ms = Duration::from_millis;
    let limits = HttpLimits::default();
    HttpLimits { dial: DialLimits { tls: ms(tls), ..limits.dial }, answer: ms(answer), ..limits }
}

#[tokio::test]
async fn an_address_that_takes_connections_and_says_nothing_is_left_for_another() {
    let address =
        saying(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".into(), true).await;
    let (names, _silent) = half_dead(address.port()).await;
    let http = Http::with(Dialer::new(names, Tls::default(), None));
    http.adopt(quick(5_000, 500));
    let url = format!("http://two.example:{}/", address.port());
    assert!(http.get(&url, HeaderMap::new()).await.is_err(), "nobody knows yet");
    for _ in 0..3 {
        assert_eq!(http.get(&url, HeaderMap::new()).await.map(|got| got.reply().status), Ok(200));
    }
}

#[tokio::test]
async fn an_address_without_tls_is_left_for_another_whose_certificate_must_fit() {
    let (address, tls) = http_tests::late(Duration::ZERO).await;
    let (names, _silent) = half_dead(address.port()).await;
    let http = Http::with(Dialer::new(names, tls, None));
    http.adopt(quick(1_500, 5_000));
    let mut why = Vec::new();
    for url in ["https", "wss", "https"].map(|scheme| format!("{scheme}://two.example:{}/", address.port())) {
        let fault = match url.strip_prefix("wss") {
            Some(_) => http.open(&url).await.map(|_| ()),
            None => http.get(&url, HeaderMap::new()).await.map(|_| ()),
        };
        why.push(fault.unwrap_err().to_string());
    }
    assert_eq!(why[0], "TLS: nothing within 1.5s");
    assert!(why[1].contains("certificate not valid for name \"two.example\""), "{why:?}");
}

/// What some servers say to an idle connection, read in the moment of the next request.
#[tokio::test]
async fn a_good_bye_that_crosses_a_request_is_no_fault() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (said, saying) = std::sync::mpsc::channel();
    let (wrote, written) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut head = [0; 4096];
        for bye in [true, false] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            if bye {
                // After the client has read its answer.
                saying.recv().unwrap();
                stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n").unwrap();
                wrote.send(()).unwrap();
            }
            drop(stream);
            saying.recv().unwrap_or(());
        }
    });
    let http = Http::within(Duration::from_secs(10));
    let url = format!("http://{address}/");
    assert_eq!(http.get(&url, HeaderMap::new()).await.map(|got| got.reply().status), Ok(200));
    // The one thread of this test: nothing is read before the next request is on its way.
    said.send(()).unwrap();
    written.recv().unwrap();
    said.send(()).unwrap();
    assert_eq!(http.get(&url, HeaderMap::new()).await.map(|got| got.reply().status), Ok(200));
}
