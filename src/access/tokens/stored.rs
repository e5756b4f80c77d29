//! The text of revocations in their file: a line of JSON for each token and user. The last line of one counts, so that
//! a change is appended.

use super::revocations::{Full, Revocation, Revocations};
use crate::model::{UserId, Wall};
use serde::{Deserialize, Serialize};

/// The first line.
pub const HEAD: &str = "btc-cluster revocations 1\n";

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line<'a> {
    Token { jti: std::borrow::Cow<'a, str>, until: Option<Wall> },
    User { user: UserId, issued_before: Wall, until: Option<Wall> },
}

/// What a file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub all: Revocations,
    /// Lines that cannot be read.
    pub bad: usize,
}

impl Revocations {
    /// The lines, without the first one of the file.
    #[must_use]
    pub fn lines(&self) -> String {
        let tokens = self.tokens().map(|(jti, until)| Line::Token { jti: jti.into(), until });
        let users = self.users().map(|(user, issued_before, until)| {
            let user = user.clone();
            Line::User { user, issued_before, until }
        });
        let mut text = String::new();
        for line in tokens.chain(users).filter_map(|line| serde_json::to_string(&line).ok()) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is none of this form, or has too many.
    pub fn read(text: &[u8]) -> Result<Read, String> {
        let Some(lines) = text.strip_prefix(HEAD.as_bytes()) else {
            return Err("it is no list of revocations of this version".to_owned());
        };
        let mut read = Read::default();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => read.take(line).map_err(|Full| "it has too many revocations".to_owned())?,
                Err(_) => read.bad += 1,
            }
        }
        Ok(read)
    }
}

impl Read {
    /// Takes a line. Within a file, too, nothing is forgotten for another one.
    fn take(&mut self, line: Line<'_>) -> Result<(), Full> {
        let (one, until) = match line {
            Line::Token { jti, until } => (Revocation::Token(jti.into()), until),
            Line::User { user, issued_before, until } => (Revocation::User(user, issued_before), until),
        };
        self.all.add(one.clone(), until)?;
        self.all.put(Revocations::of(one, until));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_line_counts_and_a_torn_one_is_left_out() {
        let text = format!(
            "{HEAD}{}\n{}\n{}\n{}",
            r#"{"jti":"a \"quoted\"","until":null}"#,
            r#"{"user":"ann","issued_before":1000,"until":null}"#,
            r#"{"jti":"a \"quoted\"","until":5000}"#,
            r#"{"jti":"torn","unt"#
        );
        let read = Revocations::read(text.as_bytes()).unwrap();
        assert_eq!((read.all.len(), read.bad), (2, 1));
        assert_eq!(read.all.tokens().collect::<Vec<_>>(), [("a \"quoted\"", Some(Wall(5000)))]);
        assert_eq!(read.all.users().next().unwrap().1, Wall(1000));
        for bad in ["", "{}", "btc-cluster revocations 2\n", r#"{"jti":"a","until":null}"#] {
            assert!(Revocations::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let strange = format!("{HEAD}{}\n[1]\n\u{fffd}\n", r#"{"jti":"a","until":null,"more":1}"#);
        assert_eq!(Revocations::read(strange.as_bytes()).unwrap().bad, 3);
        assert_eq!(Revocations::read(HEAD.as_bytes()), Ok(Read::default()));
    }

    proptest! {
        #[test]
        fn a_file_reads_as_it_was_written(
            tokens in proptest::collection::btree_map("\\PC{1,9}", proptest::option::of(0..99i64), 0..9),
            users in proptest::collection::btree_map("[a-z]{3,9}", (0..99i64, proptest::option::of(0..99i64)), 0..9),
        ) {
            let mut all = Revocations::default();
            for (id, until) in tokens {
                all.add(Revocation::Token(id.into()), until.map(Wall)).unwrap();
            }
            for (user, (before, until)) in users {
                all.add(Revocation::User(UserId::new(&user).unwrap(), Wall(before)), until.map(Wall)).unwrap();
            }
            let text = format!("{HEAD}{}", all.lines());
            prop_assert_eq!(Revocations::read(text.as_bytes()), Ok(Read { all, bad: 0 }));
        }
    }
}
