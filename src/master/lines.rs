//! The newest line of each file and program that a stream carries: for workers that are born, and where a feeder that
//! is born goes on. What is in a line is nobody's business here.

use super::core::Master;
use crate::config::{self, Config};
use crate::protocol::cluster::{Generation, Mark, ToFeeder, ToWorker};
use std::collections::BTreeMap;

/// A line, and where it ends.
type Kept = (Box<str>, Option<Mark>);

/// By channel; those of the configuration, and no others.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, Option<Kept>>);

impl Lines {
    /// No line yet of any.
    pub(super) fn of(config: &Config) -> Self {
        let mut lines = Self::default();
        lines.adopt(config);
        lines
    }

    /// Another configuration: what no stream carries any more is forgotten.
    pub(super) fn adopt(&mut self, config: &Config) {
        let mut known = std::mem::take(&mut self.0);
        for of in config.lines().map(config::Lines::channel) {
            let line = known.remove(&of).flatten();
            // One that two streams carry comes twice.
            self.0.entry(of).or_insert(line);
        }
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Kept)> {
        self.0.iter().filter_map(|(of, kept)| Some((of.as_str(), kept.as_ref()?)))
    }
}

impl Master {
    /// A line from the feeder: to all workers, and kept for those to come.
    pub(super) fn line(&mut self, of: &str, text: Box<str>, mark: Option<Mark>) {
        // Of one that no stream carries any more these are last words.
        let Some(kept) = self.lines.0.get_mut(of) else { return };
        self.children.tell_workers(&ToWorker::Line { of, text: &text });
        *kept = Some((text, mark));
    }

    /// The newest lines for a newborn worker.
    pub(super) fn tell_lines(&self, to: Generation) {
        for (of, (text, _)) in self.lines.all() {
            let _ = self.children.tell(to, &ToWorker::Line { of, text });
        }
    }

    /// How far the feeder before this newborn one has read each file.
    pub(super) fn tell_marks(&self, to: Generation) {
        for (of, (_, mark)) in self.lines.all() {
            if let Some(mark) = *mark {
                let _ = self.children.tell(to, &ToFeeder::Resume { of, mark });
            }
        }
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
        let mut lines = Lines::of(&config(
            r#"[{ name = "a", file = "/x" }, { name = "b", file = "/x" }, { name = "c", command = "/y" }]"#,
        ));
        assert_eq!(lines.0.len(), 2, "two streams carry the same");
        assert_eq!(lines.all().count(), 0);
        let newest = |text: &str| Some((text.into(), None));
        lines.0.values_mut().for_each(|kept| *kept = newest("line"));
        lines.adopt(&config(
            r#"[{ name = "d", file = "/x" }, { name = "e", file = "/x" }, { name = "f", file = "/z" }]"#,
        ));
        let kept: Vec<_> = lines.0.into_iter().collect();
        assert_eq!(kept, [("lines:file:/x".to_owned(), newest("line")), ("lines:file:/z".to_owned(), None)]);
    }
}
