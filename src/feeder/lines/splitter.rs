//! Assembles lines from pieces. Pure; holds no more of a line than will be sent.

/// Bytes held beyond the longest line, so that cutting never leaves half a character.
const SPARE: usize = 3;
/// Capacity kept after a long line.
const KEPT: usize = 64 << 10;

/// The line that is being assembled.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    held: Vec<u8>,
    /// Bytes of the line so far, including those not held.
    seen: usize,
    /// The line's beginning is missing: the line is dropped.
    lost: bool,
}

/// A complete line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SplitLine {
    pub(super) text: Box<str>,
    /// The position behind the line in its piece.
    pub(super) end: usize,
}

impl Splitter {
    /// A splitter that begins in the middle of a line.
    pub(super) fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// The lines that end in this piece, each cut to `longest` bytes.
    pub(super) fn push(&mut self, piece: &[u8], longest: usize) -> Vec<SplitLine> {
        let (mut lines, mut begin) = (Vec::new(), 0);
        for (at, _) in piece.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.hold(&piece[begin..at], longest);
            begin = at + 1;
            if let Some(text) = self.take(longest) {
                lines.push(SplitLine { text, end: begin });
            }
        }
        self.hold(&piece[begin..], longest);
        lines
    }

    /// The beginning of a line that will not be completed.
    pub(super) fn rest(&mut self, longest: usize) -> Option<Box<str>> {
        if self.seen == 0 {
            self.lost = false;
            return None;
        }
        self.take(longest)
    }

    fn hold(&mut self, bytes: &[u8], longest: usize) {
        self.seen += bytes.len();
        if !self.lost {
            let room = (longest + SPARE).saturating_sub(self.held.len());
            self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn take(&mut self, longest: usize) -> Option<Box<str>> {
        self.seen = 0;
        let text = (!std::mem::take(&mut self.lost))
            .then(|| Box::from(cut(&String::from_utf8_lossy(&self.held), longest)));
        self.held.clear();
        self.held.shrink_to(KEPT);
        text
    }
}

/// The beginning of a text: whole characters, at most `longest` bytes.
fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=text.len().min(longest)).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(lines: &[SplitLine]) -> Vec<&str> {
        lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn a_line_is_whole_with_its_end_and_says_where_that_is() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(b"ha", 100), []);
        let lines = splitter.push(b"lf\n\nraw \r\nrest", 100);
        assert_eq!(texts(&lines), ["half", "", "raw \r"]);
        assert_eq!(lines.iter().map(|line| line.end).collect::<Vec<_>>(), [3, 4, 10]);
        assert_eq!(splitter.rest(100).as_deref(), Some("rest"));
        assert_eq!(splitter.rest(100), None);
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut splitter = Splitter::default();
        let lines = splitter.push(b"a\xffb\xc3\n\xe2\x82\xac\n", 100);
        assert_eq!(texts(&lines), ["a\u{fffd}b\u{fffd}", "\u{20ac}"]);
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters_and_not_held() {
        let mut splitter = Splitter::default();
        for _ in 0..1000 {
            assert_eq!(splitter.push("\u{20ac}\u{20ac}".as_bytes(), 10), []);
        }
        assert!(splitter.held.len() <= 13, "{}", splitter.held.len());
        assert_eq!(texts(&splitter.push(b"\nnext\n", 10)), ["\u{20ac}".repeat(3).as_str(), "next"]);
        // Three bytes of the second character would be as long as their replacement.
        assert_eq!(texts(&splitter.push("\u{1f600}\u{1f600}\n".as_bytes(), 7)), ["\u{1f600}"]);
        // Replacements make the text longer.
        assert_eq!(texts(&splitter.push(b"\xff\xff\xff\xff\n", 10)), ["\u{fffd}".repeat(3)]);
    }

    #[test]
    fn a_line_without_a_beginning_is_not_said() {
        let mut splitter = Splitter::lost();
        assert_eq!(texts(&splitter.push(b"end\nwhole\n", 10)), ["whole"]);
        let mut splitter = Splitter::lost();
        assert_eq!(splitter.push(b"mid", 10), []);
        assert_eq!(splitter.rest(10), None);
        assert_eq!(texts(&splitter.push(b"whole\n", 10)), ["whole"]);
    }

    proptest! {
        #[test]
        fn it_is_the_same_in_any_pieces(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(1usize..20, 1..50),
            longest in 1usize..40,
        ) {
            let mut expected: Vec<String> = bytes
                .split(|byte| *byte == b'\n')
                .map(|line| cut(&String::from_utf8_lossy(line), longest).to_owned())
                .collect();
            let last = expected.pop().unwrap();
            let (mut splitter, mut found, mut rest) = (Splitter::default(), vec![], &bytes[..]);
            for cut in cuts.into_iter().cycle() {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                found.extend(splitter.push(piece, longest).into_iter().map(|line| line.text.into_string()));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(splitter.rest(longest).map(String::from).unwrap_or_default(), last);
        }
    }
}
