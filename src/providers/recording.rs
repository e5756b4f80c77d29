//! The form of a recording: what came from the sources, one line each, before anybody read it.
//!
//! ```text
//! # btc-cluster recording 1
//! 1763640000123456789 binance/stream !begin
//! 1763640000223456789 binance/stream {"stream":"btcusdt@trade","data":{...}}
//! 1763640001323456789 kraken/rest:200 {"error":[],"result":{...}}
//! 1763640002423456789 binance/stream !end the stream ended
//! # lost 12
//! ```
//!
//! Nanoseconds since 1970 (our clock, 19 digits), the source's name and its leg, for an answer over HTTP its status,
//! and the payload. Captures of other programs have no name: `1763640000123456789 {...}`. `docs/recording.md` is
//! the long form.

use super::wire::http::LARGEST;
use std::io::Write;

/// The first line of every file that we write.
pub const HEAD: &[u8] = b"# btc-cluster recording 1\n";
/// Why a session ended that did not end by itself.
pub const CUT_OFF: &str = "cut off";
/// Longest line in bytes, its end included: the longest payload and what stands before it.
pub const LONGEST: usize = LARGEST + 256;
/// The digits of a stamp; it has so many from 2001 to 2286.
const STAMP: usize = 19;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedEvent<'a> {
    /// A session began: the dialect knows nothing of what was before.
    Begin,
    /// It ended, for that reason.
    End(&'a str),
    /// Something came; with a status it was an answer over HTTP.
    Raw(Option<u16>, &'a [u8]),
}

/// A line, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordedLine<'a> {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// Source and leg; `None` in captures of other programs.
    pub of: Option<(&'a str, &'a str)>,
    pub event: RecordedEvent<'a>,
}

/// Adds a line. A payload stays on its line: line breaks in it become spaces, which in JSON is the same. One that
/// looks like our own words gets a space before it.
pub fn write(out: &mut Vec<u8>, at: i64, source: &str, leg: &str, event: &RecordedEvent<'_>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{at:0STAMP$} {source}/{leg}");
    let (text, spaced) = match *event {
        RecordedEvent::Begin => (&b" !begin"[..], false),
        RecordedEvent::End(why) => {
            out.extend_from_slice(b" !end ");
            (why.as_bytes(), false)
        }
        RecordedEvent::Raw(status, bytes) => {
            if let Some(status) = status {
                let _ = write!(out, ":{status:03}");
            }
            out.push(b' ');
            (bytes, bytes.starts_with(b"!"))
        }
    };
    if spaced {
        out.push(b' ');
    }
    out.extend(text.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    out.push(b'\n');
}

/// Reads a line without its end; `None` when it is of another form.
pub(super) fn read(line: &[u8]) -> Option<RecordedLine<'_>> {
    let (stamp, rest) = line.split_at_checked(STAMP)?;
    let rest = rest.strip_prefix(b" ")?;
    if !stamp.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let at = std::str::from_utf8(stamp).ok()?.parse().ok()?;
    let end = rest.iter().position(|byte| *byte == b' ');
    let Some((label, end)) = end.and_then(|end| Some((label(&rest[..end])?, end))) else {
        return Some(RecordedLine { at, of: None, event: RecordedEvent::Raw(None, rest) });
    };
    let (source, leg, status) = label;
    let payload = &rest[end + 1..];
    let event = match payload {
        b"!begin" => RecordedEvent::Begin,
        _ => match payload.strip_prefix(b"!end") {
            Some(why) => RecordedEvent::End(std::str::from_utf8(why.trim_ascii()).unwrap_or_default()),
            None => RecordedEvent::Raw(status, payload),
        },
    };
    Some(RecordedLine { at, of: Some((source, leg)), event })
}

/// `source/leg` or `source/leg:status`.
fn label(word: &[u8]) -> Option<(&str, &str, Option<u16>)> {
    let (source, rest) = std::str::from_utf8(word).ok()?.split_once('/')?;
    let (leg, status) = match rest.split_once(':') {
        Some((leg, status)) if status.len() == 3 => (leg, Some(status.parse().ok()?)),
        Some(_) => return None,
        None => (rest, None),
    };
    let name = |text: &str| {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        (1..=32).contains(&text.len()) && text.bytes().all(good)
    };
    (name(source) && name(leg)).then_some((source, leg, status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(event: &RecordedEvent<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, 1_763_640_000_123_456_789, "binance", "stream", event);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_payload_stays_on_its_line() {
        let line = written(&RecordedEvent::Raw(Some(200), b"{\n \"a\":\r\n 1}"));
        assert_eq!(line, "1763640000123456789 binance/stream:200 {  \"a\":   1}\n");
        assert_eq!(written(&RecordedEvent::Raw(None, b"")), "1763640000123456789 binance/stream \n");
        assert_eq!(written(&RecordedEvent::Begin), "1763640000123456789 binance/stream !begin\n");
        let end = written(&RecordedEvent::End("HTTP 503: a\nb"));
        assert_eq!(end, "1763640000123456789 binance/stream !end HTTP 503: a b\n");
    }

    #[test]
    fn a_capture_of_another_program_has_no_name() {
        for (line, payload) in [
            ("1723161508096804767 {\"u\":1}", "{\"u\":1}"),
            ("1723161508096804767 {\"a\": \"x/y z\"}", "{\"a\": \"x/y z\"}"),
            ("1723161508096804767 61000.20", "61000.20"),
            ("1723161508096804767 Text/Html nothing", "Text/Html nothing"),
            ("1723161508096804767 ", ""),
        ] {
            let read = read(line.as_bytes()).unwrap();
            let expected = RecordedLine {
                at: 1_723_161_508_096_804_767,
                of: None,
                event: RecordedEvent::Raw(None, payload.as_bytes()),
            };
            assert_eq!(read, expected, "{line}");
        }
    }

    #[test]
    fn other_lines_are_none_of_ours() {
        for line in [
            "",
            "# lost 12",
            "61000.20",
            "{\"price\":1}",
            "1723161508096804767",
            "172316150809680476 {}",
            "17231615080968047670 {}",
            "9999999999999999999 {}",
            "1723161508096804767,{}",
        ] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            at in 1_000_000_000_000_000_000..=i64::MAX,
            source in "[a-z0-9_-]{1,32}",
            leg in "[a-z]{1,8}",
            status in proptest::option::of(100..=599_u16),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut out = Vec::new();
            write(&mut out, at, &source, &leg, &RecordedEvent::Raw(status, &bytes));
            prop_assert_eq!(out.pop(), Some(b'\n'));
            prop_assert!(!out.contains(&b'\n'));
            let line = read(&out).unwrap();
            prop_assert_eq!((line.at, line.of), (at, Some((source.as_str(), leg.as_str()))));
            let mut same: Vec<_> =
                bytes.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect();
            if same.starts_with(b"!") {
                same.insert(0, b' ');
            }
            prop_assert_eq!(line.event, RecordedEvent::Raw(status, &same));
        }

        #[test]
        fn whatever_stands_there_is_read_without_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes);
            let mut line = b"1723161508096804767 ".to_vec();
            line.extend_from_slice(&bytes);
            prop_assert!(read(&line).is_some());
        }
    }
}
