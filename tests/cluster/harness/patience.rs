//! Waiting, never longer than a small patience and never for nothing.

use std::io::Write;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

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
    let end = Instant::now() + patience;
    loop {
        let late = Instant::now() >= end;
        match look().await {
            Ok(value) => return value,
            Err(seen) if late => panic!("{what}: not within {patience:?}; last seen: {seen}"),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The value of a future that must not take longer than patience.
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    let result = timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A time that docs/interface.md promises, longer by a factor on a machine that is slow for other reasons
/// (`BTC_CLUSTER_TEST_SLACK`).
pub(crate) fn promised(time: Duration) -> Duration {
    let slack = std::env::var("BTC_CLUSTER_TEST_SLACK").ok().and_then(|text| text.parse().ok());
    time.mul_f64(slack.unwrap_or(1.0))
}

/// Repeats an attempt until the test's own side takes less than `limit`; the attempt returns how long that side took. On
/// a busy machine a short sleep may take long.
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
