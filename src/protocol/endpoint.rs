//! Where a session is, and how its bytes travel.

use serde::{Deserialize, Serialize};

/// The channel that all sessions on `/broadcast` are on.
pub const BROADCAST: &str = "/broadcast";

/// The kinds of endpoint that sessions can be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `/ws`: quotes reach it.
    Ws,
    /// `/echo`: every message back.
    Echo,
    /// `/command`: answers in plain text.
    Command,
    /// `/chat`: every message to everybody.
    Chat,
    /// `/broadcast`: every message to all others.
    Broadcast,
    /// `/{stream}`: one state channel, pushed.
    Stream,
}

impl Endpoint {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Ws, Self::Echo, Self::Command, Self::Chat, Self::Broadcast, Self::Stream];

    /// Whether quotes for its user reach a session there.
    #[must_use]
    pub fn reached(self) -> bool {
        self == Self::Ws
    }

    /// Its name, as in the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Echo => "echo",
            Self::Command => "command",
            Self::Chat => "chat",
            Self::Broadcast => "broadcast",
            Self::Stream => "stream",
        }
    }
}

/// How a session's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// RFC 6455.
    Websocket,
    /// Server-Sent Events.
    Sse,
    /// Long polling.
    Poll,
}

impl Transport {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Websocket, Self::Sse, Self::Poll];

    /// Its name in the statistics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}
