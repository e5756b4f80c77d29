//! Server-Sent Events (the WHATWG HTML standard, section 9.2) out of a chunked body (RFC 9112, section 7.1).

/// Takes a chunked body apart as it comes.
#[derive(Debug, Default)]
pub struct Chunks(At);

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the digits of a chunk's length.
    Length(usize),
    /// After these digits.
    Extension(usize),
    /// In a chunk, before its last so many bytes.
    Data(usize),
    /// Between a chunk and its line end.
    Behind,
    /// After the last chunk.
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Length(0)
    }
}

/// The bytes are no chunked body.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl Chunks {
    /// Appends the body's part of `bytes` to `out`; `true`: the body is complete.
    ///
    /// # Errors
    /// The bytes are no chunked body.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, Broken> {
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

/// Lines up to an empty line: an event if there is data, else a comment or a setting.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block<'a> {
    /// The event's type.
    pub event: Option<&'a str>,
    /// The event's id.
    pub id: Option<&'a str>,
    /// Lines of `data:`, joined by line ends.
    pub data: Option<String>,
    /// Milliseconds, as they came.
    pub retry: Option<&'a str>,
    /// Whether a comment is among the lines.
    pub comment: bool,
    /// A field that the standard does not know.
    pub unknown: Option<&'a str>,
}

/// Parses the first block and returns its size, too; `None`: it is not whole yet.
#[must_use]
pub fn block(bytes: &[u8]) -> Option<(Block<'_>, usize)> {
    let len = bytes.windows(2).position(|two| two == b"\n\n")?;
    let mut block = Block::default();
    match std::str::from_utf8(&bytes[..len]) {
        Ok(text) => text.lines().filter(|line| !line.is_empty()).for_each(|line| block.line(line)),
        Err(_) => block.unknown = Some("bytes that are no UTF-8"),
    }
    Some((block, len + 2))
}

impl<'a> Block<'a> {
    fn line(&mut self, line: &'a str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comment = true,
            "event" => self.event = Some(value),
            "id" => self.id = Some(value),
            "retry" => self.retry = Some(value),
            "data" => match &mut self.data {
                Some(data) => data.extend(["\n", value]),
                None => self.data = Some(value.to_owned()),
            },
            _ => self.unknown = Some(field),
        }
    }
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
    fn blocks_are_taken_one_after_another() {
        let text = "retry: 3000\n\nevent: quote\nid: t.1\ndata: {\"a\":1}\n\n:\n\n\
                    event: message\ndata: [\ndata: 1]\n\nstrange: x\n\nevent: half\nda";
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some((block, size)) = block(&text.as_bytes()[at..]) {
            found.push(block);
            at += size;
        }
        let none = Block::default;
        let quote =
            Block { event: Some("quote"), id: Some("t.1"), data: Some("{\"a\":1}".to_owned()), ..none() };
        let message = Block { event: Some("message"), data: Some("[\n1]".to_owned()), ..none() };
        let others = [
            Block { retry: Some("3000"), ..none() },
            Block { comment: true, ..none() },
            Block { unknown: Some("strange"), ..none() },
        ];
        let [retry, comment, unknown] = others;
        assert_eq!(found, [retry, quote, comment, message, unknown]);
        assert_eq!(&text[at..], "event: half\nda");
        assert!(block(b"data: \xff\n\n").unwrap().0.unknown.is_some());
    }
}
