//! The header of the PROXY protocol.

use super::{COUNTED, FIXED, LINE, Passed, Progress, progress};

/// A connection that begins with these bytes, read as [`super::read`] reads it: never a byte more than is needed. What
/// is complete at one byte is not complete at an earlier one, and no address is one that nobody has.
pub fn proxy(data: &[u8]) {
    let (mut have, mut rounds) = (0, 0);
    let verdict = loop {
        rounds += 1;
        assert!(rounds < 400, "a header without an end");
        let n = match progress(&data[..have]) {
            Progress::Needs(n) => n,
            Progress::NeedsLine(most) => {
                assert!(have + most <= LINE);
                let ahead = &data[have..data.len().min(have + most)];
                ahead.iter().position(|byte| *byte == b'\n').map_or(ahead.len(), |end| end + 1)
            }
            end => break end,
        };
        assert!(n <= FIXED + COUNTED);
        // The connection has ended, or says nothing more for now.
        if n == 0 || have + n > data.len() {
            return;
        }
        have += n;
    };
    if let Progress::Complete(Passed::For(client)) = verdict {
        let address = client.ip();
        assert!(!address.is_unspecified() && !address.is_multicast());
        assert_eq!(address, address.to_canonical());
    }
}
