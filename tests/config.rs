//! The configuration from outside: folders of valid and invalid files, layers, and what stands in `etc/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use btc_cluster::config::{Environment, Faults, Loaded, Source, Surroundings, load};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A source for one file, in surroundings that hold nothing but what its head says:
/// `# env: NAME`, `# var: NAME=VALUE`, `# set: KEY=VALUE`.
fn source_of(file: &Path) -> Source {
    let text = std::fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&text);
    let said = |word: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word));
        lines
            .map(|line| line.split_once('=').unwrap_or((line, "")))
            .map(|(n, v)| (n.into(), v.into()))
            .collect()
    };
    let variables =
        said("# var: ").into_iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
    let env = said("# env: ").pop().map_or_else(|| "test".to_owned(), |(env, _)| env);
    let around = Surroundings { variables, user: 1000, ..Surroundings::default() };
    let mut source = Source::find(Some(file), Some(&env), &around).unwrap();
    source.overrides = said("# set: ");
    source
}

fn files_of(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_invalid_file_is_refused_with_its_messages() {
    let mut failed = vec![];
    for file in files_of("tests/config/invalid") {
        let text = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&text);
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        let here = std::env::current_dir().unwrap().join("tests/config/invalid");
        let found = match load(&source_of(&file)) {
            Ok(_) => vec!["(it is taken)".to_owned()],
            Err(Faults(faults)) => faults
                .iter()
                .map(|fault| {
                    fault.to_string().replace("tests/config/invalid/", "").replace(
                        &format!("{}/", here.display().to_string().trim_end_matches("/tests/config/invalid")),
                        "",
                    )
                })
                .collect(),
        };
        if found != expected {
            failed.push(format!("{}:\n# expect: {}", file.display(), found.join("\n# expect: ")));
        }
    }
    assert!(failed.is_empty(), "these say something else:\n{}", failed.join("\n"));
}
