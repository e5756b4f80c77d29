//! The keys of an endpoint (JWKS): fetched when it is time or when a token names a key that is unknown, kept in the state
//! directory, and said to the master. When is decided by `access/tokens/plan.rs`.

mod file;

use super::uplink::Uplink;
use crate::access::tokens::{Asked, JwksPlan, KeptJwks};
use crate::config::{AuthMode, Config};
use crate::model::Boot;
use crate::os::clock;
use crate::protocol::cluster::{FromFeeder, KeySet};
use crate::providers::{Http, Proxies};
use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// Longest time of a fetch, with redirects. Shorter than a worker waits for its answer.
const LONGEST: Duration = Duration::from_secs(4);
/// The clock that also runs in sleep is looked at so often.
const LOOK: Duration = Duration::from_secs(30);

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    refresh: Duration,
    /// The folder in which the last good keys are kept.
    folder: PathBuf,
}

impl Endpoint {
    fn of(config: &Config) -> Option<Self> {
        let url = config.auth.jwks_url.clone().filter(|_| config.auth.mode == AuthMode::Token)?;
        Some(Self { url, refresh: config.auth.jwks_refresh, folder: config.state.clone() })
    }
}

/// Tells the loop what to do.
#[derive(Clone)]
pub(super) struct KeyWishes {
    endpoint: watch::Sender<Option<Endpoint>>,
    wanted: Arc<Notify>,
}

impl KeyWishes {
    pub(super) fn new() -> Self {
        Self { endpoint: watch::Sender::new(None), wanted: Arc::default() }
    }

    /// Applies another configuration.
    pub(super) fn adopt(&self, config: &Config) {
        let next = Endpoint::of(config);
        self.endpoint.send_if_modified(|endpoint| {
            let is_other = *endpoint != next;
            *endpoint = next;
            is_other
        });
    }

    /// Somebody has a token whose key is unknown.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Fetches keys for as long as the process lives.
    pub(super) async fn fetch_all(self, uplink: Uplink) {
        let mut endpoints = self.endpoint.subscribe();
        let http = Http::new(Proxies::Environment);
        loop {
            let endpoint = endpoints.borrow_and_update().clone();
            let fetching = async {
                match endpoint {
                    Some(endpoint) => Fetcher::begin(endpoint, &uplink).await.work(&http, &self.wanted).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = fetching => {}
                // This holds a sender: the channel stays.
                _ = endpoints.changed() => {}
            }
        }
    }
}

struct Fetcher<'a> {
    endpoint: Endpoint,
    plan: JwksPlan,
    kept: KeptJwks,
    told: KeySet,
    uplink: &'a Uplink,
}

impl<'a> Fetcher<'a> {
    /// Begins with the keys that were kept.
    async fn begin(endpoint: Endpoint, uplink: &'a Uplink) -> Self {
        let bytes = file::read(endpoint.folder.clone()).await;
        let kept = KeptJwks::from_file(&endpoint.url, &bytes);
        let plan = JwksPlan::new(endpoint.refresh, clock::boot());
        let mut this = Self { endpoint, plan, kept, told: KeySet::default(), uplink };
        this.read();
        if this.told.keys > 0 {
            this.tell();
        }
        this
    }

    async fn work(mut self, http: &Http, wanted: &Notify) {
        loop {
            tokio::select! {
                () = until(self.plan.next()) => {}
                () = wanted.notified() => if self.plan.ask(clock::boot()) == Asked::TooSoon {
                    self.tell();
                },
            }
            if !self.plan.begin(clock::boot()) {
                continue;
            }
            let result = {
                let mut fetch = pin!(fetch(http, &self.endpoint.url));
                loop {
                    tokio::select! {
                        result = &mut fetch => break result,
                        // The answer to this fetch is the answer to those, too.
                        () = wanted.notified() => {
                            self.plan.ask(clock::boot());
                        }
                    }
                }
            };
            self.fetched(result).await;
        }
    }

    /// A fetch has ended.
    async fn fetched(&mut self, result: Result<Vec<u8>, String>) {
        let taken =
            result.and_then(|text| self.kept.take(&text).map_err(|fault| format!("the answer {fault}")));
        self.plan.ended(taken.is_ok(), clock::boot(), fastrand::f64());
        let before = self.told.trouble.take();
        match &taken {
            Ok(is_news) => {
                self.told.fetched = Some(clock::wall());
                if *is_news {
                    self.read();
                    tracing::info!(
                        event = "keys-fetched",
                        keys = self.told.keys,
                        ignored = self.told.ignored
                    );
                } else if before.is_some() {
                    tracing::info!(event = "keys-reached", "the endpoint of auth.jwks_url answers again");
                }
            }
            Err(why) => {
                self.told.trouble = Some(why.as_str().into());
                if before != self.told.trouble {
                    let kept = self.told.keys;
                    tracing::warn!(event = "keys-not-fetched", why, kept, "the keys that are known stay");
                }
            }
        }
        self.tell();
        if taken == Ok(true)
            && let Err(why) = file::write(self.endpoint.folder.clone(), self.kept.encode()).await
        {
            tracing::warn!(event = "keys-not-kept", why, "the next start needs the endpoint");
        }
    }

    fn read(&mut self) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let jwks = self.kept.jwks();
        self.told.bytes = self.kept.encode();
        (self.told.keys, self.told.ignored) =
            jwks.map_or((0, 0), |jwks| (count(jwks.len()), count(jwks.ignored())));
    }

    fn tell(&self) {
        self.uplink.tell(&FromFeeder::Keys(Box::new(self.told.clone())));
    }
}

async fn fetch(http: &Http, url: &str) -> Result<Vec<u8>, String> {
    let late = |_| Err(format!("no whole answer within {LONGEST:?}"));
    timeout(LONGEST, http.fetch(url)).await.unwrap_or_else(late)
}

/// Waits for a moment, but not for ever.
async fn until(moment: Option<Boot>) {
    let left = moment.map_or(LOOK, |moment| moment.since(clock::boot()));
    sleep(left.min(LOOK)).await;
}
