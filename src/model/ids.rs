//! Identifiers. Each has one alphabet and one length, checked on input, so that other rooms never see invalid ones.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Why a text is no valid identifier. The text of this error may be sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    Empty,
    /// More characters than the limit.
    TooLong(usize),
    /// A character outside the alphabet.
    Character,
    /// A symbol that is not `BASE-QUOTE`.
    Symbol,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong(most) => write!(f, "must have at most {most} characters"),
            Self::Character => f.write_str("may only have the characters A-Z a-z 0-9 . _ ~ : @ -"),
            Self::Symbol => {
                f.write_str("must be BASE-QUOTE in capital letters and digits, BTC-USD for instance")
            }
        }
    }
}

impl std::error::Error for IdError {}

fn check(text: &str, most: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    // All allowed characters have one byte: in a valid identifier bytes and characters are the same.
    if text.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"._~:@-".contains(&b))) {
        return Err(IdError::Character);
    }
    if text.len() > most { Err(IdError::TooLong(most)) } else { Ok(()) }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Box<str>", into = "Box<str>")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// Says which rule it breaks.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> Result<(), IdError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<Box<str>> for $name {
            type Error = IdError;
            fn try_from(text: Box<str>) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for Box<str> {
            fn from(id: $name) -> Self {
                id.as_str().into()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The owner of a session: 1 to 128 characters of `A-Z a-z 0-9 . _ ~ : @ -`.
    UserId,
    |text| check(text, 128)
);
text_id!(
    /// The client's name for its device: 1 to 64 characters of a [`UserId`]'s alphabet.
    Device,
    |text| check(text, 64)
);
text_id!(
    /// Name of what is priced: `BASE-QUOTE`, for instance `BTC-USD`; each part has 2 to 10 capital letters and digits.
    Symbol,
    symbol
);

fn symbol(text: &str) -> Result<(), IdError> {
    let part = |p: &str| {
        (2..=10).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    match text.split_once('-') {
        Some((base, quote)) if part(base) && part(quote) => Ok(()),
        _ => Err(IdError::Symbol),
    }
}

/// Beginning of the ids of clients that show no token where tokens are asked for.
const ANONYMOUS: &str = "anonymous:";

impl UserId {
    /// The id of all clients of an address that show no token where tokens are asked for.
    #[must_use]
    pub fn anonymous(address: IpAddr) -> Self {
        Self(format!("{ANONYMOUS}{address}").into())
    }

    /// The id of all clients of an address that name no user.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self(address.to_string().into())
    }

    /// Whether only clients without a token have such ids: no token may be for one.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with(ANONYMOUS)
    }

    /// Whether the id is that of an address: several people may have it, and nobody has chosen to be shown by it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_anonymous() || self.0.parse::<IpAddr>().is_ok()
    }
}

impl Symbol {
    /// The part before the hyphen.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.split_once('-').map_or("", |(base, _)| base)
    }

    /// The part after the hyphen.
    #[must_use]
    pub fn quote(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, quote)| quote)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(
            /// The UUID as a number.
            pub u128,
        );

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Uuid::from_u128(self.0).hyphenated().fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A session of a user, `UUIDv7`.
    SessionId
);
uuid_id!(
    /// An accepted order to deliver, `UUIDv7`.
    RequestId
);

impl SessionId {
    /// A new identifier from time and chance (RFC 9562, section 5.7).
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::now_v7().as_u128())
    }

    /// Reads the usual form with hyphens; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(|uuid| Self(uuid.as_u128()))
    }
}

impl RequestId {
    /// A new identifier for that moment, in milliseconds since 1970. It need not be unguessable, and many are made: its
    /// random part does not come from the kernel.
    #[must_use]
    pub fn at(millis: u64) -> Self {
        let chance = fastrand::u128(..).to_le_bytes();
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&chance[..10]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_addresses_are_told_from_names() {
        for address in ["203.0.113.7", "2001:db8::", "::"] {
            let address: IpAddr = address.parse().unwrap();
            let (anonymous, open) = (UserId::anonymous(address), UserId::of_address(address));
            assert!(anonymous.is_anonymous() && anonymous.is_shared());
            assert!(!open.is_anonymous() && open.is_shared());
            for id in [anonymous, open] {
                assert_eq!(UserId::new(id.as_str()), Ok(id), "in the alphabet");
            }
        }
        for name in ["ann", "anonymous", "Anonymous:1", "1.2.3", "a:b", "203.0.113.7:80"] {
            let name = UserId::new(name).unwrap();
            assert!(!name.is_anonymous() && !name.is_shared(), "{name}");
        }
        assert!(UserId::new("anonymous:ann").unwrap().is_anonymous());
    }

    #[test]
    fn a_user_id_has_one_alphabet_and_one_length() {
        for good in ["a", "A-z_0.9~:@", &"x".repeat(128)] {
            assert!(UserId::new(good).is_ok(), "{good}");
        }
        assert_eq!(UserId::new(""), Err(IdError::Empty));
        assert_eq!(UserId::new(&"x".repeat(129)), Err(IdError::TooLong(128)));
        for bad in ["a b", "a*", "ä", "a\0", "a\r\n", "a/b", "аdmin", ">"] {
            assert_eq!(UserId::new(bad), Err(IdError::Character), "{bad:?}");
        }
    }

    #[test]
    fn a_symbol_is_base_and_quote() {
        let symbol = Symbol::new("BTC-USD").unwrap();
        assert_eq!((symbol.base(), symbol.quote()), ("BTC", "USD"));
        for bad in ["", "BTC", "btc-usd", "BTC-USD-X", "-USD", "BTC_USD", "BTC-", "B-USD"] {
            assert_eq!(Symbol::new(bad), Err(IdError::Symbol), "{bad}");
        }
    }

    #[test]
    fn a_session_id_reads_back() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        assert_eq!(SessionId::parse("nonsense"), None);
    }
}
