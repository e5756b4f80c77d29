//! Why a session ended, sorted by consequence.

use std::fmt;
use std::time::Duration;

/// Longest wait that a source may demand (Binance bans for up to three days).
const LONGEST_WAIT: Duration = Duration::from_secs(3 * 24 * 3600);

/// A fault by its consequence. A dialect knows its exchange's codes, so it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Count one unusable message and go on; the session continues.
    Skip(String),
    /// Open a new connection at once: the source asked for it.
    Reconnect(String),
    /// Try again with growing pauses.
    Retry(String),
    /// Try again after this time, not before.
    Wait(Duration, String),
    /// Refused: a missing key, a firewall of the source. Tried again with pauses up to an hour.
    Refused(String),
    /// Not served to this country.
    Barred(String),
    /// The source has no such symbol.
    Unknown(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(time, why) => write!(f, "{why} (told to wait {} s)", time.as_secs()),
            Self::Skip(why)
            | Self::Reconnect(why)
            | Self::Retry(why)
            | Self::Refused(why)
            | Self::Barred(why)
            | Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// Parts of texts, in lower case, by which sources say what their refusal means; the first list that matches counts.
pub(super) const BARRED: [&str; 8] = [
    "http 451",
    "restricted location",
    "your country",
    "your region",
    "your jurisdiction",
    "your location",
    "geographic",
    "geo-block",
];
pub(super) const UNKNOWN: [&str; 14] = [
    "invalid symbol",
    "invalid product",
    "invalid pair",
    "unknown symbol",
    "unknown asset pair",
    "unknown product",
    "unknown pair",
    "unknown market",
    "pair not supported",
    "not a valid product",
    "\"notfound\"",
    "product not found",
    "not found values",
    "no such symbol",
];
pub(super) const PASSING: [&str; 16] = [
    "internal",
    "eservice",
    "unavailable",
    "try again",
    "temporar",
    "timeout",
    "timed out",
    "busy",
    "overload",
    "maintenance",
    "cancel_only",
    "post_only",
    "limit_only",
    "slow",
    "restarting",
    "shutting down",
];

impl Fault {
    /// What a source's refusal means by its text.
    pub(super) fn refusal(why: String) -> Self {
        let text = why.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&BARRED) {
            Self::Barred(why)
        } else if says(&UNKNOWN) {
            Self::Unknown(why)
        } else if says(&PASSING) {
            Self::Retry(why)
        } else {
            Self::Refused(why)
        }
    }

    /// Whether this is a refusal of any kind.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Barred(_) | Self::Unknown(_))
    }

    /// The same for one of several symbols, which it names.
    pub(super) fn about(self, what: &str) -> Self {
        match self {
            Self::Skip(why) => Self::Skip(format!("{what}: {why}")),
            fault => fault,
        }
    }

    /// A wait within reason: at least a second, at most three days.
    pub(super) fn wait(time: Duration, why: String) -> Self {
        Self::Wait(time.clamp(Duration::from_secs(1), LONGEST_WAIT), why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_means_what_its_text_says() {
        let of = |why: &str| match Fault::refusal(why.to_owned()) {
            Fault::Barred(_) => "barred",
            Fault::Unknown(_) => "unknown",
            Fault::Retry(_) => "passing",
            Fault::Refused(_) => "refused",
            other => panic!("{other:?}"),
        };
        let binance =
            "HTTP 451: Service unavailable from a restricted location according to 'b. Eligibility'";
        assert_eq!(of(binance), "barred", "unavailable, but not for a while");
        assert_eq!(of("HTTP 403: not offered in your region"), "barred");
        assert_eq!(of("HTTP 400: {\"code\":-1121,\"msg\":\"Invalid symbol.\"}"), "unknown");
        assert_eq!(of("HTTP 200: EQuery:Unknown asset pair"), "unknown");
        assert_eq!(of("Currency pair not supported BTC/USDX"), "unknown");
        assert_eq!(of("Failed to subscribe: BTC-USDX is not a valid product"), "unknown");
        assert_eq!(of("BTC-USD: HTTP 404: {\"message\":\"NotFound\"}"), "unknown");
        for passing in [
            "Internal error",
            "EService:Unavailable",
            "EService:Market in post_only mode",
            "EGeneral:Internal error",
            "Please try again later",
        ] {
            assert_eq!(of(passing), "passing", "{passing}");
        }
        assert_eq!(of("HTTP 403: a page of HTML"), "refused");
        assert_eq!(of("HTTP 401: API key required"), "refused");
    }
}
