//! Limits how much of one file or program is read: lines and bytes per second. The rest stays in the file or in the
//! program's pipe. Pure.

use crate::model::Mono;
use std::time::Duration;

/// Lines per second.
const LINES: u32 = 1000;
/// Bytes per second.
const BYTES: u64 = 1 << 20;
/// Time that reading may be ahead after a pause: its lines and bytes come at once. A session's queue takes little
/// more.
const AHEAD: Duration = Duration::from_millis(100);

/// The moments until which the lines and bytes read so far are paid for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    lines: Mono,
    bytes: Mono,
}

impl Pace {
    /// Counts a line.
    pub(super) fn line(&mut self, now: Mono) {
        self.lines = self.lines.max(now).after(Duration::from_secs(1) / LINES);
    }

    pub(super) fn bytes(&mut self, count: usize, now: Mono) {
        let nanos = (count as u64).saturating_mul(1_000_000_000) / BYTES;
        self.bytes = self.bytes.max(now).after(Duration::from_nanos(nanos));
    }

    /// Time to wait before reading more; zero if not at all. Several lines are read after each wait, rather than one.
    pub(super) fn wait(&self, now: Mono) -> Duration {
        let ahead = self.lines.max(self.bytes).since(now);
        if ahead <= AHEAD { Duration::ZERO } else { ahead - AHEAD / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the units of that cost that are read in three seconds, and in the first moment.
    fn taken(take: impl Fn(&mut Pace, Mono)) -> (u32, u32) {
        let (mut pace, begin) = (Pace::default(), Mono(1 << 40));
        let (mut now, mut all, mut first) = (begin, 0, 0);
        while now.since(begin) < Duration::from_secs(3) {
            take(&mut pace, now);
            all += 1;
            first += u32::from(now == begin);
            now = now.after(pace.wait(now));
        }
        (all, first)
    }

    #[test]
    fn a_thousand_lines_and_a_mebibyte_a_second() {
        let (lines, first) = taken(|pace, now| pace.line(now));
        assert!((2900..=3110).contains(&lines) && (100..=102).contains(&first), "{lines} {first}");
        let (kib, first) = taken(|pace, now| pace.bytes(1024, now));
        assert!((2900..=3190).contains(&kib) && (100..=105).contains(&first), "{kib} {first}");
        let (both, _) = taken(|pace, now| {
            pace.line(now);
            pace.bytes(1024, now);
        });
        assert!((2900..=3110).contains(&both), "the two are not added: {both}");
    }

    #[test]
    fn little_never_waits() {
        let mut pace = Pace::default();
        for second in 1..100 {
            let now = Mono(second * 1_000_000_000);
            pace.bytes(50_000, now);
            pace.line(now);
            assert_eq!(pace.wait(now), Duration::ZERO);
        }
    }
}
