//! What is fuzzed: for each word a function that takes any bytes, and panics where a promise is broken.
//!
//! `tests/fuzz/run` feeds them with what libFuzzer finds; [`kept`] feeds them, in every run of the unit tests, with the
//! inputs that are kept in `tests/fuzz/corpus`. A target that needs what a room keeps to itself is a module of that
//! room, its file beside this one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is what is looked for")]

mod frames;
mod headers;
#[cfg(test)]
mod kept;
mod messages;
mod sessions;

/// A target and its word.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by their words: those of folders of `tests/fuzz/corpus`.
pub const TARGETS: [Target; 15] = [
    ("body", crate::worker::fuzzed::body),
    ("config", crate::config::fuzzed::config),
    ("dialect", crate::providers::fuzzed::dialect),
    ("frames", frames::frames),
    ("forwarded", headers::forwarded),
    ("jwks", crate::access::tokens::fuzzed::jwks),
    ("journal", crate::master::fuzzed::journal),
    ("link", crate::protocol::link::fuzzed::link),
    ("message", messages::client),
    ("pack", sessions::pack),
    ("peer", messages::peer),
    ("proxy", crate::net::proxied::fuzzed::proxy),
    ("query", crate::worker::fuzzed::query),
    ("session", sessions::session),
    ("token", crate::access::tokens::fuzzed::token),
];

/// The target of a word.
#[must_use]
pub fn target(word: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(name, _)| *name == word).map(|(_, run)| *run)
}

/// Bytes in parts, as a target reads them.
pub struct Parts<'a>(pub &'a [u8]);

impl<'a> Parts<'a> {
    /// The next byte; 0 behind the end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// As many bytes, or what is left.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }
}
