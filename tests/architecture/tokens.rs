//! Rust as words and signs, without comments and literals.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Word(&'a str),
    Sign(u8),
}

/// A word or a sign of the code, without comments and literals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) line: usize,
}

/// Cuts a source into tokens.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn tokens(text: &'a str) -> Vec<Token<'a>> {
        let mut lexer = Self { text, at: 0, line: 1 };
        let mut all = Vec::new();
        while let Some(kind) = lexer.next() {
            all.push(Token { kind, line: lexer.line });
        }
        all
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.text.len());
        self.line += self.text[self.at..end].matches('\n').count();
        self.at = end;
    }

    /// Skips up to and including `end`, or everything.
    fn skip_past(&mut self, end: &str) {
        let len = self.rest().find(end).map_or(self.rest().len(), |found| found + end.len());
        self.skip(len);
    }

    fn next(&mut self) -> Option<Kind<'a>> {
        loop {
            let rest = self.rest();
            let first = rest.chars().next()?;
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if rest.starts_with("//") {
                self.skip_past("\n");
            } else if rest.starts_with("/*") {
                self.comment();
            } else if first == '"' {
                self.skip(1);
                self.text_literal();
            } else if first == '\'' {
                self.quote();
            } else if first.is_alphanumeric() || first == '_' {
                if let Some(word) = self.word() {
                    return Some(Kind::Word(word));
                }
            } else {
                self.skip(first.len_utf8());
                return Some(Kind::Sign(u8::try_from(first).unwrap_or(b'?')));
            }
        }
    }

    /// A word, a number; or a literal that begins like one (`r#"..."#`, `b'x'`), which is none.
    fn word(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..len];
        self.skip(len);
        let raw = matches!(word, "r" | "br" | "cr");
        match self.rest().bytes().next() {
            Some(b'"') if matches!(word, "b" | "c") => {
                self.skip(1);
                self.text_literal();
                None
            }
            Some(b'\'') if word == "b" => {
                self.quote();
                None
            }
            Some(b'"' | b'#') if raw => {
                let hashes = self.rest().len() - self.rest().trim_start_matches('#').len();
                if self.rest()[hashes..].starts_with('"') {
                    self.skip(hashes + 1);
                    self.skip_past(&format!("\"{}", "#".repeat(hashes)));
                    return None;
                }
                // `r#type`: a word that looks like a keyword.
                self.skip(hashes);
                self.word()
            }
            _ => Some(word),
        }
    }

    fn text_literal(&mut self) {
        while let Some(found) = self.rest().find(['"', '\\']) {
            let escape = self.rest()[found..].starts_with('\\');
            let skipped = self.rest()[found + 1..].chars().next().map_or(0, char::len_utf8);
            self.skip(found + 1 + if escape { skipped } else { 0 });
            if !escape {
                return;
            }
        }
        self.skip_past("\0");
    }

    /// A character or a lifetime.
    fn quote(&mut self) {
        self.skip(1);
        let mut chars = self.rest().chars();
        match (chars.next(), chars.next()) {
            (Some('\\'), Some(escaped)) => {
                self.skip(1 + escaped.len_utf8());
                self.skip_past("'");
            }
            (Some(only), Some('\'')) => self.skip(only.len_utf8() + 1),
            // A lifetime's name is no path's: taken away with its quote.
            _ => _ = self.word(),
        }
    }

    fn comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return;
                }
            } else {
                let Some(first) = rest.chars().next() else { return };
                self.skip(first.len_utf8());
            }
        }
    }
}
