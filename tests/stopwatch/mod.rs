//! Time for the bounds of tests on a machine that may be busy with other things.

use std::time::{Duration, Instant};

/// Most time that the load of others adds to a wait.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Measures time. What the load of others may have added can be left out, so a bound is as sharp as the machine is
/// idle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    begin: Instant,
    stalled: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { begin: Instant::now(), stalled: stalled() }
    }

    /// Time on the wall: for what must not come too early.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Time without that in which processes waited for a processor or a disk: for what must not come too late.
    pub(crate) fn net(&self) -> Duration {
        let added = stalled().saturating_sub(self.stalled).min(FORGIVEN);
        self.elapsed().saturating_sub(added)
    }

    /// The share of the time that was without load, for counts of what comes while there is time for it: 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.net().as_secs_f64() / self.elapsed().as_secs_f64().max(1e-9)
    }
}

/// Time in which processes of this machine waited for a processor or a disk, since it runs (`/proc/pressure`); zero
/// where the kernel does not tell. The kernel gives the mean of the processors; all of it may have been at one of them.
fn stalled() -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let of = |resource: &str| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{resource}")).unwrap_or_default();
        let micros = text.lines().next().and_then(|some| some.rsplit_once("total=")?.1.parse::<u64>().ok());
        Duration::from_micros(micros.unwrap_or(0) * processors)
    };
    of("cpu") + of("io")
}
