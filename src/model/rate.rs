//! Rates: `"10/s"` is a bucket of ten that refills in a second, stored as one number per counted thing (GCRA).

use super::Mono;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// `N/T`: a bucket of `count` that refills in `per`; `0` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Size of the burst; 0 means no limit.
    pub count: u32,
    /// The time in which the whole bucket refills.
    pub per: Duration,
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateError;

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a number and a time, \"10/s\" or \"300/5m\" for instance, or \"0\" for no limit")
    }
}

impl std::error::Error for RateError {}

impl Rate {
    pub const OFF: Self = Self { count: 0, per: Duration::from_secs(1) };

    /// Reads `"10/s"`, `"300/5m"`, `"0"`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let text = text.trim();
        if text == "0" {
            return Ok(Self::OFF);
        }
        let (count, per) = text.split_once('/').ok_or(RateError)?;
        let count: u32 = count.trim().parse().map_err(|_| RateError)?;
        let per = per.trim();
        let digits = per.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = per.split_at(digits);
        let number: u64 = if number.is_empty() { 1 } else { number.parse().map_err(|_| RateError)? };
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(RateError),
        };
        let per = unit.checked_mul(u32::try_from(number).map_err(|_| RateError)?).ok_or(RateError)?;
        if count == 0 || per.is_zero() { Err(RateError) } else { Ok(Self { count, per }) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.per.as_millis();
        match (self.count, ms) {
            (0, _) => f.write_str("0"),
            (n, 1000) => write!(f, "{n}/s"),
            (n, 60_000) => write!(f, "{n}/m"),
            (n, 3_600_000) => write!(f, "{n}/h"),
            (n, ms) if ms % 1000 == 0 => write!(f, "{n}/{}s", ms / 1000),
            (n, ms) => write!(f, "{n}/{ms}ms"),
        }
    }
}

/// The state of one counted thing (a user, a session, an address): the moment at which its bucket is full again. Eight
/// bytes, which is why no library is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gcra(Mono);

impl Gcra {
    /// Takes one; `Err` is the wait until the next.
    ///
    /// # Errors
    /// The bucket is empty.
    pub fn take(&mut self, rate: Rate, burst: u32, now: Mono) -> Result<(), Duration> {
        self.take_many(1, rate, burst.into(), now)
    }

    /// Takes so many at once; `Err` is the wait until they would be there.
    ///
    /// # Errors
    /// The bucket has not so many.
    pub fn take_many(&mut self, many: u64, rate: Rate, burst: u64, now: Mono) -> Result<(), Duration> {
        if rate.count == 0 {
            return Ok(());
        }
        let time = |many: u64| {
            let nanos = rate.per.as_nanos().saturating_mul(many.into()) / u128::from(rate.count);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let room = time(burst.max(1));
        // A bucket is at most empty: after a change to a wider rate nobody waits for the narrower one.
        self.0 = self.0.min(now.after(room));
        let full_at = self.0.max(now).after(time(many));
        let ahead = full_at.since(now);
        if ahead > room {
            return Err(ahead.checked_sub(room).unwrap_or_default());
        }
        self.0 = full_at;
        Ok(())
    }

    /// Whether the bucket is full, so that its state may be dropped.
    #[must_use]
    pub fn idle(self, now: Mono) -> bool {
        self.0 <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["10/s", "300/5s", "1/m", "7/h", "5/250ms", "0"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse("300/5m").unwrap().per, Duration::from_secs(300));
        for bad in ["", "10", "/s", "x/s", "10/", "10/0s", "0/s", "-1/s", "10/y", "10/99999999999999h"] {
            assert_eq!(Rate::parse(bad), Err(RateError), "{bad}");
        }
    }

    #[test]
    fn a_bucket_of_three_gives_three_and_refills() {
        let rate = Rate::parse("3/s").unwrap();
        let mut bucket = Gcra::default();
        let start = Mono(1_000_000_000_000);
        assert_eq!((0..5).filter(|_| bucket.take(rate, 3, start).is_ok()).count(), 3);
        let wait = bucket.take(rate, 3, start).unwrap_err();
        assert!(wait <= Duration::from_millis(334), "{wait:?}");
        assert!(bucket.take(rate, 3, start.after(wait)).is_ok());
        assert!(!bucket.idle(start));
        assert!(bucket.idle(start.after(Duration::from_secs(2))));
        assert!((0..1000).all(|_| bucket.take(Rate::OFF, 1, start).is_ok()));
    }

    #[test]
    fn many_are_taken_whole_or_not_at_all() {
        let rate = Rate { count: 64 << 10, per: Duration::from_secs(1) };
        let (mut bucket, start) = (Gcra::default(), Mono(1_000_000_000_000));
        let burst = 256 << 10;
        assert!((0..4).all(|_| bucket.take_many(64 << 10, rate, burst, start).is_ok()));
        assert_eq!(bucket.take_many(64 << 10, rate, burst, start), Err(Duration::from_secs(1)));
        assert!(bucket.take_many(64 << 10, rate, burst, start.after(Duration::from_secs(1))).is_ok());
        assert!(bucket.take_many(u64::MAX, Rate::OFF, 1, start).is_ok());
    }

    #[test]
    fn a_wider_rate_counts_from_the_moment_it_is_there() {
        let (slow, fast) = (Rate::parse("1/h").unwrap(), Rate::parse("10/s").unwrap());
        let mut bucket = Gcra::default();
        let start = Mono(1_000_000_000_000);
        assert!(bucket.take(slow, 1, start).is_ok());
        let wait = bucket.take(fast, 10, start).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert!(bucket.take(fast, 10, start.after(wait)).is_ok());
    }
}
