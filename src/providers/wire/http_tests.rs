//! The client against servers that are slow, gone, or something else.

use super::*;
use crate::providers::wire::dial::Step;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What a server does with the requests of one connection: an answer each, and then the end.
#[derive(Clone, Copy)]
enum End {
    /// Reads one more request and closes.
    Fin,
    /// Reads one more request and resets.
    Reset,
    /// Reads one more request, and says half of an answer.
    Half,
    /// Says 408 to the next request and closes, as if it had been idle.
    Timeout,
    /// Says nothing more, on an open connection.
    Silence,
    /// Closes at once, as told in the answer.
    Told,
}

/// A server that answers once on each connection. Counts connections.
async fn once(end: End) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, end));
        }
    });
    (address, count)
}

pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(head)
}

async fn serve(mut stream: TcpStream, end: End) -> Option<()> {
    request(&mut stream).await?;
    let close = if matches!(end, End::Told) { "connection: close\r\n" } else { "" };
    let answer = format!("HTTP/1.1 200 OK\r\n{close}content-length: 2\r\n\r\nok");
    stream.write_all(answer.as_bytes()).await.ok()?;
    if matches!(end, End::Told) {
        return None;
    }
    request(&mut stream).await?;
    match end {
        End::Reset => stream.set_zero_linger().ok()?,
        End::Half => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await.ok()?,
        End::Timeout => {
            let text = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(text).await.ok()?;
        }
        End::Silence => std::future::pending().await,
        End::Fin | End::Told => {}
    }
    None
}

async fn get(http: &Http, address: SocketAddr) -> Result<u16, Fault> {
    let answer = http.get(&format!("http://{address}/"), HeaderMap::new()).await?;
    Ok(answer.reply().status)
}

#[tokio::test]
async fn a_kept_connection_that_has_gone_is_no_fault() {
    for end in [End::Fin, End::Reset, End::Timeout, End::Silence, End::Told] {
        let (address, connections) = once(end).await;
        let (rounds, patience) = if matches!(end, End::Silence) { (2, 2) } else { (5, 10) };
        let http = Http::within(Duration::from_secs(patience));
        for round in 0..rounds {
            assert_eq!(get(&http, address).await, Ok(200), "round {round}");
        }
        assert_eq!(connections.load(Ordering::Relaxed), rounds);
    }
}

#[tokio::test]
async fn half_an_answer_is_a_fault_on_a_kept_connection_too() {
    let (address, connections) = once(End::Half).await;
    let http = Http::within(Duration::from_secs(10));
    assert_eq!(get(&http, address).await, Ok(200));
    assert!(matches!(get(&http, address).await, Err(Fault::Retry(_))));
    assert_eq!(connections.load(Ordering::Relaxed), 1, "nothing is sent again");
}

#[tokio::test]
async fn a_new_connection_that_closes_without_a_word_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            request(&mut stream).await;
        }
    });
    let http = Http::within(Duration::from_secs(10));
    assert!(matches!(get(&http, address).await, Err(Fault::Retry(_))));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while request(&mut stream).await.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let http = Http::within(Duration::from_secs(10));
    for _ in 0..5 {
        assert_eq!(get(&http, address).await, Ok(200));
    }
}

/// TLS that begins late, with a certificate that the client trusts.
pub(super) async fn late(pause: Duration) -> (SocketAddr, Tls) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = include_bytes!("../../../tests/fixtures/tls/leaf.crt");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../../tests/fixtures/tls/leaf.key")).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().unwrap();
    let tls = Tls::trusting(chain[0].clone());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let mut stream = acceptor.accept(stream).await.ok()?;
                request(&mut stream).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    (address, tls)
}

fn limits(tls: Duration) -> HttpLimits {
    let dial = DialLimits { tls, ..HttpLimits::default().dial };
    HttpLimits { dial, ..HttpLimits::default() }
}

#[tokio::test]
async fn tls_has_a_limit_of_its_own_and_a_fault_names_it() {
    let (address, tls) = late(Duration::from_millis(2200)).await;
    let http = Http::with(Dialer::new(Names::default(), tls, None));
    let url: Url = format!("https://{address}/").parse().unwrap();
    assert_eq!(http.get(url.as_str(), HeaderMap::new()).await.map(|answer| answer.reply().status), Ok(200));
    http.adopt(limits(Duration::from_millis(300)));
    let fault = http.get(url.as_str(), HeaderMap::new()).await.map(|_| ()).unwrap_err();
    assert_eq!(fault, Fault::Retry("TLS: nothing within 300ms".to_owned()));
    let mut steps = Vec::new();
    let _ = http.knock(&url, limits(Duration::from_millis(300)), &mut steps).await;
    let made: Vec<_> = steps.iter().map(|made| (made.step, made.outcome.is_ok())).collect();
    assert_eq!(made, [(Step::Name, true), (Step::Tcp, true), (Step::Tls, false)]);
}

#[tokio::test]
async fn a_black_hole_among_the_addresses_costs_a_quarter_of_a_second() {
    let (address, _) = once(End::Told).await;
    // A listener with a full queue answers nobody.
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind(SocketAddr::from(([127, 0, 0, 2], address.port()))).unwrap();
    let hole = hole.listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        timeout(Duration::from_millis(300), TcpStream::connect(hole.local_addr().unwrap())).await
    {
        queue.push(stream);
    }
    let names = Names::new(|_| {
        Box::pin(async { Ok(vec!["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()]) })
    });
    let http = Http::with(Dialer::new(names, Tls::default(), None));
    let url = format!("http://two.example:{}/", address.port());
    let mut took = Vec::new();
    for _ in 0..2 {
        let begin = Instant::now();
        let status = http.get(&url, HeaderMap::new()).await.map(|answer| answer.reply().status);
        assert_eq!(status, Ok(200));
        took.push(begin.elapsed());
    }
    assert!(took[0] < Duration::from_secs(2) && took[1] < Duration::from_millis(250), "{took:?}");
}

/// A proxy that answers CONNECT so, and a client that uses it.
async fn behind(answer: &'static str, tls: Tls) -> (Http, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = String::from_utf8(request(&mut stream).await?).unwrap();
                stream.write_all(answer.as_bytes()).await.ok()?;
                let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
                assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz"), "{head}");
                let mut far = TcpStream::connect(target).await.ok()?;
                tokio::io::copy_bidirectional(&mut stream, &mut far).await.ok()
            });
        }
    });
    let proxies = Matcher::builder().all(format!("http://user:pass@{address}")).build();
    (Http::with(Dialer::new(Names::default(), tls, Some(proxies))), address)
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_status() {
    let page = "<html><title>Access denied</title>";
    let refusal: &'static str = Box::leak(
        format!("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: {}\r\n\r\n{page}", page.len())
            .into_boxed_str(),
    );
    let (http, _) = behind(refusal, Tls::default()).await;
    let why = "proxy: CONNECT a.example:443 was refused: HTTP 407: a page of HTML (\"Access denied\")";
    let asked = http.get("https://a.example/", HeaderMap::new()).await.map(|_| ());
    assert_eq!(asked, Err(Fault::Retry(why.to_owned())));
    assert_eq!(http.open("wss://a.example/").await.map(|_| ()), Err(Fault::Retry(why.to_owned())));
}

#[tokio::test]
async fn a_proxy_is_passed_for_tls_and_asked_for_the_rest() {
    let (address, tls) = late(Duration::ZERO).await;
    let (http, _) = behind("HTTP/1.1 200 Connection established\r\n\r\n", tls).await;
    let answer = http.get(&format!("https://{address}/"), HeaderMap::new()).await.map(|a| a.reply().status);
    assert_eq!(answer, Ok(200));
    let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let (http, _) = behind(plain, Tls::default()).await;
    let answer = http.get("http://a.example/x", HeaderMap::new()).await.map(|a| a.reply().status);
    assert_eq!(answer, Ok(200), "the proxy itself answers");
}

#[tokio::test]
async fn a_redirect_elsewhere_is_named_with_its_target() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            request(&mut stream).await;
            let text = "HTTP/1.1 302 Found\r\nlocation: https://portal.example/login?u=1\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let http = Http::within(Duration::from_secs(10));
    let why = "HTTP 302: a redirect to https://portal.example/login";
    let answer = http.get(&format!("http://{address}/"), HeaderMap::new()).await.unwrap();
    assert_eq!(answer.reply().fault(), Some(Fault::Retry(why.to_owned())));
    let opened = http.open(&format!("ws://{address}/")).await.map(|_| ());
    assert_eq!(opened, Err(Fault::Retry(why.to_owned())));
}
