//! Faults of a client on the wire.

use super::code;
use std::fmt;

/// Why a connection must be failed (RFC 6455, section 7.1.7). Each violation has a close code and a short reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// RSV1 to RSV3 without an extension that gives them a meaning (section 5.2).
    ReservedBits,
    /// Opcodes 3 to 7 and 11 to 15 (section 5.2).
    ReservedOpcode,
    /// A frame without a mask: a client must mask (section 5.1).
    Unmasked,
    /// A control frame without FIN (section 5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (section 5.5).
    LongControl,
    /// A length in more bytes than needed, or with its highest bit set (section 5.2).
    Length,
    /// A continuation without a message (section 5.4).
    NothingToContinue,
    /// A new message inside another one (section 5.4).
    Interleaved,
    /// A close frame of one byte (section 5.5.1).
    CloseBody,
    /// A close code that may not be sent (section 7.4).
    CloseCode,
    /// A text or a close reason that is not UTF-8 (section 8.1).
    NotUtf8,
    /// More fragments than a message of the allowed size needs.
    TooManyFragments,
    /// A message over the limit; detected at the header that claims it (section 10.4).
    TooBig,
}

impl Violation {
    /// The close code (section 7.4.1).
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::NotUtf8 => code::INVALID_PAYLOAD,
            Self::TooManyFragments => code::POLICY,
            Self::TooBig => code::TOO_BIG,
            _ => code::PROTOCOL,
        }
    }

    /// A short reason for the close frame.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved bits set",
            Self::ReservedOpcode => "reserved opcode",
            Self::Unmasked => "frame not masked",
            Self::FragmentedControl => "fragmented control frame",
            Self::LongControl => "control frame over 125 bytes",
            Self::Length => "malformed payload length",
            Self::NothingToContinue => "nothing to continue",
            Self::Interleaved => "message inside a message",
            Self::CloseBody => "close frame of one byte",
            Self::CloseCode => "close code not allowed",
            Self::NotUtf8 => "invalid UTF-8",
            Self::TooManyFragments => "too many fragments",
            Self::TooBig => "message too big",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Violation {}
