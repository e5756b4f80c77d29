//! The format of a recording: what the sources sent, one line each, before it was read.
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
//! A line has nanoseconds since 1970 (our clock, 19 digits), the source's name and its leg, the status of an answer
//! over HTTP, and the payload. Captures of other programs have no name: `1763640000123456789 {...}`.
//! `docs/recording.md` has all details.

use super::wire::body::LARGEST;
use std::io::Write;

/// The first line of every recording.
pub const HEAD: &[u8] = b"# btc-cluster recording 1\n";
/// The reason in the end line of a session that did not end by itself.
pub const CUT_OFF: &str = "cut off";
/// Longest line in bytes, its end included: the longest payload and its prefix.
pub const LONGEST: usize = LARGEST + 256;
/// Digits of a time stamp, from 2001 to 2286.
const STAMP: usize = 19;

/// The content of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedEvent<'a> {
    /// A session began: the dialect starts in its first state.
    Begin,
    /// The session ended, with the reason.
    End(&'a str),
    /// A payload; with a status it is an answer over HTTP.
    Raw(Option<u16>, &'a [u8]),
}

/// A parsed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordedLine<'a> {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// Source and leg; `None` in captures of other programs.
    pub of: Option<(&'a str, &'a str)>,
    pub event: RecordedEvent<'a>,
}

/// Appends a line. A payload stays on its line: its line breaks become spaces, which is the same in JSON. A payload
/// that begins like a marker gets a space before it.
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

/// Reads a line without its end; `None` if it has another format.
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
