//! Foreign text, made safe for a log line and a terminal.

use std::borrow::Cow;

fn is_hidden(c: char) -> bool {
    c.is_control() || is_mark(c)
}

/// Whether a character acts on what stands around it instead of being seen: a mark of direction (text that runs
/// backwards reads as another), a line end of Unicode, a character without width.
#[must_use]
pub fn is_mark(c: char) -> bool {
    matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with its hidden characters written as escapes, `\u{202e}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Returns the beginning of a text as one line without hidden characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_other_text_is_seen_or_gone() {
        let text = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{feff}\u{1b}[31m\n\u{2028}f";
        assert_eq!(visible(text), r"a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{feff}\u{1b}[31m\n\u{2028}f");
        assert_eq!(one_line(text), "a b c d e [31m f");
        assert!(matches!(visible("Grüße, мир, 世界 ₿"), Cow::Borrowed(_)));
    }
}
