//! Follows a file by its path, as `tail -F` does: through truncation, rotation, deletion and disk failures. Reads one
//! piece at a time; the caller pauses in between and forwards the lines.

use super::splitter::{SplitLine, Splitter};
use crate::protocol::cluster::Mark;
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of one piece.
const PIECE: usize = 16 << 10;
/// Farthest from the end of a file that its last line is searched.
const BACK: u64 = 64 << 20;

/// A followed path.
pub(super) struct Follower {
    path: PathBuf,
    start: Start,
    open: Option<Open>,
    splitter: Splitter,
    piece: Box<[u8]>,
}

/// The place to begin at in the next opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// With its last complete line: the file was there before the follower.
    Last,
    /// At its beginning: the file came later.
    Beginning,
    /// Behind the mark, if it belongs to this file.
    Behind(Mark),
}

struct Open {
    file: File,
    device: u64,
    inode: u64,
    read: u64,
    /// Bytes up to the end of the last complete line.
    whole: u64,
    /// The path is another file's now, and this one had no more data when that was seen.
    left: bool,
}

/// The result of one look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Bytes read, with the lines in them; there may be more.
    Some(usize, Vec<(Box<str>, Mark)>),
    Nothing,
    /// No such file.
    Missing,
    /// The file cannot be read.
    Refused(String),
}

impl Follower {
    /// A follower that has not looked yet. It continues behind the mark, if that is in the file.
    pub(super) fn new(path: PathBuf, mark: Option<Mark>) -> Self {
        let start = mark.map_or(Start::Last, Start::Behind);
        let piece = vec![0; PIECE].into();
        Self { path, start, open: None, splitter: Splitter::default(), piece }
    }

    /// Looks once; lines are cut to `longest` bytes.
    pub(super) fn look(&mut self, longest: usize) -> Seen {
        match self.try_look(longest) {
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.start = Start::Beginning;
                Seen::Missing
            }
            Err(error) => {
                if let Some(open) = self.open.take() {
                    self.start = Start::Behind(open.mark(open.whole));
                }
                Seen::Refused(error.to_string())
            }
        }
    }

    fn try_look(&mut self, longest: usize) -> io::Result<Seen> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let (open, splitter) = Open::new(&self.path, self.start)?;
                (self.start, self.splitter) = (Start::Beginning, splitter);
                none.insert(open)
            }
        };
        let count = open.file.read_at(&mut self.piece, open.read)?;
        if count > 0 {
            let lines = self.splitter.push(&self.piece[..count], longest);
            return Ok(Seen::Some(count, open.took(count, lines)));
        }
        let about = open.file.metadata()?;
        if about.len() < open.read {
            // Truncated: a line without an end will not get one.
            (open.read, open.whole, self.splitter) = (0, 0, Splitter::default());
            return Ok(Seen::Some(0, Vec::new()));
        }
        let seen = match fs::metadata(&self.path) {
            Ok(there) if open.is(&there) => {
                open.left = false;
                return Ok(Seen::Nothing);
            }
            Ok(_) => Seen::Nothing,
            // Moved away, and its writer may not know yet: read on until a new file appears, or this one is deleted.
            Err(error) if error.kind() == ErrorKind::NotFound && about.nlink() > 0 => {
                return Ok(Seen::Missing);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Seen::Missing,
            Err(error) => return Err(error),
        };
        // Looks once more, so that data written in between is not lost.
        if !std::mem::replace(&mut open.left, true) {
            return Ok(seen);
        }
        let mark = open.mark(open.read);
        self.open = None;
        let rest = self.splitter.rest(longest).map(|text| (text, mark));
        Ok(Seen::Some(0, rest.into_iter().collect()))
    }
}

impl Open {
    /// Opens the file, with a splitter for where in a line reading begins.
    fn new(path: &Path, start: Start) -> io::Result<(Self, Splitter)> {
        // Opening a device may have effects.
        regular(&fs::metadata(path)?)?;
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let about = file.metadata()?;
        regular(&about)?;
        let (device, inode) = (about.dev(), about.ino());
        let mut open = Self { file, device, inode, read: 0, whole: 0, left: false };
        let mut splitter = Splitter::default();
        match start {
            Start::Beginning => {}
            Start::Behind(mark) => open.read = if open.holds(mark, about.len())? { mark.offset } else { 0 },
            Start::Last => match last_line(&open.file, about.len(), BACK)? {
                Some(begin) => open.read = begin,
                None => (open.read, splitter) = (about.len(), Splitter::lost()),
            },
        }
        open.whole = open.read;
        Ok((open, splitter))
    }

    fn is(&self, other: &Metadata) -> bool {
        (self.device, self.inode) == (other.dev(), other.ino())
    }

    fn mark(&self, offset: u64) -> Mark {
        Mark { device: self.device, inode: self.inode, offset }
    }

    /// Whether a mark is in this file. The inode of a deleted file may be reused; but another file hardly has a line
    /// that ends in the same place.
    fn holds(&self, mark: Mark, len: u64) -> io::Result<bool> {
        if mark != self.mark(mark.offset) || mark.offset > len {
            return Ok(false);
        }
        let mut before = [b'\n'];
        if mark.offset > 0 {
            self.file.read_exact_at(&mut before, mark.offset - 1)?;
        }
        Ok(before == [b'\n'])
    }

    /// Advances by a piece that was read, and marks its lines.
    fn took(&mut self, count: usize, lines: Vec<SplitLine>) -> Vec<(Box<str>, Mark)> {
        let (begin, device, inode) = (self.read, self.device, self.inode);
        let marked = |line: SplitLine| {
            let mark = Mark { device, inode, offset: begin + line.end as u64 };
            (line.text, mark)
        };
        let lines: Vec<_> = lines.into_iter().map(marked).collect();
        self.read += count as u64;
        if let Some((_, mark)) = lines.last() {
            self.whole = mark.offset;
        }
        lines
    }
}

fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() { Ok(()) } else { Err(io::Error::other("not a regular file")) }
}

/// The beginning of the last complete line; if there is none, of the incomplete one. `None`: farther from the end than
/// `back`.
fn last_line(file: &File, len: u64, back: u64) -> io::Result<Option<u64>> {
    let Some(end) = newline_before(file, len, len.saturating_sub(back))? else {
        return Ok((len <= back).then_some(0));
    };
    let lowest = end.saturating_sub(back);
    Ok(match newline_before(file, end, lowest)? {
        Some(before) => Some(before + 1),
        None if lowest == 0 => Some(0),
        // The last line is too long to be shown, but the next one can be read.
        None => Some(end + 1),
    })
}

/// The last newline in this part of a file.
fn newline_before(file: &File, mut end: u64, lowest: u64) -> io::Result<Option<u64>> {
    let mut piece = vec![0; PIECE];
    while end > lowest {
        let begin = end.saturating_sub(PIECE as u64).max(lowest);
        let piece = &mut piece[..usize::try_from(end - begin).unwrap_or(PIECE)];
        file.read_exact_at(piece, begin)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(begin + at as u64));
        }
        end = begin;
    }
    Ok(None)
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
