//! Resume tokens: a client comes back with the `TOKEN` of its last welcome, or with `TOKEN.N`, where N is the number of
//! the last message that it has. A token names a session and proves that the client owns it. It does not say where the
//! session is: the master knows that, also after the session has moved.

use crate::model::SessionId;
use crate::protocol::relay::TokenName;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of an id, and of a secret.
const HALF: usize = 16;
/// Letters of a token in base64url without padding.
const LETTERS: usize = 43;

/// What a client must know to have its session: 32 bytes, written as base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    pub session: SessionId,
    /// 128 random bits. Each welcome has others.
    pub secret: u128,
}

/// A token and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    pub token: Token,
    /// The number of the last message that the client has, if the client counts.
    pub seen: Option<u32>,
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        // The decoder wants room for whole groups.
        let mut bytes = [0; 2 * HALF + 4];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (session, secret) = bytes[..length].split_first_chunk::<HALF>()?;
        let secret = u128::from_be_bytes(secret.try_into().ok()?);
        Some(Self { session: SessionId(u128::from_be_bytes(*session)), secret })
    }

    /// The name under which the master knows where the token leads.
    #[must_use]
    pub fn name(&self) -> TokenName {
        TokenName::new(self.session, self.secret)
    }
}

impl Resume {
    /// Reads a token; `None` if the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (token, seen) = match text.split_once('.') {
            Some((token, seen)) => (token, Some(number(seen)?)),
            None => (text, None),
        };
        Some(Self { token: Token::parse(token)?, seen })
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut bytes, mut text) = ([0; 2 * HALF], [0; LETTERS]);
        bytes[..HALF].copy_from_slice(&self.session.0.to_be_bytes());
        bytes[HALF..].copy_from_slice(&self.secret.to_be_bytes());
        URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.token.fmt(f)?;
        self.seen.map_or(Ok(()), |seen| write!(f, ".{seen}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nonsense_is_none() {
        let zeros = "A".repeat(LETTERS);
        assert!(Resume::parse(&zeros).is_some());
        for text in [
            "",
            "A",
            &zeros[1..],
            &format!("{zeros}A"),
            &format!("{zeros}="),
            &format!("{}AB", &zeros[2..]),
            &format!("{} A", &zeros[2..]),
            &format!("{}+A", &zeros[2..]),
            &format!("{zeros}."),
            &format!("{zeros}.x"),
            &format!("{zeros}.+1"),
            &format!("{zeros}.1.2"),
            &format!("{zeros}.99999999999"),
            &format!("{zeros}.4294967296"),
            "1-2-00000000000000000000000000000000",
        ] {
            assert_eq!(Resume::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_it_writes(session: u128, secret: u128, seen: Option<u32>) {
            let resume = Resume { token: Token { session: SessionId(session), secret }, seen };
            let text = resume.to_string();
            prop_assert_eq!(text.split('.').next().map(str::len), Some(LETTERS));
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "no URL changes it");
            prop_assert_eq!(Resume::parse(&text), Some(resume));
        }

        #[test]
        fn each_token_has_one_text(text in "[A-Za-z0-9_-]{43}") {
            prop_assert!(Resume::parse(&text).is_none_or(|resume| resume.to_string() == text));
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = Resume::parse(&text);
        }
    }
}
