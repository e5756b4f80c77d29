//! `log.level`: a level, or a filter of levels for parts of the program. A part of it that names nothing would silence
//! lines without a word, so that it is a fault.

use super::fault::unknown;
use super::value::quoted;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// This program's modules, and the libraries that may log, from the build.
const MODULES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/modules.rs"));
const LIBRARIES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/libraries.rs"));

/// A filter in its plain form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) text: String,
    /// What the filter silences that nobody may have meant.
    pub(crate) warning: Option<&'static str>,
}

/// Reads a filter.
///
/// # Errors
/// The first part that names nothing.
pub(crate) fn filter(text: &str) -> Result<Filter, String> {
    let mut parts = Vec::new();
    let mut rest = None;
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None if target(part).is_ok() => parts.push(part.to_owned()),
            None => {
                let level = level(part)?;
                rest = Some(level.clone());
                parts.push(level);
            }
            Some((name, word)) => {
                target(name.trim())?;
                let level = level(word.trim()).map_err(|why| format!("{}: {why}", quoted(part)))?;
                parts.push(format!("{}={level}", name.trim()));
            }
        }
    }
    let warning = match rest.as_deref() {
        Some("off") => Some("nothing else is logged, not even that a process dies"),
        None => Some("nothing else is logged: a level for the rest is missing (\"info,...\")"),
        Some(_) => None,
    };
    Ok(Filter { text: parts.join(","), warning })
}

fn level(word: &str) -> Result<String, String> {
    let lower = word.to_lowercase();
    match LEVELS.contains(&lower.as_str()) {
        true => Ok(lower),
        false => Err(format!("{}: {}", quoted(word), unknown("level", word, LEVELS))),
    }
}

/// A module of this program, or anything in one of its libraries.
fn target(name: &str) -> Result<(), String> {
    if name.contains(['[', '{']) {
        return Err(format!("{}: this program has no spans", quoted(name)));
    }
    let library = name.split("::").next().unwrap_or_default();
    if MODULES.contains(&name) || LIBRARIES.contains(&library) {
        return Ok(());
    }
    let known = if library.starts_with("btc") { MODULES } else { LIBRARIES };
    let near = unknown("module", name, known.iter().copied());
    // Another library's name is no help, and short names are all alike.
    let is_near = name.len() > 4 && near.contains("did you mean");
    let why = if is_near { near } else { "unknown module or library".to_owned() };
    Err(format!("{}: {why}", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_names_something_is_taken() {
        for (text, plain) in [
            ("info", "info"),
            (" WARN ", "warn"),
            ("info,btc_cluster::feeder=debug", "info,btc_cluster::feeder=debug"),
            (
                "warn, btc_cluster::worker::hub = TRACE , hyper=off",
                "warn,btc_cluster::worker::hub=trace,hyper=off",
            ),
            ("info,btc_cluster::master", "info,btc_cluster::master"),
            (
                "error,hyper::proto::h1=debug,tokio_tungstenite=debug",
                "error,hyper::proto::h1=debug,tokio_tungstenite=debug",
            ),
        ] {
            assert_eq!(filter(text), Ok(Filter { text: plain.to_owned(), warning: None }));
            assert!(tracing_subscriber::EnvFilter::try_new(plain).is_ok());
        }
        assert!(filter("off").unwrap().warning.is_some());
        assert!(filter("btc_cluster::feeder=debug").unwrap().warning.is_some());
    }

    #[test]
    fn a_part_that_names_nothing_is_a_fault() {
        for (text, why) in [
            ("verbose", "\"verbose\": unknown level; the nearest known is \"error\""),
            ("", "\"\": unknown level"),
            (",", "\"\": unknown level"),
            ("info,", "\"\": unknown level"),
            ("inf", "\"inf\": unknown level; did you mean \"info\"?"),
            ("warning", "\"warning\": unknown level"),
            ("debug,nosuchlibrary=bar=baz", "\"nosuchlibrary\": unknown module or library"),
            ("debug,hyper=bar=baz", "\"hyper=bar=baz\": \"bar=baz\": unknown level"),
            ("btc_cluster=verbose", "\"btc_cluster=verbose\": \"verbose\": unknown level"),
            ("btc_cluster=", "unknown level"),
            ("nosuchtarget=debug", "\"nosuchtarget\": unknown module"),
            ("info,btc_cluster::feder=debug", "did you mean \"btc_cluster::feeder\"?"),
            ("info,btc-cluster=debug", "unknown module; did you mean \"btc_cluster\"?"),
            ("=debug", "\"\": unknown module"),
            ("info;debug", "unknown level"),
            ("info debug", "unknown level"),
            ("info,[session]=debug", "no spans"),
            ("info,btc_cluster[{user}]=debug", "no spans"),
        ] {
            let said = filter(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
