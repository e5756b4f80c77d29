//! Rows of the table of keys without their types, and the keys of later versions.

use super::units::Environment;
use super::value::{self, Item};

/// Consequence of a changed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The processes take it while they run.
    Live,
    /// New workers, replaced one by one.
    Workers,
    /// A restart of the daemon.
    Restart,
}

impl Effect {
    /// The word for it in the shipped file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Workers => "workers",
            Self::Restart => "restart",
        }
    }
}

/// A row without its type.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// Explanation, in lines.
    pub(crate) text: &'static [&'static str],
    /// Accepted values, in words.
    pub(crate) takes: String,
    pub(crate) default: &'static str,
    pub(crate) development: Option<&'static str>,
    pub(crate) test: Option<&'static str>,
    pub(crate) effect: Effect,
}

impl Entry {
    /// The default of an environment that has one of its own.
    pub(crate) fn differs_in(&self, environment: Environment) -> Option<&'static str> {
        match environment {
            Environment::Development => self.development,
            Environment::Production => None,
            Environment::Test => self.test,
        }
    }

    pub(crate) fn default_in(&self, environment: Environment) -> Item {
        value::lenient(self.differs_in(environment).unwrap_or(self.default))
    }
}

/// A section without its type.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Explanation, in lines.
    pub(crate) text: &'static [&'static str],
    pub(crate) entries: Vec<Entry>,
}

/// The words of every refusal of what a later version has.
pub(crate) const LATER: &str = "not supported in this version";

/// Keys and sections of later versions, with the capability that brings each. A key of this version has a row instead.
pub(crate) const LATER_KEYS: [(&str, &str); 5] = [
    ("channels.history", "backends"),
    ("quotes.idempotency", "backends"),
    ("presence", "backends"),
    ("webhooks", "backends"),
    ("bridge", "hosts"),
];

/// Tells whether a key or section belongs to a later version.
pub(crate) fn is_later(key: &str) -> bool {
    LATER_KEYS.iter().any(|(later, _)| *later == key)
}
