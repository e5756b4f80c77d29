//! The only HTTP client: requests and WebSocket handshakes with all limits set. TLS, the environment's proxies and the
//! checks of certificates are the same for both, because a stream begins as a request of this client.

use super::budget::Hosts;
use super::pace::Paced;
use super::reply::Reply;
use crate::model::one_line;
use crate::providers::{Budget, Fault};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
#[cfg(test)]
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// From the name to the TCP (and TLS) connection.
const CONNECT: Duration = Duration::from_secs(2);
/// From the beginning of a request to the last byte of the body; for a stream to its 101.
const WHOLE: Duration = Duration::from_secs(5);
/// Largest body and largest message. No encoding is requested, so nothing is inflated.
pub(in crate::providers) const LARGEST: usize = 256 * 1024;
/// Most redirects in a row, on the same host only.
const REDIRECTS: usize = 3;

/// An open stream.
pub(in crate::providers) type Socket = WebSocketStream<Paced<reqwest::Upgraded>>;

/// Whether the environment's proxies (`HTTPS_PROXY`, `NO_PROXY`) are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Used, as in other programs.
    Environment,
    /// Ignored: straight to the host, for tests.
    Ignored,
}

/// The client, built when it is first needed: without requests no root certificates are read.
#[derive(Debug)]
pub struct Http {
    client: OnceLock<Client>,
    proxies: Proxies,
    whole: Duration,
    hosts: Hosts,
}

/// An answer with its body.
pub(in crate::providers) struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
    /// The used part of the limit, if the answer tells it.
    pub budget: Option<Budget>,
}

impl Answer {
    pub(in crate::providers) fn reply(&self) -> Reply<'_> {
        Reply { status: self.status.as_u16(), retry_after: self.retry_after, body: &self.body }
    }
}

impl Http {
    /// A client that has opened nothing yet.
    #[must_use]
    pub fn new(proxies: Proxies) -> Self {
        Self { client: OnceLock::new(), proxies, whole: WHOLE, hosts: Hosts::default() }
    }

    /// A client without proxies, with another time-out of whole requests.
    #[cfg(test)]
    pub(crate) fn within(whole: Duration) -> Arc<Self> {
        Arc::new(Self { whole, ..Self::new(Proxies::Ignored) })
    }

    /// Whether the environment's proxies are used.
    pub(in crate::providers) fn uses_proxies(&self) -> bool {
        self.proxies == Proxies::Environment
    }

    pub(in crate::providers) fn client(&self) -> Result<&Client, Fault> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Another part of the process may have installed it already: the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = Client::builder()
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(2)
            .redirect(redirect::Policy::custom(follow))
            .user_agent(concat!("btc-cluster/", env!("CARGO_PKG_VERSION")));
        let builder = if self.proxies == Proxies::Ignored { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| Fault::Retry(chain(error)))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Gets `url` and reads the whole answer.
    ///
    /// # Errors
    /// [`Fault::Retry`] if there is none within the limits; a status is no error here. [`Fault::Wait`] while the host
    /// is blocked.
    pub(in crate::providers) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Answer, Fault> {
        self.hosts.check(&parse(url)?)?;
        let request = self.client()?.get(url).headers(headers);
        timeout(self.whole, async { whole(send(request).await?).await })
            .await
            .unwrap_or_else(|_| Err(Fault::Retry(format!("no answer within {:?}", self.whole))))
    }

    /// Opens the stream at a `ws://` or `wss://` address.
    ///
    /// # Errors
    /// The meaning of the status if the upgrade is refused, else [`Fault::Retry`]. [`Fault::Wait`] while the host is
    /// blocked.
    pub(in crate::providers) async fn open(&self, url: &str) -> Result<Socket, Fault> {
        // The schemes differ only in name: `ws` is `http`, `wss` is `https`.
        let url = url.strip_prefix("ws").map_or_else(|| url.to_owned(), |rest| format!("http{rest}"));
        self.hosts.check(&parse(&url)?)?;
        timeout(self.whole, self.handshake(&url))
            .await
            .unwrap_or_else(|_| Err(Fault::Retry(format!("no stream within {:?}", self.whole))))
    }

    /// Blocks the host of `url` for all users of this client if `fault` tells of a limit. A limit belongs to the host;
    /// an outage (5xx) may belong to one service.
    pub(in crate::providers) fn obey(&self, url: &str, status: u16, fault: &Fault) {
        if let (Fault::Wait(time, why), Ok(url), ..500) = (fault, parse(url), status) {
            self.hosts.close(&url, *time, why);
        }
    }

    /// RFC 6455, section 4.1.
    async fn handshake(&self, url: &str) -> Result<Socket, Fault> {
        let key = generate_key();
        let request = self
            .client()?
            .get(url)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key);
        let response = send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let answer = whole(response).await?;
            let reply = answer.reply();
            let fault = reply.fault().unwrap_or_else(|| {
                Fault::Retry(format!("an answer instead of a stream: {}", reply.excerpt()))
            });
            self.obey(url, reply.status, &fault);
            return Err(fault);
        }
        let accept = response.headers().get("sec-websocket-accept");
        if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(Fault::Retry("the handshake is not that of a WebSocket".to_owned()));
        }
        let stream = response.upgrade().await.map_err(|error| Fault::Retry(chain(error)))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(64 * 1024)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        Ok(WebSocketStream::from_raw_socket(Paced::new(stream), Role::Client, Some(config)).await)
    }
}

fn parse(url: &str) -> Result<Url, Fault> {
    Url::parse(url).map_err(|error| Fault::Refused(format!("{url}: {error}")))
}

pub(in crate::providers) async fn send(request: RequestBuilder) -> Result<Response, Fault> {
    request.send().await.map_err(|error| Fault::Retry(chain(error)))
}

async fn whole(mut response: Response) -> Result<Answer, Fault> {
    let status = response.status();
    let (retry_after, budget) = (seconds(response.headers()), Budget::of(response.headers()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Fault::Retry(chain(error)))? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Fault::Retry(format!("an answer of more than {LARGEST} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, body, budget })
}

/// `Retry-After` in seconds (as all exchanges send it); the form with a date is ignored.
fn seconds(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Follows redirects on the same host, but never from https to http. Any other redirect is read as the status it is.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let stays = attempt.previous().first().is_some_and(|from| same_place(from, attempt.url()));
    if stays && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
}

fn same_place(from: &Url, to: &Url) -> bool {
    let same_port = from.port_or_known_default() == to.port_or_known_default();
    let safer = from.scheme() == "http" && to.scheme() == "https";
    from.host() == to.host() && (safer || (from.scheme() == to.scheme() && same_port))
}

/// A header that is hidden in logs.
pub(in crate::providers) fn secret(
    name: &'static str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), Fault> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Fault::Refused(format!("the value for {name} cannot stand in a header")))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

/// The error down to its first cause, without the address, which the log has already.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    one_line(&text)
}

#[cfg(test)]
pub(in crate::providers) mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_host() {
        let same = |from: &str, to: &str| same_place(&from.parse().unwrap(), &to.parse().unwrap());
        assert!(same("https://a.example/x", "https://a.example/y"));
        assert!(same("http://a.example/x", "https://a.example/x"));
        assert!(!same("https://a.example/x", "http://a.example/x"));
        assert!(!same("https://a.example/x", "https://b.example/x"));
        assert!(!same("http://127.0.0.1:4000/", "http://127.0.0.1:4001/"));
    }

    #[test]
    fn only_seconds_are_a_retry_after() {
        let of = |text: &'static str| {
            seconds(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]))
        };
        assert_eq!(of(" 7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(of("-1"), None);
    }

    /// A server with a self-signed certificate.
    pub(in crate::providers) async fn impostor() -> std::io::Result<std::net::SocketAddr> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificate = include_bytes!("../../../tests/fixtures/tls/self-signed.crt");
        let key = include_bytes!("../../../tests/fixtures/tls/self-signed.key");
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        Ok(address)
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_signed_is_never_taken() {
        let address = impostor().await.unwrap();
        let http = Http::new(Proxies::Ignored);
        let asked = http.get(&format!("https://{address}/"), HeaderMap::new()).await.err();
        let opened = http.open(&format!("wss://{address}/")).await.err();
        for fault in [asked, opened] {
            let Some(Fault::Retry(why)) = fault else { panic!("{fault:?}") };
            assert!(why.contains("certificate"), "{why}");
        }
    }
}
