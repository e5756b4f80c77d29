//! Checks the way from this machine to a source, for an operator behind a firewall.
//!
//! Each leg of a source is tried as the daemon would use it, step by step: the name, the connection, an HTTP request
//! (with TLS if the address says so), and a session until its first price.

use super::source::Leg;
use super::wire::http::{Http, send};
use super::{Fault, Sink, Source, Tick};
use crate::model::Wall;
use crate::os::clock;
use futures_util::future::join_all;
use reqwest::Url;
use reqwest::header::DATE;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ProbeStep {
    /// The step succeeded.
    Ok {
        /// A description of the result.
        what: String,
        /// Duration in milliseconds.
        ms: u64,
    },
    /// The step failed.
    Failed {
        /// Why, in the words of the log.
        why: String,
        /// Duration in milliseconds.
        ms: u64,
    },
    /// The step did not apply: a file has no name to resolve, a proxy resolves it itself, an earlier step failed.
    Skipped,
}

impl ProbeStep {
    fn failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// The outcome for one leg of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The provider's name.
    pub source: String,
    /// `stream`, `rest`, ...
    pub leg: String,
    /// `host:port`, or empty.
    pub host: String,
    /// Resolving the name: its addresses.
    pub dns: ProbeStep,
    /// The TCP connection.
    pub tcp: ProbeStep,
    /// An HTTP request at the host, over TLS for `https` and `wss`: its status.
    pub http: ProbeStep,
    /// A session until the first price.
    pub price: ProbeStep,
    /// The host's clock minus ours in milliseconds, exact to about a second (the resolution of the header `Date`).
    pub clock_ms: Option<i64>,
}

impl Finding {
    /// Whether a price arrived.
    #[must_use]
    pub fn good(&self) -> bool {
        matches!(self.price, ProbeStep::Ok { .. })
    }
}

/// Tries all legs of a source at the same time. `places` are the legs' words and base addresses; a leg without an
/// address has no host to try. Each step, and the wait for a price, takes at most `patience`.
pub async fn probe(
    name: &str,
    source: Result<Source, String>,
    places: &[(&'static str, String)],
    http: &Http,
    patience: Duration,
) -> Vec<Finding> {
    match source {
        Err(why) => {
            vec![Finding {
                price: ProbeStep::Failed { why: format!("off: {why}"), ms: 0 },
                ..empty(name, "")
            }]
        }
        Ok(source) => {
            let way = async |leg: &Leg| {
                let place = places.iter().find(|(word, _)| *word == leg.word).map(|(_, url)| &**url);
                one(name, leg, place, http, patience).await
            };
            join_all(source.legs.iter().map(way)).await
        }
    }
}

fn empty(source: &str, leg: &str) -> Finding {
    Finding {
        source: source.to_owned(),
        leg: leg.to_owned(),
        host: String::new(),
        dns: ProbeStep::Skipped,
        tcp: ProbeStep::Skipped,
        http: ProbeStep::Skipped,
        price: ProbeStep::Skipped,
        clock_ms: None,
    }
}

async fn one(name: &str, leg: &Leg, place: Option<&str>, http: &Http, patience: Duration) -> Finding {
    let mut finding = empty(name, leg.word);
    if let Some(url) = place.and_then(address) {
        let port = url.port_or_known_default().unwrap_or(443);
        let host = url.host_str().unwrap_or_default().to_owned();
        finding.host = format!("{host}:{port}");
        // A proxy resolves and connects itself, so it does not matter whether this machine could.
        if !proxied(http) {
            finding.dns = resolve(&finding.host, patience).await;
            if finding.dns.failed() {
                return finding;
            }
            finding.tcp = connect(&finding.host, patience).await;
            if finding.tcp.failed() {
                return finding;
            }
        }
        (finding.http, finding.clock_ms) = knock(http, url, patience).await;
    }
    finding.price = listen(leg, patience).await;
    finding
}

/// `ws` is `http` and `wss` is `https`; the path does not matter.
fn address(url: &str) -> Option<Url> {
    let url = url.strip_prefix("ws").map_or_else(|| url.to_owned(), |rest| format!("http{rest}"));
    url.parse().ok()
}

fn proxied(http: &Http) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    http.uses_proxies()
        && ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]
            .into_iter()
            .any(set)
}

async fn timed<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, String>>,
    what: impl FnOnce(&T) -> String,
) -> (ProbeStep, Option<T>) {
    let begin = Instant::now();
    let outcome =
        timeout(patience, work).await.unwrap_or_else(|_| Err(format!("nothing within {patience:?}")));
    let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(value) => (ProbeStep::Ok { what: what(&value), ms }, Some(value)),
        Err(why) => (ProbeStep::Failed { why, ms }, None),
    }
}

async fn resolve(host: &str, patience: Duration) -> ProbeStep {
    let work = async {
        let found = lookup_host(host).await.map_err(|error| error.to_string())?;
        let mut addresses: Vec<_> = found.map(|address| address.ip().to_string()).collect();
        addresses.dedup();
        if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
    };
    timed(patience, work, |addresses| addresses.join(" ")).await.0
}

async fn connect(host: &str, patience: Duration) -> ProbeStep {
    let work = async {
        let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
        stream.peer_addr().map_err(|error| error.to_string())
    };
    timed(patience, work, |peer| peer.ip().to_string()).await.0
}

/// Any status shows that the host answers; the session tells what it means for the source.
async fn knock(http: &Http, url: Url, patience: Duration) -> (ProbeStep, Option<i64>) {
    let tls = url.scheme() == "https";
    let begin = Instant::now();
    let work = async {
        let client = http.client().map_err(|fault| fault.to_string())?;
        send(client.head(url)).await.map_err(|fault| fault.to_string())
    };
    let (step, response) =
        timed(patience, work, |response| format!("{}{}", if tls { "TLS, " } else { "" }, response.status()))
            .await;
    let date = response.and_then(|response| {
        let text = response.headers().get(DATE)?.to_str().ok()?;
        let their = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(their.as_millisecond())
    });
    // The second in the header began up to a second ago, and the answer took its time to arrive.
    let ours = clock::wall().0 - i64::try_from(begin.elapsed().as_millis() / 2).unwrap_or(0);
    (step, date.map(|their| their + 500 - ours))
}

/// Keeps the first price.
#[derive(Default)]
struct First {
    tick: Option<Tick>,
    bad: Option<String>,
    found: Arc<tokio::sync::Notify>,
}

impl Sink for First {
    fn tick(&mut self, tick: Tick) -> bool {
        if self.tick.is_none() {
            self.tick = Some(tick);
            self.found.notify_one();
        }
        true
    }
    fn bad(&mut self, why: String) {
        self.bad = Some(why);
    }
}

async fn listen(leg: &Leg, patience: Duration) -> ProbeStep {
    let mut first = First::default();
    let found = first.found.clone();
    let begin = Instant::now();
    let fault = match leg.make() {
        Err(fault) => Some(fault),
        Ok(mut provider) => tokio::select! {
            fault = provider.session(&mut first) => Some(fault),
            () = found.notified() => None,
            () = tokio::time::sleep(patience) => {
                Some(Fault::Retry(first.bad.take().unwrap_or_else(|| format!("no price within {patience:?}"))))
            }
        },
    };
    let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match (first.tick, fault) {
        (Some(tick), _) => ProbeStep::Ok { what: said(&tick), ms },
        (None, fault) => ProbeStep::Failed {
            why: fault.map_or_else(|| "no price".to_owned(), |fault| fault.to_string()),
            ms,
        },
    }
}

/// `BTC-USDT 64250.12`, and the difference of its time stamp from our clock.
fn said(tick: &Tick) -> String {
    let stamp = tick.time.map(|Wall(stamp)| stamp - clock::wall().0);
    match stamp {
        Some(ms) => format!("{} {}, stamped {ms:+} ms from our clock", tick.pair, tick.price),
        None => format!("{} {}", tick.pair, tick.price),
    }
}
