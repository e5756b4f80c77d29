//! The text of `btc-cluster check`: every key, its value and where it comes from, in TOML that could be a file.

use super::fault::printable;
use super::load::{Loaded, Setting};
use std::fmt::Write;

/// Lines `key = value  # origin`. Secrets are not in it.
#[must_use]
pub fn render(loaded: &Loaded) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# environment: {} ({})", loaded.config.environment.as_str(), loaded.environment);
    for file in &loaded.files {
        let _ = writeln!(out, "# read: {}", printable(&file.to_string_lossy()));
    }
    if loaded.files.is_empty() {
        let _ = writeln!(out, "# no file was read");
    }
    for setting in &loaded.settings {
        line(&mut out, setting);
        for (_, path) in loaded.secrets.iter().filter(|(key, _)| *key == setting.key) {
            let path = printable(&path.to_string_lossy());
            let _ = writeln!(out, "# {}: \"***\", read from {path}", setting.key);
        }
    }
    for warning in &loaded.warnings {
        let _ = writeln!(out, "# warning: {warning}");
    }
    out
}

fn line(out: &mut String, setting: &Setting) {
    let _ = write!(out, "{} = {}  # {}", setting.key, setting.value, setting.origin);
    if let Some(over) = &setting.over {
        let _ = write!(out, ", over {over}");
    }
    if setting.origin.is_fixed() {
        let _ = write!(out, "; a reload does not change it");
    }
    out.push('\n');
}
