//! HTTP/1.1 requests on connections that are kept for the next one.
//!
//! A kept connection may be gone: servers close idle ones whenever they like, also at the moment of the next request.
//! A GET that gets not a byte on a kept connection (closed, reset, or forgotten by a firewall) is sent once more, on a
//! new one (RFC 9112, section 9.3.1), and no fault is seen.

use super::body::{Whole, told, whole};
use super::dial::{DialLimits, Dialed, Dialer, Made};
use crate::providers::Fault;
use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use url::{Position, Url};

/// Connections that are kept for each host.
const KEPT: usize = 2;
/// A connection that was idle for longer is not used.
const IDLE: Duration = Duration::from_secs(90);
const AGENT: &str = concat!("btc-cluster/", env!("CARGO_PKG_VERSION"));

/// Counts what is read.
struct Counted<T> {
    io: T,
    read: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let more = buffer.filled().len() - before;
        self.read.fetch_add(more as u64, Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// A connection on which requests can be sent.
pub(in crate::providers) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    read: Arc<AtomicU64>,
    /// A proxy that reads the requests, with its authorisation.
    proxy: Option<Option<HeaderValue>>,
    address: Option<IpAddr>,
    used: Instant,
    _task: AbortOnDropHandle<()>,
}

impl Connection {
    pub(in crate::providers) async fn open(
        dialer: &Dialer,
        url: &Url,
        limits: DialLimits,
        steps: &mut Vec<Made>,
    ) -> Result<Self, Fault> {
        let Dialed { io, proxy, address } = dialer.dial(url, limits, steps).await?;
        let read = Arc::new(AtomicU64::new(0));
        let io = TokioIo::new(Counted { io, read: read.clone() });
        let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(|error| told(&error))?;
        let task = tokio::spawn(async move { _ = connection.with_upgrades().await });
        let (used, _task) = (Instant::now(), AbortOnDropHandle::new(task));
        Ok(Self { sender, read, proxy, address, used, _task })
    }

    /// The address at the other end, if the host's name has it.
    pub(in crate::providers) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Sends a request and returns the head of its answer.
    pub(in crate::providers) async fn send(
        &mut self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, Fault> {
        let request = self.request(method, url, headers)?;
        self.sender.ready().await.map_err(|error| told(&error))?;
        self.sender.send_request(request).await.map_err(|error| told(&error))
    }

    fn request(&self, method: Method, url: &Url, headers: HeaderMap) -> Result<Request<Empty<Bytes>>, Fault> {
        // A proxy is told the whole address.
        let from = if self.proxy.is_some() { Position::BeforeScheme } else { Position::BeforePath };
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = url[from..Position::AfterQuery]
            .parse()
            .map_err(|_| Fault::Refused(format!("{url}: no address")))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
        request.headers_mut().insert(HOST, host.map_err(|_| Fault::Refused(format!("{url}: no host")))?);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let name = HeaderName::from_static("accept");
        request.headers_mut().entry(name).or_insert(HeaderValue::from_static("*/*"));
        if let Some(Some(authorisation)) = &self.proxy {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorisation.clone());
        }
        Ok(request)
    }
}

/// Connections that wait for the next request.
#[derive(Default)]
pub(in crate::providers) struct Pool(Mutex<HashMap<String, Vec<Connection>>>);

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// A kept connection to the host of `url`.
    pub(in crate::providers) fn take(&self, url: &Url) -> Option<Connection> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in all.values_mut() {
            kept.retain(|connection| connection.used.elapsed() < IDLE && !connection.sender.is_closed());
        }
        all.retain(|_, kept| !kept.is_empty());
        all.get_mut(key(url))?.pop()
    }

    fn keep(&self, url: &Url, connection: Connection) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(key(url).to_owned()).or_default();
        if kept.len() < KEPT {
            kept.push(Connection { used: Instant::now(), ..connection });
        }
    }

    /// Drops the kept connections to the host of `url`.
    pub(in crate::providers) fn forget(&self, url: &Url) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key(url));
    }

    /// Sends a GET on `connection` and reads the whole answer within `limit`.
    ///
    /// # Errors
    /// The fault, and whether not a byte of an answer came.
    pub(in crate::providers) async fn get(
        &self,
        mut connection: Connection,
        url: &Url,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Whole, (Fault, bool)> {
        let (before, until) = (connection.read.load(Ordering::Relaxed), Instant::now() + limit);
        let answer = async {
            let response = timeout_at(until, connection.send(Method::GET, url, headers)).await;
            let late = |_| Fault::Retry(format!("answer: nothing within {limit:?}"));
            whole(response.map_err(late)??, until).await
        };
        match answer.await {
            Ok(whole) => {
                if whole.complete {
                    self.keep(url, connection);
                }
                Ok(whole)
            }
            Err(fault) => Err((fault, connection.read.load(Ordering::Relaxed) == before)),
        }
    }
}

/// `https://host:port`
fn key(url: &Url) -> &str {
    &url[..Position::AfterPort]
}
