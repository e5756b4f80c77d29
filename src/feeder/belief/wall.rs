//! Whether our wall clock contradicts the right time, for the log.

use crate::model::{LogLimiter, Mono};

/// What was logged of our wall clock.
#[derive(Debug, Default)]
pub(in crate::feeder) struct WallWatch {
    wrong: bool,
    limiter: LogLimiter<bool>,
}

impl WallWatch {
    /// Logs whether the wall clock is wrong, if that has changed; `ahead` is by how many milliseconds.
    pub(in crate::feeder) fn look(&mut self, ahead: Option<i64>, now: Mono) {
        if let Some(hushed) = self.news(ahead.is_some(), now) {
            let ahead_ms = ahead.unwrap_or_default();
            if self.wrong {
                tracing::warn!(
                    event = "clock-wrong",
                    ahead_ms,
                    hushed,
                    "this machine's clock is not that of the sources"
                );
            } else {
                tracing::info!(event = "clock-right", hushed, "this machine's clock is that of the sources");
            }
        }
    }

    fn news(&mut self, wrong: bool, now: Mono) -> Option<u64> {
        if std::mem::replace(&mut self.wrong, wrong) != wrong {
            return self.limiter.change(wrong, now);
        }
        self.limiter.wake(now).map(|(_, hushed)| hushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_flaps_is_logged_once_a_minute_and_as_it_is_in_the_end() {
        let mut watch = WallWatch::default();
        let at = |second: u64| Mono(second * 1_000_000_000);
        assert_eq!(watch.news(false, at(0)), None, "right at the start is no news");
        let lines =
            (1..300).filter_map(|second| watch.news(second % 2 == 1, at(second)).map(|_| watch.wrong));
        let lines: Vec<_> = lines.collect();
        assert!((8..=11).contains(&lines.len()), "{lines:?}");
        assert!(watch.wrong);
        let last = (300..400).filter_map(|second| watch.news(true, at(second))).count();
        assert!(last <= 1);
    }
}
