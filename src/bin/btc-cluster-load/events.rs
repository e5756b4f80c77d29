//! Server-Sent Events (the WHATWG HTML standard, section 9.2) out of a chunked body (RFC 9112, section 7.1).

/// A chunked body, taken apart as it comes.
#[derive(Debug, Default)]
pub(crate) struct Chunks(At);

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the digits of a chunk's length.
    Length(usize),
    /// Behind these digits.
    Extension(usize),
    /// So many bytes are to come.
    Data(usize),
    /// Before the line's end behind a chunk.
    Behind,
    /// Behind the last chunk.
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Length(0)
    }
}

/// The body is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Chunks {
    /// Appends to `out` what the bytes hold of the body; `true`: that was all of it.
    pub(crate) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, Broken> {
        while let Some((first, rest)) = bytes.split_first() {
            if let At::Data(left) = self.0 {
                let (data, rest) = bytes.split_at(left.min(bytes.len()));
                out.extend_from_slice(data);
                bytes = rest;
                self.0 = if left == data.len() { At::Behind } else { At::Data(left - data.len()) };
                continue;
            }
            self.0 = self.after(*first)?;
            bytes = rest;
        }
        Ok(matches!(self.0, At::End))
    }

    fn after(&self, byte: u8) -> Result<At, Broken> {
        Ok(match (self.0, byte) {
            (At::Length(0) | At::Extension(0), b'\n') => At::End,
            (At::Length(len) | At::Extension(len), b'\n') => At::Data(len),
            (At::Length(len), b'\r' | b';') | (At::Extension(len), _) => At::Extension(len),
            (At::Length(len), digit) if len <= 0xff_ffff => {
                let digit = char::from(digit).to_digit(16).ok_or(Broken)?;
                At::Length(len << 4 | digit as usize)
            }
            (At::Behind, b'\r') => At::Behind,
            (At::Behind, b'\n') => At::Length(0),
            (At::End, _) => At::End,
            _ => return Err(Broken),
        })
    }
}

/// One event; a comment alone is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: Option<&'a str>,
    /// Lines of `data:`, joined by line ends.
    pub(crate) data: String,
}

/// Calls `on_event` for each whole event of the text; returns how many bytes these were.
pub(crate) fn events(bytes: &[u8], mut on_event: impl FnMut(&Event<'_>)) -> usize {
    let mut at = 0;
    while let Some(len) = bytes[at..].windows(2).position(|two| two == b"\n\n") {
        let event = std::str::from_utf8(&bytes[at..at + len]).ok().and_then(event);
        if let Some(event) = event {
            on_event(&event);
        }
        at += len + 2;
    }
    at
}

fn event(block: &str) -> Option<Event<'_>> {
    let mut event = Event { kind: "message", id: None, data: String::new() };
    let mut lines = 0;
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.kind = value,
            "id" => event.id = Some(value),
            "data" => {
                if lines > 0 {
                    event.data.push('\n');
                }
                event.data.push_str(value);
                lines += 1;
            }
            _ => (),
        }
    }
    (lines > 0).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_read_whatever_the_pieces() {
        let whole = b"3\r\nabc\r\n1A;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
        for cut in 0..=whole.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            let first = chunks.take(&whole[..cut], &mut out).unwrap();
            let end = chunks.take(&whole[cut..], &mut out).unwrap();
            assert_eq!(out, b"abcabcdefghijklmnopqrstuvwxyz", "{cut}");
            assert!(end && (!first || cut >= whole.len() - 2), "{cut}");
        }
    }

    #[test]
    fn nonsense_is_no_body() {
        for bad in [&b"x"[..], b"3\r\nabcd", b"fffffffff\r\n", b"-1\r\n"] {
            assert_eq!(Chunks::default().take(bad, &mut Vec::new()), Err(Broken), "{bad:?}");
        }
    }

    #[test]
    fn events_have_kind_id_and_data() {
        let text = "retry: 3000\n\nevent: quote\nid: t.1\ndata: {\"a\":1}\n\n:\n\n\
                    event: message\ndata: [\ndata: 1]\n\nevent: half\nda";
        let mut found = Vec::new();
        let used = events(text.as_bytes(), |event| {
            found.push((event.kind.to_owned(), event.id.map(str::to_owned), event.data.clone()));
        });
        let quote = ("quote".to_owned(), Some("t.1".to_owned()), "{\"a\":1}".to_owned());
        assert_eq!(found, [quote, ("message".to_owned(), None, "[\n1]".to_owned())]);
        assert_eq!(&text[used..], "event: half\nda");
    }
}
