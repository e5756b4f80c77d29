//! From a URL to a connection, step by step: name, TCP, the proxy's leave, TLS. Each step has a limit of its own, and a
//! fault says which step it was.

use super::body::{REFUSAL, causes, whole};
use super::names::Names;
use super::reply::Reply;
use super::tls::Tls;
use crate::os::clock;
use crate::providers::Fault;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// Pause before the next address of a name is tried beside those that have not answered (RFC 8305, section 5).
const APART: Duration = Duration::from_millis(250);

/// Limits of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) struct DialLimits {
    pub resolve: Duration,
    pub connect: Duration,
    pub tls: Duration,
    /// Bytes that the kernel may hold unread; `None`: as it likes.
    pub unread: Option<u32>,
}

/// A step on the way to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) enum Step {
    Name,
    Tcp,
    Proxy,
    Tls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Tcp => "connection",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
        })
    }
}

/// A step that was made.
#[derive(Clone, Debug)]
pub(in crate::providers) struct Made {
    pub step: Step,
    pub took: Duration,
    /// A description, or why it failed.
    pub outcome: Result<String, String>,
}

/// Bytes in both directions.
pub(in crate::providers) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a source.
pub(in crate::providers) struct Dialed {
    pub io: Box<dyn Duplex>,
    /// The host's address; `None` behind a proxy.
    pub address: Option<IpAddr>,
    /// Whether a proxy reads the requests, with its authorisation. (It does not read what is in a tunnel.)
    pub proxy: Option<Option<HeaderValue>>,
}

/// What is needed to connect.
#[derive(Debug)]
pub(in crate::providers) struct Dialer {
    names: Names,
    tls: Tls,
    /// The environment's proxies, if they are used.
    proxies: Option<Matcher>,
}

impl Dialer {
    pub(in crate::providers) fn new(names: Names, tls: Tls, proxies: Option<Matcher>) -> Self {
        Self { names, tls, proxies }
    }

    /// Connects to the host of `url` (`http`, `https`), and notes the steps.
    ///
    /// # Errors
    /// [`Fault::Retry`] with the step that failed.
    pub(in crate::providers) async fn dial(
        &self,
        url: &Url,
        limits: DialLimits,
        steps: &mut Vec<Made>,
    ) -> Result<Dialed, Fault> {
        let (host, port) = place(url)?;
        let secure = url.scheme() == "https";
        let uri: Option<Uri> = url.as_str().parse().ok();
        let proxy = self.proxies.as_ref().zip(uri).and_then(|(proxies, uri)| proxies.intercept(&uri));
        let Some(proxy) = proxy else {
            let (io, address) = self.reach((&host, port), secure, limits, steps).await?;
            return Ok(Dialed { io, address, proxy: None });
        };
        let io = self.reach_proxy(&proxy, limits, steps).await?;
        if !secure {
            return Ok(Dialed { io, address: None, proxy: Some(proxy.basic_auth().cloned()) });
        }
        let target = format!("{}:{port}", url.host_str().unwrap_or_default());
        let made =
            step(Step::Proxy, limits.tls, steps, tunnel(io, &target, &proxy), |_| "CONNECT".to_owned());
        let io = self.secure(&host, made.await?, limits, steps).await?;
        Ok(Dialed { io, address: None, proxy: None })
    }

    /// Connects to a host, and begins TLS if `secure`.
    async fn reach(
        &self,
        (host, port): (&str, u16),
        secure: bool,
        limits: DialLimits,
        steps: &mut Vec<Made>,
    ) -> Result<(Box<dyn Duplex>, Option<IpAddr>), Fault> {
        let tcp = self.tcp(host, port, limits, steps).await?;
        let address = tcp.peer_addr().ok().map(|peer| peer.ip());
        let io: Box<dyn Duplex> = Box::new(tcp);
        if !secure {
            return Ok((io, address));
        }
        let made = self.secure(host, io, limits, steps).await;
        if made.is_err() {
            self.names.failed(host, address);
        }
        Ok((made?, address))
    }

    /// Connects to a proxy.
    async fn reach_proxy(
        &self,
        proxy: &Intercept,
        limits: DialLimits,
        steps: &mut Vec<Made>,
    ) -> Result<Box<dyn Duplex>, Fault> {
        let uri = proxy.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let secure = match scheme {
            "http" => false,
            "https" => true,
            other => {
                return Err(Fault::Retry(format!("proxy: {other}:// is not supported, only http and https")));
            }
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(self.reach((host, port), secure, limits, steps).await?.0)
    }

    async fn tcp(
        &self,
        host: &str,
        port: u16,
        limits: DialLimits,
        steps: &mut Vec<Made>,
    ) -> Result<TcpStream, Fault> {
        let shown =
            |addresses: &Vec<IpAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        // The resolver's own limit names the time; this one is never shorter.
        let patience = limits.resolve + APART;
        let addresses =
            step(Step::Name, patience, steps, self.names.resolve(host, limits.resolve), shown).await?;
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let tcp =
            step(Step::Tcp, limits.connect, steps, race(addresses, limits.unread), |tcp: &TcpStream| {
                tcp.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default()
            });
        let tcp = tcp.await;
        match &tcp {
            Ok(tcp) => tcp.peer_addr().into_iter().for_each(|address| self.names.reached(host, address)),
            Err(_) => self.names.failed(host, None),
        }
        tcp
    }

    async fn secure(
        &self,
        host: &str,
        io: Box<dyn Duplex>,
        limits: DialLimits,
        steps: &mut Vec<Made>,
    ) -> Result<Box<dyn Duplex>, Fault> {
        let made =
            step(Step::Tls, limits.tls, steps, self.tls.secure(host, io), |_| "certificate good".to_owned());
        Ok(Box::new(made.await?))
    }

    /// Asks the resolver for the host of `url` before the next connection, and tries `address` last: nothing good came
    /// from there.
    pub(in crate::providers) fn failed(&self, url: &Url, address: Option<IpAddr>) {
        self.names.failed(url.host_str().unwrap_or_default(), address);
    }

    /// Asks the resolver for the host of `url`, and reads the root certificates, before the next connection.
    pub(in crate::providers) fn forget(&self, url: &Url) {
        self.failed(url, None);
        self.tls.forget();
    }
}

/// The host without brackets, and the port.
fn place(url: &Url) -> Result<(String, u16), Fault> {
    let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned());
    let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
        return Err(Fault::Refused(format!("{}: no host", url.scheme())));
    };
    Ok((host, port))
}

/// Makes a step within its limit, and notes it.
async fn step<T>(
    step: Step,
    limit: Duration,
    steps: &mut Vec<Made>,
    work: impl Future<Output = Result<T, String>>,
    what: impl FnOnce(&T) -> String,
) -> Result<T, Fault> {
    let begin = Instant::now();
    let outcome = timeout(limit, work).await.unwrap_or_else(|_| Err(format!("nothing within {limit:?}")));
    let noted = outcome.as_ref().map(what).map_err(Clone::clone);
    steps.push(Made { step, took: begin.elapsed(), outcome: noted });
    outcome.map_err(|why| Fault::Retry(format!("{step}: {why}")))
}

/// Connects to the address that answers first; each is tried a little later than the one before, or when that failed.
async fn race(addresses: Vec<SocketAddr>, unread: Option<u32>) -> Result<TcpStream, String> {
    let (mut waiting, mut trying) = (addresses.into_iter(), FuturesUnordered::new());
    let (mut next, mut failed) = (Instant::now(), Vec::new());
    loop {
        if Instant::now() >= next
            && let Some(address) = waiting.next()
        {
            trying.push(async move { (address, connect(address, unread).await) });
            next = Instant::now() + APART;
        }
        if trying.is_empty() && waiting.len() == 0 {
            return Err(failed.join(", "));
        }
        tokio::select! {
            Some((address, tried)) = trying.next(), if !trying.is_empty() => match tried {
                Ok(tcp) => {
                    // Only small writes: a request, a pong.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Err(error) => {
                    failed.push(format!("{}: {error}", address.ip()));
                    next = Instant::now();
                }
            },
            () = sleep_until(next), if waiting.len() > 0 => {}
        }
    }
}

async fn connect(address: SocketAddr, unread: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bytes) = unread {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect(address).await
}

/// Has a proxy connect to `target`.
async fn tunnel(io: Box<dyn Duplex>, target: &str, proxy: &Intercept) -> Result<Box<dyn Duplex>, String> {
    let unanswered = |error: hyper::Error| format!("no answer to CONNECT: {}", causes(&error));
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(io)).await.map_err(unanswered)?;
    let _task = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let mut request = Request::builder().method(Method::CONNECT).uri(target).header(HOST, target);
    if let Some(authorisation) = proxy.basic_auth() {
        request = request.header(PROXY_AUTHORIZATION, authorisation);
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(unanswered)?;
    if !response.status().is_success() {
        let answer = whole(response, Instant::now() + REFUSAL).await.map_err(|fault| fault.to_string())?;
        let reply = Reply::of(answer.status.as_u16(), &answer.headers, &answer.body, clock::wall());
        return Err(format!("CONNECT {target} was refused: {}", reply.excerpt()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(unanswered)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}
