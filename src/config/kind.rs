//! Kinds of values: how each is read, and its words in the documentation.

use super::fault::Origin;
use super::file::Reading;
use super::read::{self, Wrong, distinct, list, must_be, one_of, text, whole, wrong};
use super::source::Source;
use super::units::{self, human, human_size};
use super::value::{Item, Value};
use crate::model::{Rate, Symbol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads and writes the values of one kind.
pub(crate) trait Kind {
    type Value;

    /// Accepted values, in words: "a duration, 1ms to 1d".
    fn takes(&self) -> String;

    fn read(&self, item: &Item, at: &mut At<'_>) -> Result<Self::Value, Wrong>;
}

/// Context of a value: its origin, and findings beside the value itself.
pub(crate) struct At<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) source: &'a Source,
    /// NAME of each `[provider.NAME]` that is written.
    pub(crate) providers: &'a BTreeMap<String, Origin>,
    /// Files of secrets that were read.
    pub(crate) secrets: Vec<Reading>,
    pub(crate) warnings: Vec<String>,
}

impl At<'_> {
    /// The folder that relative paths count from: that of the file that names them, else the working directory.
    pub(crate) fn base(&self) -> &Path {
        match self.origin {
            Origin::File { path, .. } => path.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        }
    }
}

/// A kind of its own: its words, and how it is read.
#[derive(Clone, Copy)]
pub(crate) struct Own<T>(pub(crate) &'static str, pub(crate) fn(&Item, &mut At<'_>) -> Result<T, Wrong>);

impl<T> Kind for Own<T> {
    type Value = T;

    fn takes(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, item: &Item, at: &mut At<'_>) -> Result<T, Wrong> {
        (self.1)(item, at)
    }
}

pub(crate) const FLAG: Own<bool> = Own("true or false", |item, _| match item.value {
    Value::Flag(flag) => Ok(flag),
    _ => Err(must_be(item, "true or false")),
});
pub(crate) const TEXT: Own<String> = Own("a text", |item, _| text(item).map(str::to_owned));
/// An empty text is none.
pub(crate) const PATH: Own<Option<PathBuf>> =
    Own("a path, empty for none", |item, at| read::place(item, at.base()));
pub(crate) const RATE: Own<Rate> = Own("a rate, 0 for no limit", |item, _| match &item.value {
    Value::Whole(0) => Ok(Rate::OFF),
    Value::Text(text) => {
        Rate::parse(text).map_err(|error| must_be(item, read::after_must_be(&error.to_string())))
    }
    _ => Err(must_be(item, "a rate (\"10/s\", \"300/5m\", 0 for no limit)")),
});
pub(crate) const SYMBOL: Own<Symbol> = Own("a symbol", |item, _| read::symbol(item));

/// A time in a range.
pub(crate) struct Time(pub(crate) RangeInclusive<Duration>);

/// Longest duration that is believed.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// A time that may be zero.
pub(crate) const ANY: Time = Time(Duration::ZERO..=YEAR);
/// A time that must pass.
pub(crate) const SOME: Time = Time(Duration::from_millis(1)..=YEAR);

/// A time between so many seconds.
pub(crate) fn seconds(from: u64, to: u64) -> Time {
    Time(Duration::from_secs(from)..=Duration::from_secs(to))
}

impl Kind for Time {
    type Value = Duration;

    fn takes(&self) -> String {
        format!("a duration, {} to {}", human(*self.0.start()), human(*self.0.end()))
    }

    fn read(&self, item: &Item, _: &mut At<'_>) -> Result<Duration, Wrong> {
        let read = match &item.value {
            Value::Text(text) => units::duration(text),
            Value::Whole(0) => Some(Duration::ZERO),
            _ => None,
        };
        match read.ok_or_else(|| must_be(item, "a duration (\"30s\", \"250ms\", \"1m 30s\")"))? {
            short if short < *self.0.start() => {
                Err(wrong(item, format!("must be at least {}", human(*self.0.start()))))
            }
            long if long > *self.0.end() => {
                Err(wrong(item, format!("must be at most {}", human(*self.0.end()))))
            }
            good => Ok(good),
        }
    }
}

/// Bytes in a range.
pub(crate) struct Size(pub(crate) RangeInclusive<u64>);

impl Kind for Size {
    type Value = usize;

    fn takes(&self) -> String {
        format!("a size, {} to {}", human_size(*self.0.start()), human_size(*self.0.end()))
    }

    fn read(&self, item: &Item, _: &mut At<'_>) -> Result<usize, Wrong> {
        let bytes = match &item.value {
            Value::Text(text) => units::size(text),
            Value::Whole(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| must_be(item, "a size (\"64KiB\", \"16KB\", 512)"))?;
        if !self.0.contains(&bytes) {
            let (low, high) = (human_size(*self.0.start()), human_size(*self.0.end()));
            return Err(wrong(item, format!("must be between {low} and {high}")));
        }
        usize::try_from(bytes).map_err(|_| wrong(item, "is too large"))
    }
}

/// A whole number in a range.
pub(crate) struct Whole(pub(crate) RangeInclusive<u32>);

pub(crate) const COUNT: Whole = Whole(0..=u32::MAX);

impl Kind for Whole {
    type Value = u32;

    fn takes(&self) -> String {
        match *self.0.end() {
            u32::MAX => format!("a number, at least {}", self.0.start()),
            most => format!("a number, {} to {most}", self.0.start()),
        }
    }

    fn read(&self, item: &Item, _: &mut At<'_>) -> Result<u32, Wrong> {
        let number = whole(item)?;
        u32::try_from(number).ok().filter(|number| self.0.contains(number)).ok_or_else(|| {
            wrong(item, format!("must be between {} and {}, not {number}", self.0.start(), self.0.end()))
        })
    }
}

/// A number with a fraction in a range.
pub(crate) struct Real(pub(crate) RangeInclusive<f64>);

impl Kind for Real {
    type Value = f64;

    fn takes(&self) -> String {
        format!("a number, {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, item: &Item, _: &mut At<'_>) -> Result<f64, Wrong> {
        let number = match &item.value {
            Value::Real(digits) => digits.parse::<f64>().ok(),
            Value::Whole(number) => number.to_string().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| must_be(item, "a number"))?;
        if !self.0.contains(&number) {
            let (low, high) = (self.0.start(), self.0.end());
            return Err(wrong(item, format!("must be between {low} and {high}, not {}", item.value)));
        }
        Ok(number)
    }
}

/// A choice of words.
pub(crate) struct Choice<T: 'static> {
    pub(crate) words: &'static [(&'static str, T)],
}

/// A choice of words.
pub(crate) const fn one<T>(words: &'static [(&'static str, T)]) -> Choice<T> {
    Choice { words }
}

impl<T: Copy> Kind for Choice<T> {
    type Value = T;

    fn takes(&self) -> String {
        one_of(self.words.iter().map(|(name, _)| *name))
    }

    fn read(&self, item: &Item, _: &mut At<'_>) -> Result<T, Wrong> {
        let word = item.as_text().unwrap_or_default();
        match self.words.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Ok(*value),
            None => Err(must_be(item, &self.takes())),
        }
    }
}

/// A list; a value alone is a list of one.
pub(crate) struct List<K>(pub(crate) K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn takes(&self) -> String {
        format!("a list; each {}", self.0.takes())
    }

    fn read(&self, item: &Item, at: &mut At<'_>) -> Result<Self::Value, Wrong> {
        list(item, |item| self.0.read(item, at))
    }
}

/// A [`List`] in which nothing stands twice.
pub(crate) struct Distinct<K>(pub(crate) K);

impl<K: Kind<Value: PartialEq>> Kind for Distinct<K> {
    type Value = Vec<K::Value>;

    fn takes(&self) -> String {
        format!("a list; each {}", self.0.takes())
    }

    fn read(&self, item: &Item, at: &mut At<'_>) -> Result<Self::Value, Wrong> {
        distinct(item, |item| self.0.read(item, at))
    }
}

/// A kind whose value becomes another.
pub(crate) struct Map<K: Kind, T>(pub(crate) K, pub(crate) fn(K::Value) -> T);

impl<K: Kind, T> Kind for Map<K, T> {
    type Value = T;

    fn takes(&self) -> String {
        self.0.takes()
    }

    fn read(&self, item: &Item, at: &mut At<'_>) -> Result<T, Wrong> {
        self.0.read(item, at).map(self.1)
    }
}

/// A base URL of one of these schemes.
pub(crate) struct BaseUrl(pub(crate) &'static [&'static str]);

impl Kind for BaseUrl {
    type Value = String;

    fn takes(&self) -> String {
        format!("a URL ({})", self.0.join(", "))
    }

    fn read(&self, item: &Item, _: &mut At<'_>) -> Result<String, Wrong> {
        units::base_url(text(item)?, self.0).map_err(|why| wrong(item, why))
    }
}

/// An address to listen on. Port 0 takes a free port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// At least one address.
    pub addresses: Vec<SocketAddr>,
    /// An address that this machine does not have (no IPv6) is left out with a warning, as long as one is left.
    pub best_effort: bool,
}

/// Addresses; `None` for an empty text or list.
pub(crate) const LISTEN: Own<Option<Listen>> = Own("a list of addresses with ports", |item, at| {
    let address = |item: &Item| {
        let parsed = item.as_text().and_then(|text| text.parse::<SocketAddr>().ok());
        parsed.ok_or_else(|| must_be(item, "an address and a port (\"127.0.0.1:3000\", \"[::]:3000\")"))
    };
    let addresses = if item.as_text() == Some("") { vec![] } else { list(item, address)? };
    let best_effort = *at.origin == Origin::Default;
    Ok((!addresses.is_empty()).then_some(Listen { addresses, best_effort }))
});

/// A port that every worker serves: it cannot be none.
pub(crate) const PORT: Own<Listen> = Own(LISTEN.0, |item, at| {
    LISTEN.read(item, at)?.ok_or_else(|| wrong(item, "must name at least one address"))
});
