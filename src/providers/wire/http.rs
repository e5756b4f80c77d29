//! The only HTTP client: requests and WebSocket handshakes with all limits set. TLS, the environment's proxies and the
//! checks of certificates are the same for both, because a stream begins as a request of this client.

use super::age::Age;
use super::body::{LARGEST, Whole, told, whole};
use super::budget::Hosts;
use super::dial::{DialLimits, Dialer, Made};
use super::names::Names;
use super::pace::Paced;
use super::pool::{Connection, Pool};
use super::reply::Reply;
use super::tls::Tls;
use crate::config::PriceSection;
use crate::os::clock;
use crate::providers::{Budget, Fault, PauseLimits};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, LOCATION, UPGRADE};
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
#[cfg(test)]
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

/// Most redirects in a row, on the same host only.
const REDIRECTS: usize = 3;

/// An open stream.
pub(in crate::providers) type Socket = WebSocketStream<Paced<TokioIo<Upgraded>>>;

/// Whether the environment's proxies (`HTTPS_PROXY`, `NO_PROXY`) are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Used, as in other programs.
    Environment,
    /// Ignored: straight to the host, for tests.
    Ignored,
}

/// Bytes of a stream that the kernel may hold unread: what waits there is old before it is read. Enough for a megabyte a
/// second over a long way.
const STREAM_UNREAD: u32 = 128 * 1024;

/// The limits that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    pub(in crate::providers) dial: DialLimits,
    /// From the request to the last byte of the answer; for a stream to its 101.
    pub(in crate::providers) answer: Duration,
    pub(in crate::providers) pauses: PauseLimits,
}

impl HttpLimits {
    /// The part of `[price]`.
    #[must_use]
    pub fn of(price: &PriceSection) -> Self {
        let dial = DialLimits {
            resolve: price.resolve_timeout,
            connect: price.connect_timeout,
            tls: price.tls_timeout,
            unread: None,
        };
        Self { dial, answer: price.answer_timeout, pauses: PauseLimits::of(price) }
    }

    /// The same, but no step has less than `patience`.
    pub(in crate::providers) fn at_least(self, patience: Duration) -> Self {
        let DialLimits { resolve, connect, tls, unread } = self.dial;
        let dial = DialLimits {
            resolve: resolve.max(patience),
            connect: connect.max(patience),
            tls: tls.max(patience),
            unread,
        };
        Self { dial, answer: self.answer.max(patience), ..self }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let dial = DialLimits { resolve: seconds(10), connect: seconds(4), tls: seconds(5), unread: None };
        Self { dial, answer: seconds(5), pauses: PauseLimits::default() }
    }
}

/// The client.
#[derive(Debug)]
pub struct Http {
    dialer: Dialer,
    pool: Pool,
    limits: Mutex<HttpLimits>,
    hosts: Hosts,
}

/// An answer with its body.
pub(in crate::providers) struct Answer {
    whole: Whole,
    /// The used part of the limit, if the answer tells it.
    pub budget: Option<Budget>,
}

impl Answer {
    pub(in crate::providers) fn age(&self) -> Age {
        Age::of(&self.whole.headers)
    }

    pub(in crate::providers) fn reply(&self) -> Reply<'_> {
        Reply::of(self.whole.status.as_u16(), &self.whole.headers, &self.whole.body, clock::wall())
    }
}

impl Http {
    /// A client that has opened nothing yet.
    #[must_use]
    pub fn new(proxies: Proxies) -> Self {
        let proxies = (proxies != Proxies::Ignored).then(Matcher::from_env);
        Self::with(Dialer::new(Names::default(), Tls::default(), proxies))
    }

    pub(in crate::providers) fn with(dialer: Dialer) -> Self {
        let limits = Mutex::new(HttpLimits::default());
        Self { dialer, pool: Pool::default(), limits, hosts: Hosts::default() }
    }

    /// A client without proxies, with another time-out of each step.
    #[cfg(test)]
    pub(crate) fn within(time: Duration) -> Arc<Self> {
        let http = Self::new(Proxies::Ignored);
        let dial = DialLimits { resolve: Duration::from_secs(10), connect: time, tls: time, unread: None };
        http.adopt(HttpLimits { dial, answer: time, ..HttpLimits::default() });
        Arc::new(http)
    }

    /// Applies other limits from the next request on.
    pub fn adopt(&self, limits: HttpLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(in crate::providers) fn limits(&self) -> HttpLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets `url` and reads the whole answer.
    ///
    /// # Errors
    /// [`Fault::Retry`] if there is none within the limits; a status is no error here. [`Fault::Wait`] while the host
    /// is blocked.
    pub(in crate::providers) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Answer, Fault> {
        let mut url = parse(url)?;
        self.hosts.check(&url)?;
        let mut followed = 0;
        let whole = loop {
            let whole = self.once(&url, &headers).await?;
            match next(&url, whole.status, &whole.headers) {
                Some(next) if followed < REDIRECTS => (url, followed) = (next, followed + 1),
                _ => break whole,
            }
        };
        let budget = Budget::of(&whole.headers);
        Ok(Answer { whole, budget })
    }

    /// Gets the body behind an address that is no exchange's: at most 256 KiB, redirects on the same host only.
    ///
    /// # Errors
    /// Why there is none, without what follows the host in the address.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let answer = self.get(url, HeaderMap::new()).await.map_err(|fault| fault.to_string())?;
        match answer.reply().fault() {
            Some(_) => Err(format!("HTTP {}", answer.whole.status.as_u16())),
            None => Ok(answer.whole.body),
        }
    }

    /// Sends a GET. A kept connection that turns out to have gone is no fault.
    async fn once(&self, url: &Url, headers: &HeaderMap) -> Result<Whole, Fault> {
        let HttpLimits { dial, answer, .. } = self.limits();
        if let Some(kept) = self.pool.take(url) {
            match self.pool.get(kept, url, headers.clone(), answer).await {
                // What some servers say to an idle connection before they close it.
                Ok(whole) if whole.status == StatusCode::REQUEST_TIMEOUT => {}
                Ok(whole) => return Ok(whole),
                Err((_, true)) => tracing::debug!(host = url.host_str(), "a kept connection had gone"),
                Err((fault, false)) => return Err(fault),
            }
        }
        let fresh = Connection::open(&self.dialer, url, dial, &mut Vec::new()).await?;
        let address = fresh.address();
        self.pool.get(fresh, url, headers.clone(), answer).await.map_err(|(fault, _)| {
            self.dialer.failed(url, address);
            fault
        })
    }

    /// Opens the stream at a `ws://` or `wss://` address.
    ///
    /// # Errors
    /// The meaning of the status if the upgrade is refused, else [`Fault::Retry`]. [`Fault::Wait`] while the host is
    /// blocked.
    pub(in crate::providers) async fn open(&self, url: &str) -> Result<Socket, Fault> {
        // The schemes differ only in name: `ws` is `http`, `wss` is `https`.
        let url = url.strip_prefix("ws").map_or_else(|| url.to_owned(), |rest| format!("http{rest}"));
        let mut url = parse(&url)?;
        self.hosts.check(&url)?;
        let HttpLimits { dial, answer, .. } = self.limits();
        let dial = DialLimits { unread: Some(STREAM_UNREAD), ..dial };
        for followed in 0.. {
            let connection = Connection::open(&self.dialer, &url, dial, &mut Vec::new()).await?;
            let address = connection.address();
            let shaken = timeout(answer, handshake(connection, &url, Instant::now() + answer)).await;
            let late = |_| Err(Fault::Retry(format!("answer: no stream within {answer:?}")));
            let answer = match shaken.unwrap_or_else(late) {
                Ok(Shaken::Open(socket)) => return Ok(*socket),
                Ok(Shaken::Answer(whole)) => whole,
                Err(fault) => {
                    self.dialer.failed(&url, address);
                    return Err(fault);
                }
            };
            match next(&url, answer.status, &answer.headers) {
                Some(next) if followed < REDIRECTS => url = next,
                _ => return Err(self.no_stream(&url, Answer { whole: answer, budget: None })),
            }
        }
        Err(Fault::Retry("redirected too often".to_owned()))
    }

    fn no_stream(&self, url: &Url, answer: Answer) -> Fault {
        let reply = answer.reply();
        let fault = reply
            .fault()
            .unwrap_or_else(|| Fault::Retry(format!("an answer instead of a stream: {}", reply.excerpt())));
        self.obey(url.as_str(), reply.status, &fault);
        fault
    }

    /// Asks the host of `url` for anything, on a connection of its own, and notes the steps.
    ///
    /// # Errors
    /// The step that failed.
    pub(in crate::providers) async fn knock(
        &self,
        url: &Url,
        limits: HttpLimits,
        steps: &mut Vec<Made>,
    ) -> Result<(StatusCode, HeaderMap), Fault> {
        let mut connection = Connection::open(&self.dialer, url, limits.dial, steps).await?;
        let asked = timeout(limits.answer, connection.send(Method::HEAD, url, HeaderMap::new())).await;
        let late = || Fault::Retry(format!("answer: nothing within {:?}", limits.answer));
        let response = asked.map_err(|_| late())??;
        Ok((response.status(), response.headers().clone()))
    }

    /// Blocks the host of `url` for all users of this client if `fault` tells of a limit. A limit belongs to the host;
    /// an outage (5xx) may belong to one service.
    pub(in crate::providers) fn obey(&self, url: &str, status: u16, fault: &Fault) {
        if let (Fault::Wait(time, why), Ok(url), ..500) = (fault, parse(url), status) {
            self.hosts.close(&url, (*time).min(self.limits().pauses.wait_max), why);
        }
    }

    /// Lifts the blocks of the hosts of these addresses, and reaches them anew: name, connection, certificates.
    pub fn lift(&self, urls: &[String]) {
        for url in urls.iter().filter_map(|url| Url::parse(url).ok()) {
            self.hosts.lift(&url);
            self.pool.forget(&url);
            self.dialer.forget(&url);
        }
    }
}

/// The answer to a handshake.
enum Shaken {
    Open(Box<Socket>),
    Answer(Whole),
}

/// RFC 6455, section 4.1.
async fn handshake(mut connection: Connection, url: &Url, until: Instant) -> Result<Shaken, Fault> {
    let key = generate_key();
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    let value = HeaderValue::from_str(&key).map_err(|error| Fault::Retry(error.to_string()))?;
    headers.insert("sec-websocket-key", value);
    let response = connection.send(Method::GET, url, headers).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Shaken::Answer(whole(response, until).await?));
    }
    let accept = response.headers().get("sec-websocket-accept");
    if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(Fault::Retry("the handshake is not that of a WebSocket".to_owned()));
    }
    let stream = hyper::upgrade::on(response).await.map_err(|error| told(&error))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let socket =
        WebSocketStream::from_raw_socket(Paced::new(TokioIo::new(stream)), Role::Client, Some(config)).await;
    Ok(Shaken::Open(Box::new(socket)))
}

fn parse(url: &str) -> Result<Url, Fault> {
    Url::parse(url).map_err(|error| Fault::Refused(format!("{url}: {error}")))
}

/// Where a redirect leads, if it is followed: on the same host, but never from https to http. Any other redirect is read
/// as the status it is.
fn next(url: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Url> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let to = url.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    same_place(url, &to).then_some(to)
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

#[cfg(test)]
#[path = "http_tests.rs"]
mod http_tests;

#[cfg(test)]
#[path = "answer_tests.rs"]
mod answer_tests;
