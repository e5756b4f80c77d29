//! Messages from clients on `/ws`, `btc-cluster.v1.json`.

use crate::model::words;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Deepest nesting of arrays and objects that is read.
const DEPTH: usize = 32;
/// Longest `id` of a client, in characters.
const ID: usize = 64;

words! {
    /// The `type` of a message from a client.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum ClientType {
        /// Subscribes to channels.
        Subscribe = "subscribe",
        Unsubscribe = "unsubscribe",
        /// Sends a message to all subscribers of a channel.
        Publish = "publish",
        /// Asks for the price.
        Quote = "quote",
        /// Asks for a `pong`.
        Ping = "ping",
        /// Asks for its data back.
        Echo = "echo",
        /// Brings a fresh token.
        Auth = "auth",
    }
}

words! {
    /// Why a message is answered with an `error`; the session stays.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum ErrorCode {
        /// Nested deeper than [`DEPTH`].
        TooDeep = "too-deep",
        InvalidJson = "invalid-json",
        /// JSON of another shape.
        InvalidMessage = "invalid-message",
        /// A `type` that does not exist.
        UnknownType = "unknown-type",
        /// A channel that does not exist.
        UnknownChannel = "unknown-channel",
        /// More than `limits.channels_per_session`.
        TooManyChannels = "too-many-channels",
        /// More rooms in the cluster than `chat.rooms`.
        TooManyRooms = "too-many-rooms",
        /// The session, or its token, may not do this.
        Forbidden = "forbidden",
        /// A symbol that is not one of `price.symbols`.
        UnknownSymbol = "unknown-symbol",
        /// No price may be served now.
        PriceUnavailable = "price-unavailable",
        /// The token that was brought is not valid, or none is needed here.
        TokenInvalid = "token-invalid",
        TokenExpired = "token-expired",
        TokenRevoked = "token-revoked",
        /// No key is there to check the token with.
        KeysUnavailable = "keys-unavailable",
    }
}

/// A message from a client. An `id` is JSON as it came, to be echoed.
#[derive(Debug)]
pub enum ClientMessage<'a> {
    /// Subscribes to all of these channels or to none.
    Subscribe { channels: Vec<Cow<'a, str>>, id: Option<&'a RawValue> },
    /// Ends the subscriptions to all of these channels or to none.
    Unsubscribe { channels: Vec<Cow<'a, str>>, id: Option<&'a RawValue> },
    /// Sends `data`, as it came, to all subscribers.
    Publish { channel: Cow<'a, str>, data: &'a RawValue, id: Option<&'a RawValue> },
    /// Asks for the price of a symbol, `None` for the default one.
    Quote { symbol: Option<Cow<'a, str>>, id: Option<&'a RawValue> },
    /// Asks for a `pong`.
    Ping { id: Option<&'a RawValue> },
    /// Brings a fresh token.
    Auth { token: Cow<'a, str>, id: Option<&'a RawValue> },
    /// Asks for `data` back, as it came.
    Echo { data: &'a RawValue, id: Option<&'a RawValue> },
}

/// Why a message is answered with an `error`; the session stays.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason, for a person.
    pub message: Cow<'static, str>,
    /// The `id` of the refused message, if it could be read.
    pub id: Option<&'a RawValue>,
}

impl<'a> Refusal<'a> {
    /// A refusal of the message with that id.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>, id: Option<&'a RawValue>) -> Self {
        Self { code, message: message.into(), id }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channels: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    symbol: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
}

/// Reads one message.
///
/// # Errors
/// The message must be answered with this refusal.
pub fn parse(text: &str) -> Result<ClientMessage<'_>, Refusal<'_>> {
    if too_deep(text.as_bytes()) {
        return Err(Refusal::new(ErrorCode::TooDeep, format!("nested deeper than {DEPTH}"), None));
    }
    let raw: Raw<'_> = serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() { ErrorCode::InvalidMessage } else { ErrorCode::InvalidJson };
        Refusal::new(code, error.to_string(), None)
    })?;
    // serde reads an array as a struct, too, its elements as the members in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Refusal::new(ErrorCode::InvalidMessage, "a message is an object", None));
    }
    let id = check_id(raw.id)?;
    let missing =
        |field: &str| Refusal::new(ErrorCode::InvalidMessage, format!("missing field `{field}`"), id);
    let Some(kind) = ClientType::ALL.iter().find(|kind| kind.as_str() == raw.kind) else {
        return Err(Refusal::new(ErrorCode::UnknownType, "no such type of message", id));
    };
    Ok(match kind {
        ClientType::Subscribe => {
            ClientMessage::Subscribe { channels: raw.channels.ok_or_else(|| missing("channels"))?, id }
        }
        ClientType::Unsubscribe => {
            ClientMessage::Unsubscribe { channels: raw.channels.ok_or_else(|| missing("channels"))?, id }
        }
        ClientType::Publish => ClientMessage::Publish {
            channel: raw.channel.ok_or_else(|| missing("channel"))?,
            data: raw.data.ok_or_else(|| missing("data"))?,
            id,
        },
        ClientType::Quote => ClientMessage::Quote { symbol: raw.symbol, id },
        ClientType::Ping => ClientMessage::Ping { id },
        ClientType::Auth => ClientMessage::Auth { token: raw.token.ok_or_else(|| missing("token"))?, id },
        ClientType::Echo => ClientMessage::Echo { data: raw.data.ok_or_else(|| missing("data"))?, id },
    })
}

/// The type of a message, if it names one that there is. For lines about messages.
#[must_use]
pub fn type_of(text: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let typed: Typed<'_> = serde_json::from_str(text).ok()?;
    ClientType::ALL.iter().map(|kind| kind.as_str()).find(|kind| *kind == typed.kind)
}

fn check_id(id: Option<&RawValue>) -> Result<Option<&RawValue>, Refusal<'_>> {
    let Some(id) = id else { return Ok(None) };
    let wrong = || {
        Refusal::new(ErrorCode::InvalidMessage, format!("`id` must be a number or a string up to {ID}"), None)
    };
    match id.get().as_bytes().first() {
        Some(b'"') => {
            let text: Cow<'_, str> = serde_json::from_str(id.get()).map_err(|_| wrong())?;
            if text.chars().count() > ID { Err(wrong()) } else { Ok(Some(id)) }
        }
        Some(b'-' | b'0'..=b'9') if id.get().len() <= ID => Ok(Some(id)),
        Some(b'n') => Ok(None),
        _ => Err(wrong()),
    }
}

/// Whether JSON text nests deeper than [`DEPTH`]. serde_json itself counts only what it builds.
#[must_use]
pub fn too_deep(text: &[u8]) -> bool {
    let (mut depth, mut string, mut escaped) = (0usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'[' | b'{' if !string => {
                depth += 1;
                if depth > DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> &'static str {
        parse(text).unwrap_err().code.as_str()
    }

    #[test]
    fn messages_are_read() {
        assert!(matches!(
            parse(r#"{"type":"subscribe","channels":["a","b"],"id":7,"unknown":[1]}"#),
            Ok(ClientMessage::Subscribe { channels, id: Some(_) }) if channels == ["a", "b"]
        ));
        assert!(matches!(parse(r#"{"type":"ping"}"#), Ok(ClientMessage::Ping { id: None })));
        assert!(matches!(parse(r#"{"type":"ping","id":null}"#), Ok(ClientMessage::Ping { id: None })));
        assert!(matches!(
            parse(r#"{"id":"x","type":"echo","data":{"a":[1.50]}}"#),
            Ok(ClientMessage::Echo { data, .. }) if data.get() == r#"{"a":[1.50]}"#
        ));
        assert!(matches!(parse(r#"{"type":"quote"}"#), Ok(ClientMessage::Quote { symbol: None, .. })));
    }

    #[test]
    fn each_fault_has_its_word() {
        for text in ["", "{", "nonsense", r#"{"type":"ping"} x"#, r#"{"type":"\ud800"}"#, "{\"type\":NaN}"] {
            assert_eq!(code(text), "invalid-json", "{text}");
        }
        for text in [
            "null",
            "[]",
            r#"["ping"]"#,
            "7",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"echo"}"#,
        ] {
            assert_eq!(code(text), "invalid-message", "{text}");
        }
        assert_eq!(code(r#"{"type":"subscribe","channels":"a"}"#), "invalid-message");
        assert_eq!(code(r#"{"type":"dance"}"#), "unknown-type");
        for id in ["[1]", "{}", "true", &format!("\"{}\"", "x".repeat(65)), &"1".repeat(65)] {
            assert_eq!(code(&format!(r#"{{"type":"ping","id":{id}}}"#)), "invalid-message", "{id}");
        }
        assert_eq!(
            code(&format!(r#"{{"type":"echo","data":{}1{}}}"#, "[".repeat(99), "]".repeat(99))),
            "too-deep"
        );
        assert!(parse(r#"{"type":"echo","data":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[["}"#).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
