//! The header `Forwarded` (RFC 7239): what one proxy says, a parameter at a time.

/// Its name.
pub(super) const NAME: &str = "forwarded";

/// The value of a parameter of one element, as it was written. `None`: it is missing, or there are several.
///
/// Elements are told apart by commas, also those within quotes: no address and no host has one, and a quotation that a
/// client leaves open must not take in what the proxy appends.
pub(super) fn parameter<'e>(element: &'e [u8], name: &str) -> Option<&'e [u8]> {
    let value = |pair: &'e [u8]| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        key.trim_ascii_start().eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii_end())
    };
    let mut values = element.split(|byte| *byte == b';').filter_map(value);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}
