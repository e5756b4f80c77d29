//! All files of a configuration at one moment, and what one such moment may not lose against another.

use super::fault::{Faults, Origin};
use super::file::{self, Content, Reading};
use super::source::Source;
use super::value;
use std::path::Path;

/// All files of a configuration at one moment, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) readings: Vec<Reading>,
}

impl Snapshot {
    /// Reads them all: the main file, `{env}.toml`, `conf.d/*.toml` by name. Faults are kept in place of the text.
    #[must_use]
    pub fn read(source: &Source) -> Self {
        let mut readings = vec![file::read(&source.file)];
        let beside = source.environment_file();
        if beside != source.file {
            readings.push(file::read(&beside));
        }
        let folder = source.fragments();
        match file::fragments(&folder) {
            Ok(paths) => readings.extend(paths.iter().map(|path| file::read(path))),
            Err(why) => readings.push(file::unreadable(&folder, why)),
        }
        Self { readings }
    }

    /// Compares the texts, not when they were written.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let said = |s: &Self| {
            let there = s.readings.iter().filter(|r| r.content != Content::Absent);
            there.map(|r| (r.path.clone(), r.content.clone())).collect::<Vec<_>>()
        };
        said(self) == said(other)
    }

    /// The files that are there.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.readings.iter().filter(|r| r.content != Content::Absent).map(|r| r.path.as_path())
    }

    /// The text of a file, if it is there and can be read.
    fn text(&self, path: &Path) -> Option<&str> {
        match &self.readings.iter().find(|reading| reading.path == path)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Tells whether a file is missing. A link to nothing counts as missing.
    pub(crate) fn misses(&self, path: &Path) -> bool {
        let reading = self.readings.iter().find(|reading| reading.path == path);
        reading.is_none_or(|reading| matches!(reading.content, Content::Absent | Content::Dangling))
    }

    /// The files of `before` that are missing here.
    pub(crate) fn misses_any_of(&self, before: &Self) -> bool {
        before.readings.iter().any(|old| !before.misses(&old.path) && self.misses(&old.path))
    }

    /// Faults of this snapshot against the one in force: a file that had keys and has none, is cut inside a line, or is
    /// gone. A full disk, or an editor between truncating and writing, must not move a running daemon to its defaults.
    /// A fragment may be deleted: this is how it is taken back.
    pub(crate) fn lost(&self, before: &Self, source: &Source) -> Faults {
        let mut faults = Faults::default();
        for old in &before.readings {
            let Some(had) = before.text(&old.path).filter(|text| has_keys(text)) else { continue };
            let mut fault = |line, text| {
                faults.add(Origin::File { path: old.path.as_path().into(), line }, "", text);
            };
            match self.text(&old.path) {
                Some(now) if !has_keys(now) => fault(0, NO_KEY),
                Some(now) => {
                    if let Some(line) = cut_line(had, now) {
                        fault(line, CUT);
                    }
                }
                None if old.path == source.environment_file() && self.misses(&old.path) => fault(0, GONE),
                None => {}
            }
        }
        faults
    }
}

const NO_KEY: &str = "holds no key any more, and is not taken. If the defaults are meant, restart, or leave one key in it \
                      (such as cluster.workers = \"auto\"); a file in conf.d may be deleted";
const CUT: &str =
    "ends inside a line that it had whole, and is not taken. If this is meant, end the line with a newline";
const GONE: &str = "no such file, but it held keys, and that is not taken. If the defaults are meant, restart, or put a \
                    file with one key there";

/// Tells whether a text sets a key. A syntax error counts as a key: it is a fault of its own.
fn has_keys(text: &str) -> bool {
    value::document(text).map_or(true, |entries| entries.iter().any(|(_, item)| item.value.is_set()))
}

/// The line in which `now` ends, if it is the beginning of `had`, and `had` goes on in this line.
fn cut_line(had: &str, now: &str) -> Option<u32> {
    let rest = had.strip_prefix(now)?;
    let inside = !now.ends_with('\n') && !rest.is_empty() && !rest.starts_with(['\n', '\r']);
    inside.then(|| u32::try_from(now.lines().count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_without_any_value_holds_no_key() {
        for none in
            ["", "\u{feff}", " \n", "# workers = 3\n", "[cluster]\n[price.x]\n", "provider = { mock = {} }\n"]
        {
            assert!(!has_keys(none), "{none:?}");
        }
        for some in [
            "a = 1\n",
            "[cluster]\nworkers = 1\n",
            "streams = []\n",
            "[[channels]]\n",
            "a.b.c = {}\nd = 1",
            "x =",
        ] {
            assert!(has_keys(some), "{some:?}");
        }
    }

    #[test]
    fn a_cut_is_seen_only_inside_a_line() {
        let had = "[a]\nb = 12\nc = 3\n";
        for (now, line) in [("[a]\nb = 1", Some(2)), ("[a]\nb = 12\nc", Some(3)), ("[", Some(1))] {
            assert_eq!(cut_line(had, now), line, "{now:?}");
        }
        for now in [had, "[a]\nb = 12\n", "[a]\nb = 12", "[a]\nb = 1\n", "[a]\nb = 2", "[a]\nb = 12\nc = 3"] {
            assert_eq!(cut_line(had, now), None, "{now:?}");
        }
    }
}
