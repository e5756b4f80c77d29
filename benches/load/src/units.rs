//! Values of the command line, from their texts.

use std::time::Duration;

/// Parses a duration: `15s`, `300ms`, `2m`, `15`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        unit => return Err(format!("{unit} is no unit: ms, s or m")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text} is no duration, like 15s"))?;
    if !(0.0..=7200.0).contains(&(number * unit)) {
        return Err(format!("{text}: at most two hours"));
    }
    Ok(Duration::from_secs_f64(number * unit))
}

/// Parses a number of events per second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.0..=10_000.0).contains(&rate) { Ok(rate) } else { Err(format!("{text}: 0 to 10000")) }
}

/// Parses a number of minutes.
pub(crate) fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.1..=240.0).contains(&minutes) { Ok(minutes) } else { Err(format!("{text}: 0.1 to 240")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [("15s", 15_000), ("300ms", 300), ("2m", 120_000), ("1.5", 1500), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "5h", "-1", "3h", "NaN", "1e9"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_and_minutes_have_bounds() {
        assert_eq!((rate("0"), rate("2.5"), minutes("0.1")), (Ok(0.0), Ok(2.5), Ok(0.1)));
        for bad in ["", "-1", "1e9", "NaN", "x"] {
            assert!(rate(bad).is_err() && minutes(bad).is_err(), "{bad}");
        }
    }
}
