//! Resume tokens: a client comes back with the `TOKEN` of its last welcome, or with `TOKEN.N`, where N is the number of
//! the last message that it has. A token says where the session is and proves that the client owns it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A token and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The process that holds the session.
    pub home: u32,
    /// The place of the session in that process's table.
    pub place: u32,
    /// 128 random bits.
    pub secret: u128,
    /// The number of the last message that the client has, if the client counts.
    pub seen: Option<u32>,
}

impl Resume {
    /// Reads a token; `None` if the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (token, seen) = match text.split_once('.') {
            Some((token, seen)) => (token, Some(digits(seen, 10, 10)?)),
            None => (text, None),
        };
        let mut parts = token.split('-');
        let (home, place, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let sane = parts.next().is_none() && secret.len() == 32 && !secret.starts_with('+');
        let secret = Some(secret).filter(|_| sane).and_then(|hex| u128::from_str_radix(hex, 16).ok())?;
        Some(Self { home: digits(home, 16, 8)?, place: digits(place, 16, 8)?, secret, seen })
    }
}

fn digits(text: &str, radix: u32, most: usize) -> Option<u32> {
    let plain = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if plain { u32::from_str_radix(text, radix).ok() } else { None }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:032x}", self.home, self.place, self.secret)?;
        self.seen.map_or(Ok(()), |seen| write!(f, ".{seen}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nonsense_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "a",
            "1-2",
            &format!("1-2-{}", &zeros[1..]),
            &format!("1-2-{zeros}-3"),
            &format!("1-2-{zeros}."),
            &format!("1-2-{zeros}.x"),
            &format!("1-2-{zeros}.1.2"),
            &format!("1-2-{zeros}.99999999999"),
            &format!("+1-2-{zeros}"),
            &format!("1-2-+{}", &zeros[1..]),
            &format!("1-123456789-{zeros}"),
        ] {
            assert_eq!(Resume::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_it_writes(home: u32, place: u32, secret: u128, seen: Option<u32>) {
            let resume = Resume { home, place, secret, seen };
            prop_assert_eq!(Resume::parse(&resume.to_string()), Some(resume));
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = Resume::parse(&text);
        }
    }
}
