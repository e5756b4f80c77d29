//! Follows a file by its path, as `tail -F` does: through truncation, rotation, deletion and a disk that fails for a
//! while. Reads one piece at a time; who pauses between two, and says what came, is the caller.

use super::splitter::{SplitLine, Splitter};
use crate::protocol::cluster::Mark;
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of one piece.
const PIECE: usize = 16 << 10;
/// So far back the last line of a file is looked for.
const BACK: u64 = 64 << 20;

/// See the module.
pub(super) struct Follower {
    path: PathBuf,
    start: Start,
    open: Option<Open>,
    splitter: Splitter,
    piece: Box<[u8]>,
}

/// Where to begin in the file that is opened next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// With its last whole line: it was there before anybody looked.
    Last,
    /// At its beginning: it came since.
    Beginning,
    /// There, if it is that file.
    Behind(Mark),
}

struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// Bytes that were read.
    read: u64,
    /// Bytes up to the end of the last whole line.
    whole: u64,
    /// The path is not this file's any more, and it had nothing more when that was seen.
    left: bool,
}

/// What there was to see.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// So many bytes, with these lines in them, and perhaps more.
    Some(usize, Vec<(Box<str>, Mark)>),
    /// Nothing new.
    Nothing,
    /// No such file.
    Missing,
    /// It cannot be read.
    Refused(String),
}

impl Follower {
    /// One that has not looked yet. It goes on behind the mark, where that is in the file.
    pub(super) fn new(path: PathBuf, mark: Option<Mark>) -> Self {
        let start = mark.map_or(Start::Last, Start::Behind);
        let piece = vec![0; PIECE].into();
        Self { path, start, open: None, splitter: Splitter::default(), piece }
    }

    /// Looks once; lines are cut to so many bytes.
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
            // Truncated. What had no end will not get one.
            (open.read, open.whole, self.splitter) = (0, 0, Splitter::default());
            return Ok(Seen::Some(0, Vec::new()));
        }
        let seen = match fs::metadata(&self.path) {
            Ok(there) if open.is(&there) => {
                open.left = false;
                return Ok(Seen::Nothing);
            }
            Ok(_) => Seen::Nothing,
            // Moved away, and its writer may not know yet: it is read until there is another, or it is deleted.
            Err(error) if error.kind() == ErrorKind::NotFound && about.nlink() > 0 => {
                return Ok(Seen::Missing);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Seen::Missing,
            Err(error) => return Err(error),
        };
        // What is written between this look and the last one is not lost.
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
    /// Opens it, and says where in a line its output begins.
    fn new(path: &Path, start: Start) -> io::Result<(Self, Splitter)> {
        // A device may do something when it is opened.
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

    /// Whether a mark is in this file. The number of one that was deleted may be another's by now: that has hardly a
    /// line that ends in the same place.
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

    /// A piece was read, with these lines in it.
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

/// Where the last whole line begins; where there is none, the line that has no end yet. `None`: farther `back` than one
/// looks.
fn last_line(file: &File, len: u64, back: u64) -> io::Result<Option<u64>> {
    let Some(end) = newline_before(file, len, len.saturating_sub(back))? else {
        return Ok((len <= back).then_some(0));
    };
    let lowest = end.saturating_sub(back);
    Ok(match newline_before(file, end, lowest)? {
        Some(before) => Some(before + 1),
        None if lowest == 0 => Some(0),
        // Too long to be shown, but what follows it is known.
        None => Some(end + 1),
    })
}

/// The last newline in these bytes of a file.
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
