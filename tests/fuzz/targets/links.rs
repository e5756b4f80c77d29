//! Links: their framing, and what each side of each of them says.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use super::{Batch, Input};
use crate::protocol::cluster::{RosterPage, ToMaster, ToWorker};
use crate::protocol::feeder::{FromFeeder, ToFeeder};
use crate::protocol::keeper::{FromKeeper, ToKeeper};

/// What was read can be written, and is read the same.
macro_rules! words {
    ($message:ty, $body:expr) => {
        if let Ok(message) = postcard::from_bytes::<$message>($body) {
            let bytes = postcard::to_allocvec(&message).expect("what was read can be written");
            let again = postcard::from_bytes::<$message>(&bytes).expect("what was written can be read");
            assert_eq!(postcard::to_allocvec(&again).as_ref(), Ok(&bytes), "{message:?}");
        }
    };
}

/// The first byte says whose words the rest is: all of it as one message, and as a stream. How a stream is cut changes
/// nothing.
pub fn link(data: &[u8]) {
    let Some((whose, rest)) = data.split_first() else { return };
    match whose % 7 {
        0 => words!(ToMaster<'_>, rest),
        1 => words!(ToWorker<'_>, rest),
        2 => words!(FromFeeder, rest),
        3 => words!(ToFeeder<'_>, rest),
        4 => words!(FromKeeper, rest),
        5 => words!(ToKeeper<'_>, rest),
        _ => words!(RosterPage<'_>, rest),
    }
    let (at_once, is_refused) = stream(rest, rest.len());
    for step in [1, usize::from(*whose) + 2] {
        let (read, refused) = stream(rest, step);
        assert_eq!(refused, is_refused);
        // What came together with a broken head is not heard.
        assert!(if refused { read.starts_with(&at_once) } else { read == at_once }, "{read:?} {at_once:?}");
    }
}

/// The bodies of a stream's messages with the counts of their descriptors, and whether the stream is refused.
type Read = (Vec<(Vec<u8>, usize)>, bool);

fn stream(bytes: &[u8], step: usize) -> Read {
    let (mut input, mut read) = (Input::<u8>::default(), Vec::new());
    for part in bytes.chunks(step.max(1)) {
        input.push(part, None);
        let Ok(batch) = input.whole() else { return (read, true) };
        let Some(mut batch): Option<Batch<u8>> = batch else { continue };
        let bytes = batch.bytes.clone();
        while let Some((body, announced, set)) = batch.step() {
            assert!(set.is_empty());
            read.push((bytes[body].to_vec(), announced));
        }
    }
    (read, false)
}
