//! What tokens and keys are written in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest `kid` and `jti`, in bytes.
pub(super) const MOST_ID: usize = 256;

/// Decodes base64url without padding, and without bits that say nothing (RFC 4648, sections 3.5 and 5).
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
