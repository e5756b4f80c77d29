//! All sessions of a worker as one block of bytes, for the processes that come after it.
//!
//! A pack is a row of records, one a session. Each record stands for itself: it says when the pack was made and how
//! many records there are, and carries sums over its head and its body. A cut or changed byte loses the record that it
//! is in, and no other. All numbers are little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `BCP` and the form of the record |
//! | 4 | key: the session's place in the table of the worker that packed it, under which the keeper has its socket |
//! | 4 | records in the whole pack |
//! | 4 | length of the body |
//! | 8 | moment of the pack (`CLOCK_BOOTTIME`), in nanoseconds |
//! | 8 | sum over the 24 bytes before |
//! | 8 | sum over the body |
//! | | the body: an encoded [`super::Snapshot`], which has a form of its own |

use super::Key;
use crate::model::Boot;

/// The form that is written, and the newest that is read.
const FORM: u8 = 1;
/// The oldest form that is read.
const OLDEST: u8 = 1;
const MARK: [u8; 3] = *b"BCP";
/// Bytes of a record's head.
const HEAD: usize = 40;
/// Bytes of the head that its own sum covers.
const SUMMED: usize = 24;
/// Longest body that is believed.
const LONGEST: usize = 32 << 20;

/// A pack that is being made.
#[derive(Debug)]
pub struct Packing {
    at: Boot,
    bytes: Vec<u8>,
    records: u32,
}

impl Packing {
    /// An empty pack of that moment.
    #[must_use]
    pub fn new(at: Boot) -> Self {
        Self { at, bytes: Vec::new(), records: 0 }
    }

    /// Adds an encoded session.
    ///
    /// # Errors
    /// The session is longer than any may be.
    pub fn add(&mut self, key: Key, session: &[u8]) -> Result<(), TooLong> {
        let len = u32::try_from(session.len()).ok().filter(|_| session.len() <= LONGEST).ok_or(TooLong)?;
        self.bytes.extend(head(key, 0, len, self.at));
        self.bytes.extend(sum(session).to_le_bytes());
        self.bytes.extend_from_slice(session);
        self.records += 1;
        Ok(())
    }

    /// Sessions so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The bytes of the pack.
    #[must_use]
    pub fn bytes(mut self) -> Vec<u8> {
        let mut start = 0;
        while let Some(record) = self.bytes.get_mut(start..start + HEAD) {
            let (key, len) = (number(record, 4), number(record, 12));
            record[..SUMMED + 8].copy_from_slice(&head(key, self.records, len, self.at));
            start += HEAD + len as usize;
        }
        self.bytes
    }
}

/// A session that is longer than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// A record of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    pub key: Key,
    /// The encoded session; `None`: the record is damaged, or of a form that this program does not read.
    pub session: Option<&'a [u8]>,
}

/// The records of a pack that can be told apart. A record whose head is damaged is not among them.
#[derive(Debug)]
pub struct Pack<'a> {
    /// When the pack was made; `None`: no record says it.
    pub at: Option<Boot>,
    pub records: Vec<Packed<'a>>,
    /// Records whose keys are lost.
    pub lost: u32,
}

impl<'a> Pack<'a> {
    /// The oldest and the newest form that is read.
    pub const FORMS: (u32, u32) = (OLDEST as u32, FORM as u32);

    /// Reads any bytes.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut pack = Self { at: None, records: Vec::new(), lost: 0 };
        let (mut start, mut total) = (0, 0);
        while let Some(rest) = bytes.get(start..) {
            let Some(found) = Head::read(rest) else {
                // Anything may be here: the next record begins where its mark and its sum agree.
                let Some(next) = rest.iter().skip(1).position(|byte| *byte == MARK[0]) else { break };
                start += 1 + next;
                continue;
            };
            let body = rest.get(HEAD..HEAD + found.len);
            let is_whole = body.is_some_and(|body| sum(body) == found.body && found.is_known());
            pack.records.push(Packed { key: found.key, session: body.filter(|_| is_whole) });
            (pack.at, total) = (Some(found.at), found.records);
            // Behind the sum of a head another record may begin: what was there is cut.
            start += if is_whole { HEAD + found.len } else { SUMMED + 8 };
        }
        pack.lost = total.saturating_sub(u32::try_from(pack.records.len()).unwrap_or(u32::MAX));
        pack
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    form: u8,
    key: Key,
    records: u32,
    len: usize,
    at: Boot,
    body: u64,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        let is_sound = head[..3] == MARK && long(head, SUMMED) == sum(&head[..SUMMED]);
        let len = number(head, 12) as usize;
        (is_sound && len <= LONGEST).then(|| Self {
            form: head[3],
            key: number(head, 4),
            records: number(head, 8),
            len,
            at: Boot(long(head, 16)),
            body: long(head, SUMMED + 8),
        })
    }

    fn is_known(self) -> bool {
        (OLDEST..=FORM).contains(&self.form)
    }
}

/// The head without the sum over the body.
fn head(key: Key, records: u32, len: u32, at: Boot) -> [u8; SUMMED + 8] {
    let mut head = [0; SUMMED + 8];
    head[..3].copy_from_slice(&MARK);
    head[3] = FORM;
    for (place, value) in [(4, key), (8, records), (12, len)] {
        head[place..place + 4].copy_from_slice(&value.to_le_bytes());
    }
    head[16..SUMMED].copy_from_slice(&at.0.to_le_bytes());
    let check = sum(&head[..SUMMED]).to_le_bytes();
    head[SUMMED..].copy_from_slice(&check);
    head
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// FNV-1a: each changed byte changes it.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests;
