//! Addresses of hosts. A lookup that takes too long goes on for the next try, and what was found once is kept for when
//! the resolver fails.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Addresses are used without another lookup for this time, unless a connection fails.
const FRESH: Duration = Duration::from_secs(60);
/// Kept addresses are used if the resolver has not answered within this time.
const HEAD_START: Duration = Duration::from_secs(1);

type Found = Result<Vec<IpAddr>, String>;
type Looking = Pin<Box<dyn Future<Output = Found> + Send>>;
/// Asks the resolver for a name.
type Resolver = Box<dyn Fn(String) -> Looking + Send + Sync>;

/// What is known of a name.
#[derive(Default)]
struct Known {
    kept: Vec<IpAddr>,
    /// When the resolver gave them; `None` if a connection has failed since.
    found: Option<Instant>,
    /// The lookup that is under way.
    running: Option<watch::Receiver<Option<Found>>>,
}

/// The names that were asked for.
pub(in crate::providers) struct Names {
    known: Arc<Mutex<HashMap<String, Known>>>,
    resolver: Resolver,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Default for Names {
    /// Asks the system's resolver.
    fn default() -> Self {
        Self::new(|name| {
            Box::pin(async move {
                let found =
                    tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|error| error.to_string())?;
                let addresses = mixed(found.map(|address| address.ip()).collect());
                if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
            })
        })
    }
}

impl Names {
    pub(in crate::providers) fn new(resolver: impl Fn(String) -> Looking + Send + Sync + 'static) -> Self {
        Self { known: Arc::default(), resolver: Box::new(resolver) }
    }

    /// The addresses of `host`, the best one first.
    ///
    /// # Errors
    /// What the resolver says, if no address is kept.
    pub(in crate::providers) async fn resolve(&self, host: &str, limit: Duration) -> Found {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let (kept, mut running) = {
            let mut all = lock(&self.known);
            let known = all.entry(host.to_owned()).or_default();
            if known.found.is_some_and(|at| at.elapsed() < FRESH) {
                return Ok(known.kept.clone());
            }
            // A lookup that panicked has left its sender.
            known.running.take_if(|running| running.has_changed().is_err());
            let running = known.running.get_or_insert_with(|| self.look_up(host)).clone();
            (known.kept.clone(), running)
        };
        let limit = if kept.is_empty() { limit } else { limit.min(HEAD_START) };
        let found = match timeout(limit, running.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone().unwrap_or_else(|| Err("no answer".to_owned())),
            Ok(Err(_)) => Err("the lookup was given up".to_owned()),
            Err(_) => Err(format!("nothing within {limit:?}")),
        };
        if kept.is_empty() { found } else { Ok(found.unwrap_or(kept)) }
    }

    /// Looks a name up in a task of its own, which outlives whoever waits for it.
    fn look_up(&self, host: &str) -> watch::Receiver<Option<Found>> {
        let (sender, receiver) = watch::channel(None);
        let (lookup, known, host) = ((self.resolver)(host.to_owned()), self.known.clone(), host.to_owned());
        tokio::spawn(async move {
            let mut found = lookup.await;
            if let Some(entry) = lock(&known).get_mut(&host) {
                entry.running = None;
                if let Ok(addresses) = &mut found {
                    // What was learnt of the addresses stays: the good one first, the bad ones last.
                    let place = |address: &IpAddr| entry.kept.iter().position(|kept| kept == address);
                    addresses.sort_by_key(|address| place(address).unwrap_or(usize::MAX));
                    (entry.kept, entry.found) = (addresses.clone(), Some(Instant::now()));
                }
            }
            sender.send_replace(Some(found));
        });
        receiver
    }

    /// Puts the address that was reached first from now on.
    pub(in crate::providers) fn reached(&self, host: &str, address: SocketAddr) {
        if let Some(known) = lock(&self.known).get_mut(host) {
            known.kept.sort_by_key(|kept| *kept != address.ip());
        }
    }

    /// Looks the name up before the next connection, for the last one failed; the address that it had is tried last.
    pub(in crate::providers) fn failed(&self, host: &str, address: Option<IpAddr>) {
        if let Some(known) = lock(&self.known).get_mut(host) {
            known.found = None;
            known.kept.sort_by_key(|kept| Some(*kept) == address);
        }
    }
}

/// Both families in turn, the first one's first (RFC 8305, section 4): one that is dead must not be tried to its end.
fn mixed(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let mut counts = [0, 0];
    let mut placed: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            let second = address.is_ipv6() != first;
            let count = &mut counts[usize::from(second)];
            *count += 1;
            (*count, second, address)
        })
        .collect();
    placed.sort_by_key(|(count, second, _)| (*count, *second));
    placed.into_iter().map(|(_, _, address)| address).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const S: Duration = Duration::from_secs(1);

    /// A resolver that answers after so many seconds; with 0 addresses it fails.
    fn slow(seconds: &Arc<AtomicU64>, many: &Arc<AtomicU64>, asked: &Arc<AtomicU64>) -> Names {
        let (seconds, many, asked) = (seconds.clone(), many.clone(), asked.clone());
        Names::new(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            let (wait, many) =
                (Duration::from_secs(seconds.load(Ordering::Relaxed)), many.load(Ordering::Relaxed));
            Box::pin(async move {
                tokio::time::sleep(wait).await;
                let found: Vec<_> = (1..=many).map(|last| ip(u8::try_from(last).unwrap())).collect();
                if found.is_empty() { Err("no nameserver".to_owned()) } else { Ok(found) }
            })
        })
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_is_too_slow_is_there_for_the_next_try() {
        let (seconds, asked) = (Arc::new(AtomicU64::new(5)), Arc::default());
        let names = slow(&seconds, &Arc::new(AtomicU64::new(1)), &asked);
        assert_eq!(names.resolve("a.example", 2 * S).await, Err("nothing within 2s".to_owned()));
        assert_eq!(names.resolve("a.example", 2 * S).await, Err("nothing within 2s".to_owned()));
        assert_eq!(names.resolve("a.example", 2 * S).await, Ok(vec![ip(1)]));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(names.resolve("127.0.0.1", S).await, Ok(vec![IpAddr::from([127, 0, 0, 1])]));
    }

    #[tokio::test(start_paused = true)]
    async fn kept_addresses_serve_while_the_resolver_is_slow_or_fails() {
        let (seconds, many, asked) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(2)), Arc::default());
        let names = slow(&seconds, &many, &asked);
        assert_eq!(names.resolve("a.example", 9 * S).await, Ok(vec![ip(1), ip(2)]));
        names.reached("a.example", SocketAddr::new(ip(2), 443));
        seconds.store(5, Ordering::Relaxed);
        assert_eq!(names.resolve("a.example", 9 * S).await, Ok(vec![ip(2), ip(1)]), "it was found just now");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        names.failed("a.example", None);
        let begin = Instant::now();
        assert_eq!(names.resolve("a.example", 9 * S).await, Ok(vec![ip(2), ip(1)]));
        assert_eq!(begin.elapsed(), S);
        names.failed("a.example", None);
        tokio::time::sleep(5 * S).await;
        many.store(0, Ordering::Relaxed);
        seconds.store(0, Ordering::Relaxed);
        assert_eq!(names.resolve("a.example", 9 * S).await, Ok(vec![ip(2), ip(1)]), "the resolver fails");
        assert_eq!(names.resolve("b.example", 9 * S).await, Err("no nameserver".to_owned()));
        many.store(3, Ordering::Relaxed);
        assert_eq!(
            names.resolve("b.example", 9 * S).await,
            Ok(vec![ip(1), ip(2), ip(3)]),
            "a failure is not kept"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_of_the_addresses_outlives_a_lookup() {
        let (many, asked) = (Arc::new(AtomicU64::new(3)), Arc::default());
        let names = slow(&Arc::default(), &many, &asked);
        let resolve = async || names.resolve("a.example", S).await.unwrap();
        assert_eq!(resolve().await, [ip(1), ip(2), ip(3)]);
        names.failed("a.example", Some(ip(1)));
        assert_eq!(resolve().await, [ip(2), ip(3), ip(1)]);
        names.failed("a.example", Some(ip(2)));
        assert_eq!(resolve().await, [ip(3), ip(1), ip(2)], "every address has its turn");
        names.reached("a.example", SocketAddr::new(ip(2), 443));
        tokio::time::advance(FRESH).await;
        many.store(4, Ordering::Relaxed);
        assert_eq!(resolve().await, [ip(2), ip(3), ip(1), ip(4)]);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn families_take_turns() {
        let of = |texts: &[&str]| mixed(texts.iter().map(|text| text.parse().unwrap()).collect());
        let six = of(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.2", "192.0.2.1"]);
        let six: Vec<_> = six.iter().map(ToString::to_string).collect();
        assert_eq!(six, ["2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.1", "2001:db8::3"]);
        assert_eq!(of(&["192.0.2.2", "192.0.2.1"]), [ip(2), ip(1)], "in the resolver's order");
        assert!(of(&[]).is_empty());
    }
}
