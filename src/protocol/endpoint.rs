//! Endpoints and transports of sessions.

use crate::model::words;

/// The channel that all sessions on `/broadcast` are on.
pub const BROADCAST: &str = "/broadcast";

words! {
    /// The kinds of endpoint that sessions can be on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Endpoint {
        /// `/ws`: quotes reach it.
        Ws = "ws",
        /// `/echo`: every message back.
        Echo = "echo",
        /// `/command`: answers in plain text.
        Command = "command",
        /// `/chat`: every message to everybody.
        Chat = "chat",
        /// `/broadcast`: every message to all others.
        Broadcast = "broadcast",
        /// `/{stream}`: one state channel, pushed.
        Stream = "stream",
    }
}

impl Endpoint {
    /// Whether quotes for its user reach a session there.
    #[must_use]
    pub fn reached(self) -> bool {
        self == Self::Ws
    }
}

words! {
    /// The transport of a session's bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Transport {
        /// RFC 6455.
        Websocket = "websocket",
        /// Server-Sent Events.
        Sse = "sse",
        /// Long polling.
        Poll = "poll",
    }
}
