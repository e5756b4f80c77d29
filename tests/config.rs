//! The configuration from outside: folders of valid and of invalid files, the layers, what stands in `etc/`, what
//! a change means, the watcher.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "config/arbitrary.rs"]
mod arbitrary;
#[path = "config/changes.rs"]
mod changes;
#[path = "config/layers.rs"]
mod layers;
#[path = "config/shipped.rs"]
mod shipped;
#[path = "stopwatch/mod.rs"]
#[allow(dead_code, reason = "the suite of the cluster asks more")]
mod stopwatch;
#[path = "config/watching.rs"]
mod watching;

use btc_cluster::config::{Faults, Source, Surroundings, load, render};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Surroundings that hold nothing but these variables.
fn around(variables: &[(String, String)]) -> Surroundings {
    let variables = variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
    Surroundings { variables, user: 1000, ..Surroundings::default() }
}

/// A source for one file in the environment "test".
fn source(file: impl AsRef<Path>) -> Source {
    Source::find(Some(file.as_ref()), Some("test"), &around(&[])).unwrap()
}

/// A file of the folders below: what its comments say of its surroundings, and of the result.
struct Case {
    file: PathBuf,
    source: Source,
    expected: Vec<String>,
}

impl Case {
    /// `# env: NAME`, `# var: NAME=VALUE`, `# set: KEY=VALUE`, `# expect: LINE`.
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let said = |word: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
        };
        let pairs = |word: &str| -> Vec<(String, String)> {
            let pair =
                |line: String| line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
            said(word).into_iter().map(pair).collect()
        };
        let env = said("# env: ").pop().unwrap_or_else(|| "test".to_owned());
        let mut source = Source::find(Some(file), Some(&env), &around(&pairs("# var: "))).unwrap();
        source.overrides = pairs("# set: ");
        Self { file: file.to_owned(), source, expected: said("# expect: ") }
    }

    /// All files of a folder.
    fn all(folder: &str) -> Vec<Self> {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
        files.sort();
        assert!(files.len() > 10, "{folder}");
        files.iter().map(|file| Self::read(file)).collect()
    }

    /// A text without the folders, which are others in each checkout.
    fn bare(&self, text: &str) -> String {
        let folder = format!("{}/", self.file.parent().unwrap().display());
        let root = format!("{}/", std::env::current_dir().unwrap().display());
        text.replace(&root, "").replace(&folder, "")
    }
}

#[test]
fn every_invalid_file_is_refused_with_exactly_its_messages() {
    let mut failed = vec![];
    for case in Case::all("tests/config/invalid") {
        let found: Vec<String> = match load(&case.source) {
            Ok(_) => vec!["nothing: it is taken".to_owned()],
            Err(Faults(faults)) => faults.iter().map(|fault| case.bare(&fault.to_string())).collect(),
        };
        if found != case.expected {
            failed.push(format!("{}:\n# expect: {}", case.file.display(), found.join("\n# expect: ")));
        }
    }
    assert!(failed.is_empty(), "these say something else:\n{}", failed.join("\n"));
}

#[test]
fn every_valid_file_is_taken_and_check_says_what_it_must() {
    for case in Case::all("tests/config/valid") {
        let loaded = match load(&case.source) {
            Ok(loaded) => loaded,
            Err(faults) => panic!("{}:\n{faults}", case.file.display()),
        };
        let text = case.bare(&render(&loaded));
        for line in &case.expected {
            assert!(text.lines().any(|found| found == line.trim_end()), "{line}\nis not in\n{text}");
        }
        let warnings = case.expected.iter().filter(|line| line.starts_with("# warning")).count();
        let shown =
            text.lines().filter(|line| line.starts_with("# warning") && !line.contains("chmod")).count();
        assert_eq!(shown, warnings, "{text}");
        assert!(!text.contains("not-a-real-key"), "{text}");
        // What goes to the children comes back the same.
        let json = serde_json::to_string(&loaded.config).unwrap();
        assert_eq!(serde_json::from_str::<btc_cluster::config::Config>(&json).unwrap(), loaded.config);
    }
}
