//! The journal that a master leaves to the next one.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use super::log::Memory;
use super::{Journal, State, replay};
use crate::fuzzing::Parts;
use std::io;

/// A journal in a vector.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (at, end) = (at as usize, at as usize + bytes.len());
        self.0.resize(self.0.len().max(end), 0);
        self.0[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, at: u64, count: u64) -> io::Result<Vec<u8>> {
        let end = at.checked_add(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        let part = self.0.get(at as usize..end as usize);
        part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn free(&mut self, _: u64, _: u64) {}

    fn cut(&mut self, len: u64) {
        self.0.truncate(len as usize);
    }
}

/// Bytes as a whole journal; then as records, each after its length, in a journal that is whole. Writing all anew
/// changes nothing.
pub fn journal(data: &[u8]) {
    let _ = Journal::open(Bytes(data.to_vec()));
    let mut journal = Journal::new(Bytes::default()).expect("memory");
    let mut parts = Parts(data);
    while !parts.0.is_empty() {
        let length = usize::from(u16::from_le_bytes([parts.byte(), parts.byte()]));
        journal.log.append(parts.bytes(length)).expect("memory");
    }
    let read = |journal: &Journal<Bytes>| replay(&journal.log.read().expect("its memory"));
    let Ok(state) = read(&journal) else { return };
    journal.compact(&state);
    let again = read(&journal).expect("what was written can be read");
    let written = |state: &State| {
        let mut all = Vec::new();
        state.records(|record| all.push(postcard::to_allocvec(record).expect("a record")));
        all
    };
    assert_eq!(written(&again), written(&state));
}
