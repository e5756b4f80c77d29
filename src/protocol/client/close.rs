//! Why a session ends: the WebSocket close code and its reason, one word for people, logs and metrics alike. What a
//! client should do about each is in `docs/interface.md`, "Close codes".

use crate::model::words;

words! {
    /// Why the server ends a session, or how a client did. The word is the reason in the close frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Close {
        /// 1000: the client closed, or is done.
        Done = "done",
        /// 1001: the daemon stops.
        Shutdown = "shutdown",
        /// 1001: the client goes away, for instance a page that is reloaded; it may come back.
        Leaving = "going-away",
        /// 1002: broken framing.
        Protocol = "protocol-error",
        /// 1003: binary on a text endpoint.
        Binary = "binary-not-accepted",
        /// 1006: the connection is gone without a close frame; never sent.
        Lost = "connection-lost",
        /// 1007: not UTF-8.
        Encoding = "invalid-utf8",
        /// 1008: too many fragments or control frames.
        Policy = "policy",
        /// 1009: larger than `ws.max_message`.
        TooBig = "message-too-big",
        /// 1011: a defect of the server.
        Internal = "internal-error",
        /// 1011: two workers died while the session was in use. It cannot be resumed.
        Suspect = "suspect-session",
        /// 1012: planned replacement of the worker.
        Restarting = "restarting",
        /// 1013: gave way to another session where there was no room for both.
        Full = "full",
        /// 4001: the token is not valid, or there is none.
        TokenInvalid = "token-invalid",
        /// 4001: the token was revoked.
        TokenRevoked = "token-revoked",
        /// 4002: the token is past its end. With a fresh one the client gets its session again.
        TokenExpired = "token-expired",
        /// 4003: a token of another user.
        Forbidden = "forbidden",
        /// 4005: another connection of the same client has taken the session over.
        Replaced = "replaced",
        /// 4006: by an administrator.
        Disconnected = "disconnected",
        /// 4006: the configuration no longer has the stream.
        StreamRemoved = "stream-removed",
        /// 4101: more than `limits.messages_per_session` or `limits.bytes_per_session`.
        MessageRate = "message-rate",
        /// 4102: does not read fast enough.
        Slow = "slow-consumer",
        /// 4200: an administrator wants the client to come back, with a fresh token.
        Reconnect = "reconnect",
        /// 4201: no sign of life within `heartbeat.timeout`.
        Silent = "heartbeat-timeout",
    }
}

impl Close {
    /// RFC 6455, section 7.4, and our own from 4000.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::Shutdown | Self::Leaving => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::Lost => 1006,
            Self::Encoding => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Internal | Self::Suspect => 1011,
            Self::Restarting => 1012,
            Self::Full => 1013,
            Self::TokenInvalid | Self::TokenRevoked => 4001,
            Self::TokenExpired => 4002,
            Self::Forbidden => 4003,
            Self::Replaced => 4005,
            Self::Disconnected | Self::StreamRemoved => 4006,
            Self::MessageRate => 4101,
            Self::Slow => 4102,
            Self::Reconnect => 4200,
            Self::Silent => 4201,
        }
    }

    /// The reason in the close frame.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        self.as_str()
    }

    /// Whether the session is kept without a connection: its client was cut off, has only gone away, or is elsewhere
    /// now and may not know it yet.
    #[must_use]
    pub fn leaves_open(self) -> bool {
        matches!(
            self,
            Self::Leaving
                | Self::Lost
                | Self::Restarting
                | Self::Full
                | Self::Internal
                | Self::TokenExpired
                | Self::Replaced
                | Self::MessageRate
                | Self::Slow
                | Self::Reconnect
                | Self::Silent
        )
    }

    /// Whether the client must not come back by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self.code(), 1000 | 1002 | 1003 | 1007..=1009 | 4000..=4099)
    }

    /// What stands for it between processes: the code, and 10,000 for each other close before it that has the same.
    #[must_use]
    pub fn number(self) -> u16 {
        let before = Self::ALL.iter().take_while(|close| **close != self);
        before.filter(|close| close.code() == self.code()).fold(self.code(), |number, _| number + 10_000)
    }

    /// The close of such a number; `Internal`, if there is none.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        Self::ALL.iter().copied().find(|close| close.number() == number).unwrap_or(Self::Internal)
    }

    /// The close for a violation that the frame layer found.
    #[must_use]
    pub fn from_violation(code: u16) -> Self {
        match code {
            1003 => Self::Binary,
            1007 => Self::Encoding,
            1008 => Self::Policy,
            1009 => Self::TooBig,
            _ => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_close_is_known_again_by_its_number() {
        for close in Close::ALL.iter().copied() {
            assert_eq!(Close::from_number(close.number()), close);
            assert_eq!(close.number() % 10_000, close.code());
        }
        assert_eq!(Close::from_number(4006), Close::Disconnected);
        assert_eq!(Close::from_number(9), Close::Internal);
    }
}
