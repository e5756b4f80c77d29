//! Faults of a configuration, each with its place, in one line, all at once.

use crate::model::visible;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Origin of a value, in the order of the layers: a later one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// A line of a file.
    File {
        /// The file, named as it was found.
        path: Arc<Path>,
        /// Line number, from 1; 0 is the file as a whole.
        line: u32,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// An option of the command line.
    CommandLine,
}

impl Origin {
    /// Tells whether no reload can change the value.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::Variable(_) | Self::CommandLine)
    }

    /// Moves the origin to another line of its file.
    pub(crate) fn at(&self, at: u32) -> Self {
        match self {
            Self::File { path, .. } => Self::File { path: Arc::clone(path), line: at },
            other => other.clone(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => path.display().fmt(f),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// A fault or a warning. Printed as `etc/btc-cluster.toml:12: http.lisen: unknown key; ...`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Place of the fault.
    pub origin: Origin,
    /// The key concerned, `http.listen`; empty when it is the file as a whole.
    pub key: String,
    /// The fault, in a few words.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// All faults of a configuration, in the order of the layers and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// More than anybody reads: the rest is not even worded, so that a file of nothing but faults costs no time.
    pub(crate) const MOST: usize = 100;

    pub(crate) fn add(&mut self, origin: Origin, key: impl Into<String>, text: impl Into<String>) {
        self.add_with(origin, key, || text.into());
    }

    /// [`Faults::add`] with words that take some time to find.
    pub(crate) fn add_with<T: Into<String>>(
        &mut self,
        origin: Origin,
        key: impl Into<String>,
        text: impl FnOnce() -> T,
    ) {
        match self.0.len() {
            count if count < Self::MOST => {
                self.0.push(Fault { origin, key: printable(&key.into()), text: printable(&text().into()) });
            }
            Self::MOST => {
                let text = format!("and more faults from here on: these are the first {}", Self::MOST);
                self.0.push(Fault { origin, key: String::new(), text });
            }
            _ => {}
        }
    }
}

/// A text in one line that does nothing to a terminal.
pub(crate) fn printable(text: &str) -> String {
    visible(text).into_owned()
}

/// Prints one line per fault.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

/// `unknown key; did you mean "listen"?`, naming the nearest of `known`; one that is far off is still named, but
/// not as what was meant.
pub(crate) fn unknown<'k>(what: &str, name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let lower = name.to_lowercase();
    let nearest = known.into_iter().map(|k| (distance(&lower, k), k)).min();
    match nearest {
        Some((far, near)) if far <= 2.max(near.len() / 3) => {
            format!("unknown {what}; did you mean \"{near}\"?")
        }
        Some((_, near)) => format!("unknown {what}; the nearest known is \"{near}\""),
        None => format!("unknown {what}"),
    }
}

/// Edits between two texts: insertions, deletions, replacements, swaps of neighbours. A name longer than any key is
/// cut: its distance is large anyway, and time stays bounded.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let short = |text: &str| text.chars().take(64).collect::<String>();
    strsim::osa_distance(&short(a), &short(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let known = ["listen", "max_body", "hosts"];
        assert_eq!(unknown("key", "lisen", known), "unknown key; did you mean \"listen\"?");
        assert_eq!(unknown("key", "Listen", known), "unknown key; did you mean \"listen\"?");
        assert_eq!(unknown("key", "maxbody", known), "unknown key; did you mean \"max_body\"?");
        assert_eq!(unknown("key", "zzzzzzzz", known), "unknown key; the nearest known is \"hosts\"");
        assert_eq!(unknown("key", "x", []), "unknown key");
    }

    #[test]
    fn distances() {
        for (a, b, edits) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn a_fault_is_one_line() {
        let origin = Origin::File { path: Path::new("etc/x.toml").into(), line: 12 };
        let fault = Fault { origin: origin.clone(), key: "http.lisen".into(), text: "unknown key".into() };
        assert_eq!(fault.to_string(), "etc/x.toml:12: http.lisen: unknown key");
        let mut faults = Faults::default();
        faults.add(origin.clone(), "a\nb", "c\r\nd\u{1b}[31m");
        assert_eq!(faults.to_string(), "etc/x.toml:12: a\\nb: c\\r\\nd\\u{1b}[31m");
        let fault = Fault { origin: origin.at(0), key: String::new(), text: "no such file".into() };
        assert_eq!(fault.to_string(), "etc/x.toml: no such file");
    }
}
