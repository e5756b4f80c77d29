//! Users whose connection to a proxy is TLS.

use super::in_time;
use btc_cluster_client::http::get;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The certificate of `localhost` that proxies of these tests have, and its key.
pub(crate) fn certificate() -> [PathBuf; 2] {
    ["leaf.crt", "leaf.key"]
        .map(|name| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name))
}

async fn secure(address: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate()[0]).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.expect("a connection");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    in_time("TLS", connecting).await.expect("a certificate that is trusted")
}

/// A tab over `wss`.
#[derive(Debug)]
pub(crate) struct Wss(WebSocketStream<TlsStream<TcpStream>>);

impl Wss {
    /// Opens a session, and hears its welcome.
    pub(crate) async fn open(proxy: SocketAddr, query: &str) -> Self {
        let stream = secure(proxy).await;
        let opening = client_async(format!("wss://localhost/ws?{query}"), stream);
        let (socket, _) = in_time("a handshake", opening).await.expect("a session");
        let mut it = Self(socket);
        assert_eq!(it.message().await["type"], "welcome");
        it
    }

    /// The next message, which must come.
    async fn message(&mut self) -> Value {
        loop {
            match in_time("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// Everything up to the answer to a ping of ours.
    pub(crate) async fn until_pong(&mut self) -> Vec<Value> {
        let id = fastrand::u32(..);
        let ping = json!({ "type": "ping", "id": id }).to_string();
        in_time("the tab speaks", self.0.send(Message::text(ping))).await.expect("the session is open");
        let mut before = vec![];
        loop {
            let message = self.message().await;
            if message["type"] == "pong" && message["id"] == id {
                return before;
            }
            before.push(message);
        }
    }
}

/// A listener of events over `https`.
#[derive(Debug)]
pub(crate) struct Listener {
    stream: TlsStream<TcpStream>,
    text: String,
}

impl Listener {
    /// Opens a session, and hears its welcome.
    pub(crate) async fn open(proxy: SocketAddr, query: &str) -> Self {
        let mut stream = secure(proxy).await;
        let request = get(&format!("/api/v1/events?{query}")).bytes("localhost");
        stream.write_all(&request).await.unwrap();
        let mut it = Self { stream, text: String::new() };
        it.until("event: welcome").await;
        it
    }

    /// Everything since the beginning, as soon as this is in it.
    pub(crate) async fn until(&mut self, what: &str) -> &str {
        let mut bytes = [0; 4096];
        while !self.text.contains(what) {
            let len = in_time("an event", self.stream.read(&mut bytes)).await.expect("the events go on");
            assert!(len > 0, "the events ended without {what}: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        &self.text
    }
}
