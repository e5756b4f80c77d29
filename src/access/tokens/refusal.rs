//! Why a token is refused: the slug for its bearer, the reason for the log. Neither holds a part of the token.

use crate::model::words;

/// Why a request with a token, or without one, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token.
    Missing,
    /// A token that is broken, or not signed by a key of ours.
    Invalid(Reason),
    /// A token of ours past its end.
    Expired,
    /// A token of ours that was revoked.
    Revoked,
    /// Another user's id, or a right that the token does not give.
    Forbidden,
    /// Nothing to check the token with: whether it is good is unknown.
    KeysUnavailable,
    /// A route that this port does not have in open mode.
    NotHere,
}

impl Refusal {
    /// HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Invalid(_) | Self::Expired | Self::Revoked => 401,
            Self::Forbidden => 403,
            Self::NotHere => 404,
            Self::KeysUnavailable => 503,
        }
    }

    /// Word of the problem, the log event and the metric label.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Missing => "token-missing",
            Self::Invalid(_) => "token-invalid",
            Self::Expired => "token-expired",
            Self::Revoked => "token-revoked",
            Self::Forbidden => "forbidden",
            Self::KeysUnavailable => "keys-unavailable",
            Self::NotHere => "not-found",
        }
    }

    /// What is the matter, for the log.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Invalid(reason) => reason.as_str(),
            other => other.slug(),
        }
    }

    /// Close code of a session that ends for this reason.
    #[must_use]
    pub fn close(self) -> u16 {
        match self {
            Self::Missing | Self::Invalid(_) | Self::Revoked => 4001,
            Self::Expired => 4002,
            Self::Forbidden | Self::NotHere => 4003,
            // The client comes back, and may find the keys.
            Self::KeysUnavailable => 1013,
        }
    }

    /// Tells whether newly fetched keys may make the token good.
    #[must_use]
    pub fn wants_keys(self) -> bool {
        self == Self::Invalid(Reason::UnknownKey)
    }
}

words! {
    /// What is wrong with a token that is not valid, for the log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Reason {
        /// More than 4 KiB; it was not read.
        TooLong = "too-long",
        /// Two different tokens in one request.
        Several = "several",
        /// Not three parts.
        Shape = "shape",
        /// A part is not base64url without padding (RFC 7515, section 2).
        Encoding = "encoding",
        /// The header is no JSON object.
        Header = "header",
        /// A key stands twice in the header or the claims.
        DoubledKey = "doubled-key",
        /// `alg` is none of the four, or no text.
        Algorithm = "algorithm",
        /// `crit` is there, or what it would name: no extension is known.
        Critical = "critical",
        /// `typ` says that this token is for another use.
        Type = "type",
        /// `kid` is no text of 1 to 256 bytes.
        KeyId = "key-id",
        /// There is no key for this algorithm, and none is to be fetched.
        NoKey = "no-key",
        /// No key has this id: the endpoint may have a newer one.
        UnknownKey = "unknown-key",
        /// No `kid`, and too many keys to try them all.
        UnnamedKey = "unnamed-key",
        /// The signature is not that of our key.
        Signature = "signature",
        /// The claims are no JSON object.
        Claims = "claims",
        /// `sub` is missing, no text, or not a user id.
        Subject = "subject",
        /// `exp` is missing, or no number of seconds.
        Expiry = "expiry",
        /// `nbf` or `iat` is no number of seconds.
        Time = "time",
        /// `nbf` is in the future.
        NotYet = "not-yet",
        /// `aud` does not name this service, or is missing where it must.
        Audience = "audience",
        /// `iss` is not the one that is asked for.
        Issuer = "issuer",
        /// `jti` is no text of 1 to 256 bytes.
        TokenId = "token-id",
        /// `device` is not a device's name.
        Device = "device",
        /// `scope` is no text.
        Scope = "scope",
        /// `channels` is not of the shape that it must have.
        Channels = "channels",
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}
