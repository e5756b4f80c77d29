//! Gives formatted lines to the sink: within the limit of their kind, and with the number of those left out.

use super::ids;
use super::kinds::{Held, LineKinds};
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

impl Lines {
    fn put(&self, line: &[u8], left_out: u64) {
        let seen = seen(line, self.json);
        let line = seen.as_deref().unwrap_or(line);
        let hashed = hashed(line);
        let line = hashed.as_deref().map_or(line, str::as_bytes);
        let told = if left_out > 0 { Some(tell(line, left_out, self.json)) } else { None };
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = &*sink {
            sink.push(told.as_deref().unwrap_or(line));
        }
    }
}

impl Write for Line<'_> {
    /// Takes the whole line: the layers write each at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let hold = || {
            let (lines, line) = (self.lines.clone(), Box::<[u8]>::from(bytes));
            Box::new(move |left_out| lines.put(&line, left_out)) as Held
        };
        let left_out = match self.kind.take() {
            Some(kind) => self.lines.kinds.admit(kind, hold),
            None => Some(0),
        };
        left_out.into_iter().for_each(|left_out| self.lines.put(bytes, left_out));
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
    fn the_last_line_of_a_flood_is_told_when_it_is_over() {
        use super::super::kinds::BURST;
        use super::super::sink::{Bounds, Sink};
        use std::time::{Duration, Instant};
        use tracing_subscriber::layer::SubscriberExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let bounds = Bounds { room: 1 << 20, rotation: None };
        let sink = Arc::new(Sink::start(Some(path.clone()), bounds, None, Box::new(|_, _| {})).unwrap());
        let lines =
            Lines { sink: Arc::new(Mutex::new(Some(sink.clone()))), kinds: Arc::default(), json: true };
        let kinds = lines.kinds.clone();
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(lines);
        let flood = 4 * BURST;
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            (1..=flood).for_each(|n| tracing::info!(n));
        });
        let read = || {
            kinds.tell();
            sink.flush(Duration::from_secs(5));
            let text = std::fs::read_to_string(&path).unwrap();
            let read = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
            text.lines().map(read).collect::<Vec<_>>()
        };
        let end = Instant::now() + Duration::from_secs(20);
        let all = loop {
            let all = read();
            if all.last().unwrap()["n"] == flood || Instant::now() > end {
                break all;
            }
            std::thread::yield_now();
        };
        let left_out: u64 = all.iter().filter_map(|line| line["left_out"].as_u64()).sum();
        assert_eq!((all.len() as u64 + left_out, &all.last().unwrap()["n"]), (flood.into(), &flood.into()));
        assert_eq!(read().len(), all.len(), "it is told once");
    }

    #[test]
    fn what_was_left_out_is_told_in_either_form() {
        let text = |line: &str, json| String::from_utf8(tell(line.as_bytes(), 7, json)).unwrap();
        assert_eq!(text("INFO x\n", false), "INFO x (and 7 more like this, left out)\n");
        assert_eq!(text("{\"event\":\"x\"}\n", true), "{\"event\":\"x\",\"left_out\":7}\n");
    }
}
