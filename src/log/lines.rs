//! Gives formatted lines to the sink: within the limit of their kind, and with the number of those left out.

use super::ids;
use super::kinds::LineKinds;
use super::sink::Sink;
use crate::model::is_mark;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing_subscriber::fmt::MakeWriter;

/// The sink in use; `None`: lines go nowhere.
pub(super) type Current = Arc<Mutex<Option<Arc<Sink>>>>;

/// Where the text and JSON layers write.
#[derive(Clone)]
pub(super) struct Lines {
    pub(super) sink: Current,
    pub(super) kinds: Arc<LineKinds>,
    pub(super) json: bool,
}

/// One line in the making.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    kind: Option<Identifier>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, kind: None }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, kind: Some(meta.callsite()) }
    }
}

impl Write for Line<'_> {
    /// Takes the whole line: the layers write each at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left_out = match self.kind.take() {
            Some(kind) => self.lines.kinds.admit(kind),
            None => Some(0),
        };
        if let Some(left_out) = left_out {
            let json = self.lines.json;
            let seen = seen(bytes, json);
            let line = seen.as_deref().unwrap_or(bytes);
            let hashed = hashed(line);
            let line = hashed.as_deref().map_or(line, str::as_bytes);
            let told = if left_out > 0 { Some(tell(line, left_out, json)) } else { None };
            let sink = self.lines.sink.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sink) = &*sink {
                sink.push(told.as_deref().unwrap_or(line));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line without the UUIDs in it, where ids are hashed.
fn hashed(line: &[u8]) -> Option<String> {
    std::str::from_utf8(line).ok().filter(|_| ids::is_hashing()).and_then(ids::without_uuids)
}

/// The line with its marks (of direction, say) as escapes. `None`: there are none.
pub(super) fn seen(line: &[u8], json: bool) -> Option<Vec<u8>> {
    if line.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(line).ok().filter(|text| text.contains(is_mark))?;
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match u32::from(c) {
            _ if !is_mark(c) => out.push(c),
            code if !json => _ = write!(out, "\\u{{{code:x}}}"),
            code if code <= 0xffff => _ = write!(out, "\\u{code:04x}"),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    Some(out.into_bytes())
}

/// The line with the number of those of its kind that were left out before it.
fn tell(line: &[u8], left_out: u64, json: bool) -> Vec<u8> {
    let (end, told) = match json {
        true => (&b"}\n"[..], format!(",\"left_out\":{left_out}}}\n")),
        false => (&b"\n"[..], format!(" (and {left_out} more like this, left out)\n")),
    };
    let mut text = line.strip_suffix(end).unwrap_or(line).to_vec();
    text.extend_from_slice(told.as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_seen_in_either_form() {
        let text = "x=\u{202e}\u{e0041}ü\n";
        let shown = |json| String::from_utf8(seen(text.as_bytes(), json).unwrap()).unwrap();
        assert_eq!(
            (shown(false).as_str(), shown(true).as_str()),
            ("x=\\u{202e}\\u{e0041}ü\n", "x=\\u202e\u{fffd}ü\n")
        );
        assert_eq!((seen("ü\n".as_bytes(), false), seen(b"x\x1b[0m\n", false)), (None, None));
    }

    #[test]
    fn what_was_left_out_is_told_in_either_form() {
        let text = |line: &str, json| String::from_utf8(tell(line.as_bytes(), 7, json)).unwrap();
        assert_eq!(text("INFO x\n", false), "INFO x (and 7 more like this, left out)\n");
        assert_eq!(text("{\"event\":\"x\"}\n", true), "{\"event\":\"x\",\"left_out\":7}\n");
    }
}
