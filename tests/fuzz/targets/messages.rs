//! What clients say over a session, and workers to each other.

use crate::protocol::client::{ClientMessage, Resume, parse, too_deep};
use crate::protocol::peer::Peer;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A text message of a client. What is given back to it is JSON of its own message.
pub fn client(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(resume) = Resume::parse(text) {
        assert_eq!(Resume::parse(&resume.to_string()), Some(resume));
    }
    let message = match parse(text) {
        Ok(message) => message,
        Err(refusal) => return refusal.id.into_iter().for_each(|id| id_is_plain(text, id)),
    };
    assert!(!too_deep(data), "{text}");
    let (id, data) = match message {
        ClientMessage::Publish { data, id, .. } | ClientMessage::Echo { data, id } => (id, Some(data)),
        ClientMessage::Subscribe { id, .. }
        | ClientMessage::Unsubscribe { id, .. }
        | ClientMessage::Quote { id, .. }
        | ClientMessage::Ping { id }
        | ClientMessage::Auth { id, .. } => (id, None),
    };
    id.into_iter().for_each(|id| id_is_plain(text, id));
    if let Some(data) = data {
        assert!(text.contains(data.get()));
        serde_json::from_str::<IgnoredAny>(data.get()).expect("data is JSON");
    }
}

/// An id goes back to the client as it came: it must be one short value.
fn id_is_plain(text: &str, id: &RawValue) {
    assert!(text.contains(id.get()));
    serde_json::from_str::<IgnoredAny>(id.get()).expect("an id is JSON");
    // A number may be one that serde has no type for.
    let text = id.get().starts_with('"').then(|| serde_json::from_str::<String>(id.get()));
    assert!(text.is_none_or(|text| text.expect("a text").chars().count() <= 64), "{id}");
    assert!(!id.get().starts_with(['[', '{', 't', 'f']), "{id}");
}

/// A message of another worker.
pub fn peer(data: &[u8]) {
    let Ok(peer) = Peer::decode(data) else { return };
    let _ = (peer.wanted(), peer.notice());
    let bytes = peer.encode().expect("what was read can be written");
    assert_eq!(Peer::decode(&bytes), Ok(peer.clone()));
    if let Some(shorter) = peer.shortened() {
        assert_eq!(shorter.shortened(), None);
        assert!(shorter.encode().expect("it is short").len() < 64);
    }
}
