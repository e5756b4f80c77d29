//! Files of a configuration.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use super::file::{Content, unreadable};
use super::{Config, Snapshot, Source, Surroundings, diff, load_snapshot, render};
use std::path::Path;

/// What stands between two files.
const BETWEEN: &str = "\n=====\n";

/// The main file, that of the environment, and fragments. A configuration is taken, or refused with a reason for each
/// fault; one that is taken is the same in another process.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/nonexistent/fuzz.toml");
    let source = Source::find(Some(path), Some("production"), &Surroundings::default()).expect("a source");
    let names = ["fuzz.toml", "production.toml", "conf.d/10.toml", "conf.d/20.toml"];
    let readings = text.split(BETWEEN).zip(names).map(|(text, name)| {
        let mut reading = unreadable(&path.with_file_name(name), String::new());
        reading.content = Content::Text(text.to_owned());
        reading
    });
    let snapshot = Snapshot { readings: readings.collect() };
    let loaded = match load_snapshot(&source, &snapshot) {
        Ok(loaded) => loaded,
        Err(faults) => {
            assert!(!faults.0.is_empty(), "refused without a reason");
            for fault in faults.0 {
                let line = fault.to_string();
                assert!(!line.contains(['\n', '\r', '\u{1b}']) && line.len() < 4000, "{line:?}");
            }
            return;
        }
    };
    assert!(!render(&loaded).is_empty());
    let json = serde_json::to_string(&loaded.config).expect("JSON");
    let again: Config = serde_json::from_str(&json).expect("the same in another process");
    assert_eq!(again, loaded.config);
    assert!(diff(&loaded.config, &again).is_empty());
}
