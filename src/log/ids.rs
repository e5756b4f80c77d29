//! Ids in lines: as they are, or with `log.hash_ids` as keyed hashes. The key is that of the run: all processes write
//! the same hash of an id, and nobody who has only the log can guess an id and try it.

use crate::os::process;
use aws_lc_rs::hmac;
use std::fmt::{self, Display};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

static HASHING: AtomicBool = AtomicBool::new(false);

static KEY: LazyLock<hmac::Key> =
    LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, process::run().as_bytes()));

/// Bytes of a hash that are written.
const SHOWN: usize = 8;
/// Length of a UUID, and where its hyphens are.
const UUID: usize = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// An id in a line.
#[derive(Clone, Copy, Debug)]
pub struct LoggedId<T>(T);

/// An id as a line has it. Each id of a user, a session or a device is written so.
pub const fn id<T: Display>(id: T) -> LoggedId<T> {
    LoggedId(id)
}

impl<T: Display> Display for LoggedId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_hashing() { hash(&self.0.to_string(), f) } else { self.0.fmt(f) }
    }
}

/// Whether ids are hashed.
pub fn is_hashing() -> bool {
    HASHING.load(Ordering::Relaxed)
}

pub(super) fn set_hashing(hashing: bool) {
    HASHING.store(hashing, Ordering::Relaxed);
}

/// No id has a `#`.
fn hash(id: &str, out: &mut impl fmt::Write) -> fmt::Result {
    let hash = hmac::sign(&KEY, id.as_bytes());
    out.write_char('#')?;
    hash.as_ref().iter().take(SHOWN).try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// The text with its UUIDs (of sessions, and of users that the page has made) as hashes, wherever they stand: inside
/// the text of an error, say. `None`: there are none.
pub(super) fn without_uuids(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_uuid = |at: usize| {
        let uuid = bytes.get(at..at + UUID)?;
        let fits = |(at, byte): (usize, &u8)| match HYPHENS.contains(&at) {
            true => *byte == b'-',
            false => byte.is_ascii_hexdigit(),
        };
        uuid.iter().enumerate().all(fits).then(|| text.get(at..at + UUID)).flatten()
    };
    let mut out: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    while at + UUID <= bytes.len() {
        let Some(uuid) = is_uuid(at) else {
            at += 1;
            continue;
        };
        let out = out.get_or_insert_default();
        out.push_str(text.get(kept..at).unwrap_or_default());
        let _ = hash(uuid, out);
        at += UUID;
        kept = at;
    }
    let mut out = out?;
    out.push_str(text.get(kept..).unwrap_or_default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_hash_wherever_it_stands() {
        const ID: &str = "0193e4a8-7c1f-7a2b-9d3e-0123456789ab";
        let mut hashed = String::new();
        hash(ID, &mut hashed).unwrap();
        assert!(hashed.len() == 17 && hashed.starts_with('#'), "{hashed}");
        let mut other = String::new();
        hash("alice", &mut other).unwrap();
        assert_ne!(hashed, other);
        let text = format!("ü{ID}, session {ID}x and no {}", &ID[1..]);
        let expected = format!("ü{hashed}, session {hashed}x and no {}", &ID[1..]);
        assert_eq!(without_uuids(&text), Some(expected));
        assert_eq!(without_uuids("nothing of the kind, however long the line may be"), None);
        assert_eq!(id("alice").to_string(), "alice", "ids are not hashed unless it is asked for");
    }
}
