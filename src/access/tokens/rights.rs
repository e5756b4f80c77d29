//! What a token allows: `scope` and `channels`.

use super::refusal::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A right, by its word in `scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Quotes for the own sessions.
    Quote = 1,
    /// Quotes for anybody.
    QuoteAny = 2,
    /// Messages to anybody.
    MessageAny = 4,
    /// Publications to channels that take them from anyone.
    Publish = 8,
    /// Everything.
    Admin = 16,
}

impl Scope {
    /// The right of that word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "quote" => Some(Self::Quote),
            "quote:any" => Some(Self::QuoteAny),
            "message:any" => Some(Self::MessageAny),
            "publish" => Some(Self::Publish),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// The rights of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// [`Scope`]s, one bit each.
    scopes: u8,
    subscribe: Names,
    publish: Names,
}

/// Channels that a token narrows its bearer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Names {
    /// All that the configuration allows.
    All,
    /// These of them. A name that ends in `*` stands for all that begin so.
    These(Box<[Box<str>]>),
}

impl Rights {
    /// Reads both claims. Words of `scope` that mean nothing here are for other services.
    pub(super) fn read(scope: Option<&Value>, channels: Option<&Value>) -> Result<Self, Reason> {
        let words = match scope {
            None => "quote",
            Some(Value::String(words)) => words,
            Some(_) => return Err(Reason::Scope),
        };
        let scopes = words.split(' ').filter_map(Scope::named).fold(0, |all, scope| all | scope as u8);
        let names = |key: &str| match channels {
            None => Ok(Names::All),
            Some(Value::Object(lists)) => Names::read(lists.get(key)),
            Some(_) => Err(Reason::Channels),
        };
        Ok(Self { scopes, subscribe: names("subscribe")?, publish: names("publish")? })
    }

    /// Tells whether the token has that right, by itself or as an administrator's.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes & (scope as u8 | Scope::Admin as u8) != 0
    }

    /// Tells whether the token leaves its bearer that channel to hear.
    #[must_use]
    pub fn may_hear(&self, channel: &str) -> bool {
        self.subscribe.hold(channel)
    }

    /// Tells whether the token leaves its bearer that channel to publish to.
    #[must_use]
    pub fn may_publish_to(&self, channel: &str) -> bool {
        self.publish.hold(channel)
    }
}

impl Names {
    fn read(list: Option<&Value>) -> Result<Self, Reason> {
        let Some(list) = list else { return Ok(Self::All) };
        let names = list.as_array().ok_or(Reason::Channels)?;
        let names = names.iter().map(|name| name.as_str().filter(|name| !name.is_empty()).map(Into::into));
        names.collect::<Option<_>>().map(Self::These).ok_or(Reason::Channels)
    }

    fn hold(&self, channel: &str) -> bool {
        match self {
            Self::All => true,
            // A mark elsewhere is a character: `price:*@1s` is a channel.
            Self::These(names) => names.iter().any(|name| match name.strip_suffix('*') {
                Some(beginning) => channel.starts_with(beginning),
                None => **name == *channel,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rights(scope: Value, channels: Value) -> Result<Rights, Reason> {
        Rights::read(Some(&scope).filter(|it| !it.is_null()), Some(&channels).filter(|it| !it.is_null()))
    }

    #[test]
    fn scopes_are_words_between_spaces() {
        let has = |scope: Value| {
            let rights = rights(scope, Value::Null).unwrap();
            [Scope::Quote, Scope::QuoteAny, Scope::MessageAny, Scope::Publish, Scope::Admin]
                .map(|scope| u8::from(rights.has(scope)))
        };
        assert_eq!(has(Value::Null), [1, 0, 0, 0, 0]);
        assert_eq!(has(json!("")), [0; 5]);
        assert_eq!(has(json!("openid profile")), [0; 5]);
        assert_eq!(has(json!("quote:any  publish")), [0, 1, 0, 1, 0]);
        assert_eq!(has(json!("message:any quote")), [1, 0, 1, 0, 0]);
        assert_eq!(has(json!("admin")), [1; 5]);
        // Words are whole, and as they are written.
        assert_eq!(has(json!("Admin quote:anybody\tadmin admin,quote")), [0; 5]);
        for wrong in [json!(["admin"]), json!(1), json!({}), json!(true)] {
            assert_eq!(rights(wrong, Value::Null), Err(Reason::Scope));
        }
    }

    #[test]
    fn channels_narrow_and_marks_stand_at_the_end() {
        let narrowed = rights(
            Value::Null,
            json!({ "subscribe": ["price:*", "chat:lobby", "ticker:BTC-USD@*", "a*b"], "publish": [] }),
        )
        .unwrap();
        for good in ["price:BTC-USD", "price:", "price:*@1s", "chat:lobby", "ticker:BTC-USD@1s", "a*b"] {
            assert!(narrowed.may_hear(good), "{good}");
        }
        for bad in ["xprice:a", "chat:lobby2", "chat:", "stats", "", "ticker:BTC-USD", "axb", "a*bc"] {
            assert!(!narrowed.may_hear(bad), "{bad}");
        }
        assert!(!narrowed.may_publish_to("chat:lobby"));
        let other = rights(Value::Null, json!({ "publish": ["news"] })).unwrap();
        assert!(
            other.may_hear("anything") && other.may_publish_to("news") && !other.may_publish_to("chat:a")
        );
        assert!(rights(Value::Null, json!({ "subscribe": ["*"] })).unwrap().may_hear("stats"));
        for wrong in [
            json!([]),
            json!("price:*"),
            json!({ "subscribe": "price:*" }),
            json!({ "publish": [1] }),
            json!({ "publish": [""] }),
            json!({ "subscribe": null }),
        ] {
            assert_eq!(rights(Value::Null, wrong), Err(Reason::Channels));
        }
    }
}
