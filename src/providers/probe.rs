//! Checks the way from this machine to a source, for an operator behind a firewall.
//!
//! Each leg of a source is tried with the daemon's own client, step by step: the name, the connection, the proxy, TLS,
//! an HTTP request, and a session until its first price. A step is given more time than the daemon gives it, so that one
//! that does not fit the daemon's limit is named with the time that it takes.

use super::source::Leg;
use super::wire::dial::Step;
use super::wire::http::Http;
use super::wire::reply::date;
use super::{Fault, Sink, Source, Tick};
use crate::model::Wall;
use crate::os::clock;
use futures_util::future::join_all;
use http::header::DATE;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

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
    /// The TCP connection, to the proxy if there is one.
    pub tcp: ProbeStep,
    /// The proxy's leave for a connection to the host.
    pub proxy: ProbeStep,
    /// TLS, for `https` and `wss`.
    pub tls: ProbeStep,
    /// An HTTP request at the host: its status.
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
        proxy: ProbeStep::Skipped,
        tls: ProbeStep::Skipped,
        http: ProbeStep::Skipped,
        price: ProbeStep::Skipped,
        clock_ms: None,
    }
}

async fn one(name: &str, leg: &Leg, place: Option<&str>, http: &Http, patience: Duration) -> Finding {
    let mut finding = empty(name, leg.word);
    if let Some(url) = place.and_then(address) {
        let port = url.port_or_known_default().unwrap_or(443);
        finding.host = format!("{}:{port}", url.host_str().unwrap_or_default());
        knock(http, &url, patience, &mut finding).await;
        let steps = [&finding.dns, &finding.tcp, &finding.proxy, &finding.tls];
        if steps.iter().any(|step| step.failed()) && finding.http == ProbeStep::Skipped {
            return finding;
        }
    }
    finding.price = listen(leg, patience).await;
    finding
}

/// `ws` is `http` and `wss` is `https`; the path does not matter.
fn address(url: &str) -> Option<Url> {
    let url = url.strip_prefix("ws").map_or_else(|| url.to_owned(), |rest| format!("http{rest}"));
    url.parse().ok()
}

/// Makes the steps with `patience`, and judges them by the daemon's limits. Any status shows that the host answers; the
/// session tells what it means for the source.
async fn knock(http: &Http, url: &Url, patience: Duration, finding: &mut Finding) {
    let limits = http.limits();
    let (mut steps, begin) = (Vec::new(), Instant::now());
    let knocked = http.knock(url, limits.at_least(patience), &mut steps).await;
    let whole = begin.elapsed();
    let took = whole.saturating_sub(steps.iter().map(|made| made.took).sum());
    let unreached = steps.iter().any(|made| made.outcome.is_err());
    for made in steps {
        let (slot, key, limit) = match made.step {
            Step::Name => (&mut finding.dns, "resolve_timeout", limits.dial.resolve),
            Step::Tcp => (&mut finding.tcp, "connect_timeout", limits.dial.connect),
            Step::Proxy => (&mut finding.proxy, "tls_timeout", limits.dial.tls),
            Step::Tls => (&mut finding.tls, "tls_timeout", limits.dial.tls),
        };
        *slot = judged(made.outcome, made.took, key, limit);
    }
    if unreached {
        return;
    }
    let answer = knocked.as_ref().map(|(status, _)| status.to_string()).map_err(ToString::to_string);
    finding.http = judged(answer, took, "answer_timeout", limits.answer);
    let Some(their) = knocked.ok().and_then(|(_, headers)| date(headers.get(DATE)?.to_str().ok()?)) else {
        return;
    };
    // The second in the header began up to a second ago, and the answer took its time to arrive.
    let ours = clock::wall().0 - i64::try_from(took.as_millis() / 2).unwrap_or(0);
    finding.clock_ms = Some(their.0 + 500 - ours);
}

/// The outcome of a step that the daemon gives `limit`, as `price.KEY` says.
fn judged(outcome: Result<String, String>, took: Duration, key: &str, limit: Duration) -> ProbeStep {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(what) if took <= limit => ProbeStep::Ok { what, ms },
        Ok(what) => ProbeStep::Failed {
            why: format!("{what}, but the daemon waits {limit:?} only (price.{key})"),
            ms,
        },
        Err(why) => ProbeStep::Failed { why, ms },
    }
}

/// Keeps the first price.
#[derive(Default)]
struct First {
    tick: Option<Tick>,
    /// The age of the answer that is read.
    age: Option<Duration>,
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
    fn age(&mut self, age: Option<Duration>) {
        if self.tick.is_none() {
            self.age = age;
        }
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
        (Some(tick), _) => ProbeStep::Ok { what: said(&tick, first.age), ms },
        (None, fault) => ProbeStep::Failed {
            why: fault.map_or_else(|| "no price".to_owned(), |fault| fault.to_string()),
            ms,
        },
    }
}

/// `BTC-USDT 64250.12`, the difference of its time stamp from our clock, and its age in a cache.
fn said(tick: &Tick, age: Option<Duration>) -> String {
    let stamp = tick.time.map(|Wall(stamp)| stamp - clock::wall().0);
    let stamp = stamp.map(|ms| format!(", stamped {ms:+} ms from our clock")).unwrap_or_default();
    let age = age.map(|age| format!(", from a cache, {} s old", age.as_secs())).unwrap_or_default();
    format!("{} {}{stamp}{age}", tick.pair, tick.price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_fit_the_daemon_s_limit_is_named() {
        let ms = Duration::from_millis;
        let of = |took| match judged(Ok("certificate good".to_owned()), took, "tls_timeout", ms(2000)) {
            ProbeStep::Failed { why, ms } => (why, ms),
            step => (format!("{step:?}"), 0),
        };
        let (why, took) = of(ms(2200));
        assert_eq!(why, "certificate good, but the daemon waits 2s only (price.tls_timeout)");
        assert_eq!(took, 2200);
        assert!(of(ms(2000)).0.starts_with("Ok"));
    }
}
