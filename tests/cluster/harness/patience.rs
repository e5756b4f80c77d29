//! Waiting, never longer than a small patience and never for nothing.

use crate::stopwatch::Stopwatch;
use std::io::Write;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

/// Longest wait where docs/interface.md promises no time. Only a failing test waits for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` says `Ok`; its last `Err` is the reason when patience ends.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, look).await
}

/// [`eventually`] with a patience of its own, which docs/interface.md promises.
pub(crate) async fn within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let watch = Stopwatch::start();
    loop {
        let late = watch.elapsed() >= patience && watch.net() >= patience;
        match look().await {
            Ok(value) => return value,
            Err(seen) if late => {
                panic!("{what}: not within {patience:?} ({:?}); last seen: {seen}", watch.elapsed())
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The value of a future that must not take longer than patience.
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    if let Ok(value) = timeout(PATIENCE, &mut future).await {
        return value;
    }
    // The second time is for the load of others, if there is any: it is not measured for what comes soon.
    let watch = Stopwatch::start();
    while watch.net() < Duration::from_secs(1) {
        if let Ok(value) = timeout(Duration::from_secs(1), &mut future).await {
            return value;
        }
    }
    panic!("{what}: not within {PATIENCE:?} ({:?} more for the load)", watch.elapsed());
}

/// The value of a future that must not take longer than `limit`, the load of others left out.
pub(crate) async fn promptly<F: Future>(limit: Duration, what: &str, future: F) -> F::Output {
    let watch = Stopwatch::start();
    let value = in_time(what, future).await;
    assert!(watch.net() < limit, "{what}: not within {limit:?} ({:?})", watch.elapsed());
    value
}

/// A time that docs/interface.md promises, longer by a factor on a machine that is slow for other reasons than load
/// (`BTC_CLUSTER_TEST_SLACK`).
pub(crate) fn promised(time: Duration) -> Duration {
    let slack = std::env::var("BTC_CLUSTER_TEST_SLACK").ok().and_then(|text| text.parse().ok());
    time.mul_f64(slack.unwrap_or(1.0))
}

/// Repeats an attempt until the test's own side takes less than `limit`; the attempt returns how long that side took.
/// On a busy machine a short sleep may take long.
pub(crate) async fn timely<T>(limit: Duration, mut attempt: impl AsyncFnMut() -> (Duration, T)) -> T {
    for _ in 0..20 {
        match attempt().await {
            (took, value) if took < limit => return value,
            _ => {}
        }
    }
    panic!("the machine was too busy for this, 20 times");
}

/// Says that a test cannot run here: loudly, for what the macros print is kept from whoever runs the tests.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Held by tests that need the machine for themselves to measure anything.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}
