//! The close codes of RFC 6455, section 7.4.1, and of IANA's registry that this server sends.

pub const PROTOCOL: u16 = 1002;
/// A text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A violation of this server's rules.
pub const POLICY: u16 = 1008;
/// A message over the limit.
pub const TOO_BIG: u16 = 1009;

/// Whether a close frame may carry this code: 1004 to 1006 and 1015 are reserved for local use, 1016 to 2999 are
/// unassigned, 3000 to 4999 belong to libraries and applications.
#[must_use]
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
