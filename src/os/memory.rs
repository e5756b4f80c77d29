//! Memory that the allocator holds although nothing uses it: after a peak it goes back to the system.

use crate::model::Mono;
use std::time::Duration;

/// Less is not worth the walk through the allocator's lists.
const WORTH: u64 = 8 << 20;
/// Time between two looks into the allocator.
const PAUSE: Duration = Duration::from_secs(3);

/// When to give memory back. Pure.
#[derive(Debug)]
pub struct Spare {
    /// Resident and not in use all the same: the program's own text, pages that are used in part.
    floor: u64,
    next: Mono,
}

impl Default for Spare {
    fn default() -> Self {
        Self { floor: 0, next: Mono(0) }
    }
}

impl Spare {
    /// Whether it is worth it now: of `resident` bytes so many are `used`. The allocator is asked only after a while.
    fn is_due(&mut self, now: Mono, resident: u64, used: impl FnOnce() -> Option<u64>) -> bool {
        if now < self.next || resident < self.floor.saturating_add(WORTH) {
            return false;
        }
        self.next = now.after(PAUSE);
        let Some(used) = used() else { return false };
        let spare = resident.saturating_sub(used);
        self.floor = self.floor.min(spare);
        spare >= self.floor.saturating_add(WORTH)
    }

    /// Memory was given back: so much is left.
    fn given_back(&mut self, resident: u64, used: u64) {
        self.floor = resident.saturating_sub(used);
    }

    /// Gives memory back if there is much to give. To be called about once a second. Takes some milliseconds after a
    /// large peak, some microseconds otherwise.
    pub fn tidy(&mut self, now: Mono, resident: u64) {
        if self.is_due(now, resident, used) {
            trim();
            let after = super::process::usage().rss;
            self.given_back(after, used().unwrap_or(after));
            tracing::debug!(before = resident, after, "memory given back");
        }
    }
}

/// Bytes that the program has allocated, by mallinfo(3). `None`: the allocator does not say.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no library has it")]
fn used() -> Option<u64> {
    // SAFETY: mallinfo2 takes nothing, returns plain numbers, and locks the allocator itself.
    let info = unsafe { libc::mallinfo2() };
    Some(info.uordblks as u64 + info.hblkhd as u64)
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no library has it")]
fn trim() {
    // SAFETY: malloc_trim takes a number and locks the allocator itself; nothing that is allocated is touched.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other allocators give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
fn used() -> Option<u64> {
    None
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn second(n: u64) -> Mono {
        Mono(n * 1_000_000_000)
    }

    #[test]
    fn memory_goes_back_after_a_peak_and_nobody_asks_before() {
        let mut spare = Spare::default();
        assert!(spare.is_due(second(1), 20 * MIB, || Some(8 * MIB)), "it is not known yet what can go");
        spare.given_back(18 * MIB, 8 * MIB);
        assert!(!spare.is_due(second(4), 17 * MIB, || unreachable!()), "too little to ask");
        assert!(!spare.is_due(second(5), 400 * MIB, || Some(385 * MIB)), "used");
        assert!(!spare.is_due(second(6), 400 * MIB, || unreachable!()), "asked a second ago");
        assert!(spare.is_due(second(8), 400 * MIB, || Some(9 * MIB)));
        spare.given_back(60 * MIB, 9 * MIB);
        assert!(!spare.is_due(second(12), 66 * MIB, || Some(9 * MIB)), "51 MiB cannot go");
        assert!(!spare.is_due(second(15), 66 * MIB, || Some(40 * MIB)));
        assert!(spare.is_due(second(18), 66 * MIB, || Some(15 * MIB)), "now they can");
    }

    /// The process that the test below starts: what others allocate meanwhile would count.
    #[test]
    #[ignore = "the child of another test"]
    fn act_alone() {
        let blocks: Vec<Vec<u8>> = (0..30_000).map(|n| vec![1; 1_000 + n % 7]).collect();
        let (mut spare, peak) = (Spare::default(), crate::os::process::usage().rss);
        spare.tidy(second(1), peak);
        // A small one stays between any others, so that the heap cannot just end earlier.
        let last = blocks.into_iter().last();
        spare.tidy(second(9), crate::os::process::usage().rss);
        let left = crate::os::process::usage().rss;
        assert!(
            used().is_none() || left + 20 * MIB < peak,
            "{left} of {peak}, {:?}",
            last.map(|it| it.len())
        );
    }

    #[test]
    fn the_allocator_gives_back_what_is_free() {
        let output = std::process::Command::new("/proc/self/exe")
            .args(["--exact", "os::memory::tests::act_alone", "--ignored", "--test-threads=1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
