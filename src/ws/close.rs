//! A client's close frame.

use super::{Violation, code};

/// Reads the payload of a client's close frame: nothing, or a code and a reason (RFC 6455, section 5.5.1).
pub(super) fn read(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::CloseBody),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !code::may_be_sent(code) {
                return Err(Violation::CloseCode);
            }
            Ok(Some((code, str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?)))
        }
    }
}
