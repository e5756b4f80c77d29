//! TLS of the daemon's own ports: certificates that change under sessions, tickets that all workers take, admins with
//! certificates, and sessions that no other process can go on with.

use crate::harness::{Cluster, Setup, cluster, eventually, in_time, is_gone};
use futures_util::StreamExt;
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

pub(crate) const NAME: &str = "one.example.com";
const CONFIG: &str = r#"
[http]
hosts = ["one.example.com", "other.example.com"]
listen_tls = "127.0.0.1:0"
[ws]
listen_tls = "127.0.0.1:0"
[tls]
cert = "{dir}/own.crt"
key = "{dir}/own.key"
"#;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls/listening").join(name)
}

/// A cluster that listens for TLS, with the first certificate.
pub(crate) fn secured(more: &str) -> Setup {
    let text = |name: &str| std::fs::read_to_string(fixture(name)).unwrap();
    let files = [
        ("own.crt", "first.crt"),
        ("own.key", "first.key"),
        ("wild.crt", "wild.crt"),
        ("wild.key", "wild.key"),
    ];
    // A machine that is busy with other tests takes seconds for the first handshakes of many processes.
    let setup = cluster()
        .config(&format!("{CONFIG}{more}"))
        .variable("BTC_CLUSTER__CLUSTER__WORKER_TIMEOUT", "30s")
        .variable("BTC_CLUSTER__HTTP__HEADER_TIMEOUT", "30s");
    files.iter().fold(setup, |setup, (name, of)| setup.file(name, &text(of)))
}

pub(crate) fn put(cluster: &Cluster, name: &str, of: &str) {
    std::fs::copy(fixture(of), cluster.folder().join(name)).unwrap();
}

pub(crate) async fn port(cluster: &Cluster, door: &str) -> SocketAddr {
    let status = cluster.ctl(&["--json", "status"]).await.json();
    status["listening"][door][0].as_str().and_then(|text| text.parse().ok()).expect(door)
}

/// A client that trusts the authority of these tests, and keeps its tickets.
pub(crate) fn client(own: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(fixture(&format!("{name}.crt"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(fixture(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

pub(crate) async fn connect(
    at: SocketAddr,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(at).await.unwrap();
    let connecting = TlsConnector::from(client.clone()).connect(ServerName::try_from(name).unwrap(), stream);
    in_time("TLS", connecting).await.expect("a handshake")
}

/// What the server presents.
pub(crate) async fn presented(at: SocketAddr, name: &'static str) -> Vec<u8> {
    let stream = connect(at, &client(None), name).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

pub(crate) fn der(name: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(fixture(name)).unwrap().to_vec()
}

/// One request and its whole answer.
pub(crate) async fn ask(mut stream: TlsStream<TcpStream>, path: &str, host: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    in_time("an answer", stream.read_to_string(&mut answer)).await?;
    Ok(answer)
}

#[derive(Debug)]
pub(crate) struct Tab(pub(crate) WebSocketStream<TlsStream<TcpStream>>);

impl Tab {
    pub(crate) async fn open(at: SocketAddr, client: &Arc<ClientConfig>, query: &str) -> (Self, Value) {
        let stream = connect(at, client, NAME).await;
        let opening = client_async(format!("wss://{NAME}/ws?{query}"), stream);
        let mut it = Self(in_time("a handshake", opening).await.expect("a session").0);
        let welcome = it.until("welcome").await;
        (it, welcome)
    }

    /// The next message of that kind.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            match in_time("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] == kind {
                        return message;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no {kind} but {other:?}"),
            }
        }
    }

    /// The code that the session ends with.
    pub(crate) async fn closed(mut self) -> CloseCode {
        loop {
            if let Message::Close(frame) = in_time("the end", self.0.next()).await.unwrap().unwrap() {
                return frame.unwrap().code;
            }
        }
    }
}

pub(crate) async fn replace(cluster: &Cluster) {
    let before: Vec<u32> = cluster.workers().await.iter().filter_map(|worker| worker.pid).collect();
    cluster.signal(Signal::USR2);
    eventually("all workers are new", async || {
        let now = cluster.try_workers().await?;
        let all = before.iter().all(|pid| is_gone(*pid)) && now.iter().all(|worker| worker.state == "ready");
        if all { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_renewed_certificate_is_presented_under_sessions_that_stay() {
    let cluster =
        secured("[[tls.certificates]]\ncert = \"{dir}/wild.crt\"\nkey = \"{dir}/wild.key\"").start().await;
    let (http, ws) = (port(&cluster, "http-tls").await, port(&cluster, "ws-tls").await);
    assert_eq!(presented(http, NAME).await, der("first.crt"));
    assert_eq!(presented(ws, "other.example.com").await, der("wild.crt"), "the name chooses");
    let answer = ask(connect(http, &client(None), NAME).await, "/healthz", NAME).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut tabs = vec![];
    for user in 0..20 {
        tabs.push(
            Tab::open(if user % 2 == 0 { http } else { ws }, &client(None), &format!("user_id=u{user}"))
                .await
                .0,
        );
    }
    put(&cluster, "own.crt", "renewed.crt");
    // For a moment the pair does not fit.
    put(&cluster, "own.key", "renewed.key");
    eventually("the new one is presented", async || {
        let now = presented(http, NAME).await;
        if now == der("renewed.crt") { Ok(()) } else { Err("the first".to_owned()) }
    })
    .await;
    put(&cluster, "own.key", "first.key");
    cluster.logged(&["certificate-refused", "do not fit"]).await;
    assert_eq!(presented(http, NAME).await, der("renewed.crt"));
    for (user, tab) in tabs.iter_mut().enumerate() {
        assert_eq!(cluster.quote(&format!("u{user}")).await.status, 202);
        tab.until("quote").await;
    }
    let log = cluster.log();
    assert_eq!(log.matches("certificate-taken").count(), 1, "{log}");
}

#[tokio::test]
async fn a_ticket_of_one_worker_holds_in_all_and_after_their_replacement() {
    let cluster = secured("[cluster]\nworkers = 4").workers(4).start().await;
    let at = port(&cluster, "http-tls").await;
    let client = client(None);
    let mut kinds = vec![];
    for round in 0..2 {
        for _ in 0..20 {
            let stream = connect(at, &client, NAME).await;
            // The kind is known, and the next ticket is here, once something was read.
            let kind = stream.get_ref().1.handshake_kind();
            ask(stream, "/healthz", NAME).await.unwrap();
            kinds.push(kind);
        }
        if round == 0 {
            replace(&cluster).await;
        }
    }
    let resumed = kinds.iter().filter(|kind| **kind == Some(HandshakeKind::Resumed)).count();
    assert_eq!((kinds.len(), resumed), (40, 39), "all but the first: {kinds:?}");
}

#[tokio::test]
async fn a_session_that_cannot_be_moved_is_told_to_come_back_and_goes_on() {
    let cluster = secured("").start().await;
    let (at, client) = (port(&cluster, "http-tls").await, client(None));
    let mut tabs = vec![];
    for user in 0..10 {
        tabs.push((user, Tab::open(at, &client, &format!("user_id=u{user}")).await));
    }
    let replaced = replace(&cluster);
    let comes_back = async {
        for (user, (mut tab, welcome)) in tabs {
            let told = tab.until("system").await;
            assert_eq!(told["event"], "restarting");
            assert!(told["reconnect_in_ms"].as_u64().is_some_and(|wait| wait >= 100), "{told}");
            assert_eq!(tab.closed().await, CloseCode::Restart);
            let token = welcome["resume"].as_str().unwrap();
            let (_, again) = Tab::open(at, &client, &format!("user_id=u{user}&resume={token}")).await;
            assert_eq!((&again["resumed"], &again["session_id"]), (&true.into(), &welcome["session_id"]));
        }
    };
    tokio::join!(replaced, comes_back);
}

#[tokio::test]
async fn an_admin_needs_a_certificate_of_the_authority() {
    let more =
        format!("[admin]\nlisten_tls = \"127.0.0.1:0\"\n[tls]\nclient_ca = {:?}", fixture("client-ca.crt"));
    // A table stands once in a file.
    let text = CONFIG.replace("[tls]\n", &format!("{more}\n"));
    let cluster = secured("").config(&text).start().await;
    let at = port(&cluster, "admin-tls").await;
    let answer = ask(connect(at, &client(Some("client")), NAME).await, "/metrics", NAME).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("btc_cluster_certificate_expiry_seconds"),
        "{answer}"
    );
    // With TLS 1.3 a client hears of the refusal when it reads.
    let refused = ask(connect(at, &client(None), NAME).await, "/metrics", NAME).await;
    assert!(refused.is_err(), "{refused:?}");
    let mut plain = TcpStream::connect(at).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    in_time("an answer", plain.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https"), "{answer}");
}

/// A proxy says whose connection it is before the handshake, in the clear.
#[tokio::test]
async fn the_proxy_protocol_comes_before_the_handshake() {
    let told = "[http]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.9/32\"]\n[limits]\nconnects_per_address = \"1/h\"\n";
    let cluster = secured("").file("conf.d/proxy.toml", told).start().await;
    let to = port(&cluster, "http-tls").await;
    let mut seen = vec![];
    for client_address in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
        let mut stream = in_time("connect", socket.connect(to)).await.unwrap();
        let line = format!("PROXY TCP4 {client_address} 127.0.0.1 4711 443\r\n");
        stream.write_all(line.as_bytes()).await.unwrap();
        let connecting =
            TlsConnector::from(client(None)).connect(ServerName::try_from(NAME).unwrap(), stream);
        let stream = in_time("TLS", connecting).await.expect("a handshake");
        let answer = ask(stream, "/api/v1/poll?user_id=a&channels=none", NAME).await.unwrap();
        seen.push(answer.split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(seen, ["200", "429", "200"]);
}
