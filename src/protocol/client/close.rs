//! Why a session ends: the WebSocket close code and its reason, one word for people, logs and metrics alike.

/// A close of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// 1000: the client closed, or is done.
    Done,
    /// 1001: the daemon stops.
    Shutdown,
    /// 1001: the client goes away, a page that is reloaded for instance; it may come back.
    Leaving,
    /// 1002: broken framing.
    Protocol,
    /// 1003: binary on a text endpoint.
    Binary,
    /// 1006: the connection is gone without a word; never sent.
    Lost,
    /// 1007: not UTF-8.
    Encoding,
    /// 1008: too many pieces or control frames.
    Policy,
    /// 1009: larger than `ws.max_message`.
    TooBig,
    /// 1011: our fault.
    Internal,
    /// 1012: planned replacement of the worker.
    Restarting,
    /// 4005: this session was taken over by another connection of its client.
    Replaced,
    /// 4006: by an administrator.
    Disconnected,
    /// 4006: the configuration has no stream of that name any more.
    StreamRemoved,
    /// 4101: more than `limits.messages_per_session`.
    MessageRate,
    /// 4102: does not read fast enough.
    Slow,
    /// 4201: no sign of life within `heartbeat.timeout`.
    Silent,
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
            Self::Internal => 1011,
            Self::Restarting => 1012,
            Self::Replaced => 4005,
            Self::Disconnected | Self::StreamRemoved => 4006,
            Self::MessageRate => 4101,
            Self::Slow => 4102,
            Self::Silent => 4201,
        }
    }

    /// The reason in the close frame.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Shutdown => "shutdown",
            Self::Leaving => "going-away",
            Self::Protocol => "protocol-error",
            Self::Binary => "binary-not-accepted",
            Self::Lost => "connection-lost",
            Self::Encoding => "invalid-utf8",
            Self::Policy => "policy",
            Self::TooBig => "message-too-big",
            Self::Internal => "internal-error",
            Self::Restarting => "restarting",
            Self::Replaced => "replaced",
            Self::Disconnected => "disconnected",
            Self::StreamRemoved => "stream-removed",
            Self::MessageRate => "message-rate",
            Self::Slow => "slow-consumer",
            Self::Silent => "heartbeat-timeout",
        }
    }

    /// Whether the session is kept without a connection: its client was cut, or has only gone away, or is elsewhere now
    /// and may not know it yet.
    #[must_use]
    pub fn leaves_open(self) -> bool {
        matches!(
            self,
            Self::Leaving
                | Self::Lost
                | Self::Restarting
                | Self::Internal
                | Self::Replaced
                | Self::MessageRate
                | Self::Slow
                | Self::Silent
        )
    }

    /// Whether its client is not to come back (INTERFACE, close codes).
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self.code(), 1000 | 1002 | 1003 | 1007..=1009 | 4000..=4099)
    }

    /// For a code that travelled between processes.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        match code {
            1000 => Self::Done,
            1001 => Self::Shutdown,
            1002 => Self::Protocol,
            1003 => Self::Binary,
            1007 => Self::Encoding,
            1008 => Self::Policy,
            1009 => Self::TooBig,
            1012 => Self::Restarting,
            4005 => Self::Replaced,
            4006 => Self::Disconnected,
            _ => Self::Internal,
        }
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
