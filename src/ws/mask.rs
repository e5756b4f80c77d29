//! Masking (RFC 6455, section 5.3).

/// Applies the key to bytes at the beginning of a payload, or at a multiple of four bytes behind it: elsewhere the key
/// must be turned first, see [`advanced`]. Works on eight bytes at a time, which compilers vectorise.
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The key for the payload behind its first `bytes` bytes.
pub(super) fn advanced(mut key: [u8; 4], bytes: usize) -> [u8; 4] {
    key.rotate_left(bytes % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_formula_of_the_rfc_wherever_it_is_cut(
            payload in prop::collection::vec(any::<u8>(), 0..200), key: [u8; 4], cut in 0usize..200,
        ) {
            let formula: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = payload.clone();
            let cut = cut.min(masked.len());
            apply(&mut masked[..cut], key);
            apply(&mut masked[cut..], advanced(key, cut));
            prop_assert_eq!(masked, formula);
        }
    }
}
