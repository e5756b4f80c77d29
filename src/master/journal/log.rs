//! Records in a memory file, of which a reader sees whole ones only, whenever the writer was killed.
//!
//! ```text
//! 0        8               64
//! MAGIC  | start, length | ... | records (length, checksum, bytes) | ...
//! ```
//!
//! `start` and `length` are one word, which is written after the records that it covers. A compacted content is written
//! beside the old one, and takes its place with one write of that word.

use crate::os::memory_file::MemoryFile;
use std::fmt;
use std::io;

/// The form of a journal.
pub(super) const FORM: u32 = 1;
/// The first bytes of a journal; the last one is the number of its form.
const MAGIC: [u8; 8] = *b"btc-jrn\x01";
/// Where the word is.
const WORD: u64 = 8;
/// Contents begin at multiples of this; the header takes one.
const UNIT: u64 = 64;
/// Bytes before each record.
const HEAD: usize = 8;

/// The place of the content. Tests cut its writes.
pub(in crate::master) trait Memory {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    fn read(&self, at: u64, count: u64) -> io::Result<Vec<u8>>;
    /// Gives the memory of a part back.
    fn free(&mut self, at: u64, count: u64);
    fn cut(&mut self, len: u64);
}

impl Memory for MemoryFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        Self::write(self, at, bytes)
    }

    fn read(&self, at: u64, count: u64) -> io::Result<Vec<u8>> {
        Self::read(self, at, count)
    }

    fn free(&mut self, at: u64, count: u64) {
        Self::free(self, at, count);
    }

    fn cut(&mut self, len: u64) {
        Self::cut(self, len);
    }
}

/// Why a journal is not believed.
#[derive(Debug)]
pub(super) enum Strange {
    /// It cannot be read.
    Io(io::Error),
    /// It is none, or one of another form.
    NoJournal,
    /// Its writer could not write.
    Broken,
    /// A record is damaged.
    Damaged,
    /// A record makes no sense.
    Garbage(postcard::Error),
}

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NoJournal => f.write_str("it is no journal, or one of another form"),
            Self::Broken => f.write_str("its writer could not write"),
            Self::Damaged => f.write_str("a record is damaged"),
            Self::Garbage(error) => write!(f, "a record makes no sense: {error}"),
        }
    }
}

impl From<io::Error> for Strange {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The place of the content in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    start: u64,
    len: u64,
}

impl Extent {
    fn word(self) -> io::Result<[u8; 8]> {
        let large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let (start, len) =
            (u32::try_from(self.start / UNIT).map_err(large)?, u32::try_from(self.len).map_err(large)?);
        Ok((u64::from(start) << 32 | u64::from(len)).to_le_bytes())
    }

    fn read(word: u64) -> Self {
        Self { start: (word >> 32) * UNIT, len: word & u64::from(u32::MAX) }
    }

    fn end(self) -> u64 {
        self.start + self.len
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let fold = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(16_777_619);
    bytes.iter().fold(2_166_136_261, fold)
}

fn framed(record: &[u8]) -> io::Result<Vec<u8>> {
    let large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let mut bytes = Vec::with_capacity(HEAD + record.len());
    bytes.extend(u32::try_from(record.len()).map_err(large)?.to_le_bytes());
    bytes.extend(checksum(record).to_le_bytes());
    bytes.extend_from_slice(record);
    Ok(bytes)
}

/// A journal that is written to.
#[derive(Debug)]
pub(super) struct Log<M> {
    memory: M,
    at: Extent,
}

impl<M: Memory> Log<M> {
    /// Begins an empty journal.
    pub(super) fn new(mut memory: M) -> io::Result<Self> {
        let at = Extent { start: UNIT, len: 0 };
        memory.write(WORD, &at.word()?)?;
        memory.write(0, &MAGIC)?;
        Ok(Self { memory, at })
    }

    /// Goes on with a journal.
    pub(super) fn open(memory: M) -> Result<Self, Strange> {
        let header = memory.read(0, WORD + 8)?;
        let (magic, word) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Strange::NoJournal);
        }
        let word = word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let at = Extent::read(word);
        if at.start < UNIT {
            return Err(Strange::Broken);
        }
        Ok(Self { memory, at })
    }

    /// All records, in their order.
    pub(super) fn read(&self) -> Result<Vec<u8>, Strange> {
        // An empty content begins behind the end of the memory.
        if self.at.len == 0 {
            return Ok(Vec::new());
        }
        Ok(self.memory.read(self.at.start, self.at.len)?)
    }

    /// Appends a record.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let bytes = framed(record)?;
        self.memory.write(self.at.end(), &bytes)?;
        self.publish(Extent { len: self.at.len + bytes.len() as u64, ..self.at })
    }

    /// Puts other records in the place of all.
    pub(super) fn replace(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        let bytes: Vec<u8> =
            records.iter().map(|record| framed(record)).collect::<io::Result<Vec<_>>>()?.concat();
        let (old, len) = (self.at, bytes.len() as u64);
        let start = if UNIT + len <= old.start { UNIT } else { old.end().next_multiple_of(UNIT) };
        self.memory.write(start, &bytes)?;
        self.publish(Extent { start, len })?;
        if start < old.start {
            self.memory.cut(self.at.end());
        } else {
            self.memory.free(old.start, old.len);
        }
        Ok(())
    }

    /// Makes the journal one that nobody believes.
    pub(super) fn spoil(&mut self) {
        let _ = self.memory.write(WORD, &[0; 8]);
    }

    pub(super) fn len(&self) -> u64 {
        self.at.len
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> &M {
        &self.memory
    }

    fn publish(&mut self, at: Extent) -> io::Result<()> {
        self.memory.write(WORD, &at.word()?)?;
        self.at = at;
        Ok(())
    }
}

/// The records in these bytes.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Strange>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let head = bytes.split_first_chunk::<4>();
        let whole = head.and_then(|(len, rest)| {
            let (sum, rest) = rest.split_first_chunk::<4>()?;
            let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            (u32::from_le_bytes(*sum) == checksum(record)).then_some((record, rest))
        });
        match whole {
            Some((record, rest)) => {
                bytes = rest;
                Some(Ok(record))
            }
            None => {
                bytes = &[];
                Some(Err(Strange::Damaged))
            }
        }
    })
}
