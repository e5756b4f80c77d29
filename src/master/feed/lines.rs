//! The newest line of each file and program that a stream carries: for newborn workers, and where a newborn feeder
//! goes on. The text of a line is not read here.

use crate::config::{self, Config};
use crate::protocol::cluster::Mark;
use std::collections::BTreeMap;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::master) struct Kept {
    pub(in crate::master) text: Box<str>,
    /// Where it ends.
    pub(in crate::master) mark: Option<Mark>,
    pub(in crate::master) number: u64,
}

/// The newest line of each configured channel.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, Option<Kept>>);

impl Lines {
    /// Follows another configuration: what no stream carries any more is forgotten.
    pub(super) fn adopt(&mut self, config: &Config) {
        let mut known = std::mem::take(&mut self.0);
        for of in config.lines().map(config::Lines::channel) {
            let line = known.remove(&of).flatten();
            // A channel that two streams carry comes twice.
            self.0.entry(of).or_insert(line);
        }
    }

    /// Keeps a line and gives it back. `None`: no stream carries it, these are last words of a reader that nobody
    /// wants any more.
    pub(super) fn take(&mut self, of: &str, line: Kept) -> Option<&str> {
        Some(&self.0.get_mut(of)?.insert(line).text)
    }

    /// Whether a line is older than the newest: it is said again, for workers that do not know it.
    pub(super) fn is_older(&self, of: &str, number: u64) -> bool {
        let newest = self.0.get(of).and_then(Option::as_ref);
        newest.is_some_and(|newest| number <= newest.number)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Kept)> {
        self.0.iter().filter_map(|(of, kept)| Some((of.as_str(), kept.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, Surroundings, load};

    fn config(streams: &str) -> Config {
        let mut source = Source::find(None, Some("test"), &Surroundings::default()).unwrap();
        source.required = false;
        source.overrides = vec![("streams".to_owned(), streams.to_owned())];
        load(&source).unwrap().config
    }

    #[test]
    fn what_no_stream_carries_is_forgotten_and_the_rest_is_kept() {
        let mut lines = Lines::default();
        lines.adopt(&config(
            r#"[{ name = "a", file = "/x" }, { name = "b", file = "/x" }, { name = "c", command = "/y" }]"#,
        ));
        assert_eq!(lines.0.len(), 2, "two streams carry the same");
        assert_eq!(lines.all().count(), 0);
        let newest = |text: &str| Some(Kept { text: text.into(), mark: None, number: 1 });
        lines.0.values_mut().for_each(|kept| *kept = newest("line"));
        lines.adopt(&config(
            r#"[{ name = "d", file = "/x" }, { name = "e", file = "/x" }, { name = "f", file = "/z" }]"#,
        ));
        let kept: Vec<_> = lines.0.into_iter().collect();
        assert_eq!(kept, [("lines:file:/x".to_owned(), newest("line")), ("lines:file:/z".to_owned(), None)]);
    }
}
