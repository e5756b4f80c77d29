//! Messages of the server, as far as this tool reads them, and the token of a comeback (`docs/sessions.md`).

use serde::Deserialize;
use serde_json::value::RawValue;

/// The type of a message, which always stands first; empty where that is none.
pub(crate) fn kind(json: &[u8]) -> &str {
    let rest = json.strip_prefix(br#"{"type":""#).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}

/// Whether messages of that type are numbered, so that they come again.
pub(crate) fn numbered(kind: &str) -> bool {
    matches!(kind, "quote" | "ack" | "pong" | "echo" | "error" | "message")
}

/// The members of `welcome`, `message`, `quote` and `close`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Said<'a> {
    pub(crate) worker: Option<Worker>,
    pub(crate) session_id: Option<uuid::Uuid>,
    pub(crate) resume: Option<&'a str>,
    #[serde(default)]
    pub(crate) resumed: bool,
    pub(crate) channel: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    pub(crate) request_id: Option<uuid::Uuid>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    /// Of a `system` message.
    pub(crate) event: Option<&'a str>,
    pub(crate) silence_ms: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Worker {
    pub(crate) pid: u32,
}

#[derive(Deserialize)]
struct Load {
    load: u32,
}

impl<'a> Said<'a> {
    pub(crate) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The number that this tool has given to a message.
    pub(crate) fn number(&self) -> Option<u32> {
        serde_json::from_str(self.data?.get()).ok().map(|Load { load }| load)
    }

    /// The number that this tool has given to a question.
    pub(crate) fn id(&self) -> Option<u32> {
        self.id?.get().parse().ok()
    }

    /// The code of a `close`.
    pub(crate) fn code(&self) -> Option<u16> {
        self.code?.get().parse().ok()
    }
}

/// An answer to a poll.
#[derive(Debug, Deserialize)]
pub(crate) struct Polled<'a> {
    pub(crate) cursor: &'a str,
    #[serde(borrow)]
    pub(crate) messages: Vec<&'a RawValue>,
}

/// The token with which a client resumes its session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    text: Option<String>,
    /// Over a WebSocket: what has been counted since the welcome.
    seen: Option<u32>,
}

impl Place {
    /// A `welcome` over a WebSocket.
    pub(crate) fn welcome(&mut self, token: Option<&str>) {
        *self = Self { text: token.map(str::to_owned), seen: Some(0) };
    }

    /// The last event's id, or a cursor: counted by the server.
    pub(crate) fn at(&mut self, id: &str) {
        *self = Self { text: Some(id.to_owned()), seen: None };
    }

    /// A numbered message.
    pub(crate) fn count(&mut self) {
        if let Some(seen) = &mut self.seen {
            *seen += 1;
        }
    }

    /// `None`: a new session.
    pub(crate) fn resume(&self) -> Option<String> {
        let text = self.text.as_ref()?;
        Some(self.seen.map_or_else(|| text.clone(), |seen| format!("{text}.{seen}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_understood() {
        let json = br#"{"type":"message","channel":"news","data":{"load":7},"time":"x"}"#;
        let said = Said::read(json).unwrap();
        assert_eq!((kind(json), said.channel, said.number()), ("message", Some("news"), Some(7)));
        let json =
            br#"{"type":"welcome","worker":{"id":1,"pid":5},"resume":"a-b","resumed":true,"price":null}"#;
        let said = Said::read(json).unwrap();
        assert_eq!((said.resume, said.resumed, said.worker.unwrap().pid), (Some("a-b"), true, 5));
        let said = Said::read(br#"{"type":"close","code":4006,"reason":"x"}"#).unwrap();
        assert_eq!((said.code(), said.number()), (Some(4006), None));
        assert_eq!(Said::read(br#"{"type":"error","code":"slug"}"#).unwrap().code(), None);
        assert_eq!((kind(b"PONG"), kind(b"")), ("", ""));
    }

    #[test]
    fn a_place_is_counted_over_a_websocket_and_told_elsewhere() {
        let mut place = Place::default();
        place.count();
        assert_eq!(place.resume(), None);
        place.welcome(Some("t"));
        place.count();
        place.count();
        assert_eq!(place.resume().as_deref(), Some("t.2"));
        place.at("u.9");
        place.count();
        assert_eq!(place.resume().as_deref(), Some("u.9"));
        place.welcome(None);
        assert_eq!(place.resume(), None);
    }
}
