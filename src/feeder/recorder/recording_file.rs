//! The file of a recording: appended to, locked, and replaced by an empty one at half of the total limit.

use crate::providers::recording::HEAD;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause between two checks whether the file was moved away.
const LOOK: Duration = Duration::from_secs(1);
/// Most permissions of a new file.
const MODE: u32 = 0o640;
/// Ends a line that a crash or a full disk has cut, so that its half does not read as a complete line.
const TORN: &[u8] = b" # torn\n";

/// File and limits of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub path: PathBuf,
    /// Limit of one file in bytes; there are two.
    pub half: u64,
}

/// An open recording.
pub(super) struct RecordingFile {
    target: Target,
    file: File,
    size: u64,
    looked: Instant,
    /// The size at which the disk is full.
    #[cfg(test)]
    full_at: Option<u64>,
}

impl RecordingFile {
    /// Opens the file for appending.
    ///
    /// # Errors
    /// The file is not regular, no recording, or locked by another process.
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        let other = |why: &str| io::Error::other(why.to_owned());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
        // A pipe must not block, a terminal not become the controlling one, a link not lead elsewhere.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let file = match open(&target.path, flags, Mode::from_raw_mode(MODE)) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::LOOP) => return Err(other("is a symbolic link")),
            Err(error) => return Err(error.into()),
        };
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(other("is not a regular file"));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| other("another process records to it"))?;
        let mut output = Self {
            target: target.clone(),
            size: about.len(),
            file,
            looked: Instant::now(),
            #[cfg(test)]
            full_at: None,
        };
        output.mend()?;
        let mode = about.permissions().mode();
        if mode & 0o777 & !MODE != 0 {
            // Works for the file's owner; otherwise the mode stays as it was.
            let _ = output.file.set_permissions(Permissions::from_mode(mode & MODE));
        }
        Ok(output)
    }

    /// Writes the first line of a new file, or the end of a torn last line.
    fn mend(&mut self) -> io::Result<()> {
        let mut head = vec![0; HEAD.len().min(usize::try_from(self.size).unwrap_or(usize::MAX))];
        self.file.read_exact_at(&mut head, 0)?;
        if !HEAD.starts_with(&head) {
            return Err(io::Error::other("is not a recording of ours"));
        }
        if head.len() < HEAD.len() {
            return self.append(&HEAD[head.len()..]);
        }
        let mut last = [0];
        self.file.read_exact_at(&mut last, self.size - 1)?;
        if last == *b"\n" { Ok(()) } else { self.append(TORN) }
    }

    /// Whether the file is still at its path; checked once in a while.
    pub(super) fn is_in_place(&mut self) -> bool {
        if self.looked.elapsed() < LOOK {
            return true;
        }
        self.looked = Instant::now();
        let (Ok(own), Ok(there)) = (self.file.metadata(), std::fs::symlink_metadata(&self.target.path))
        else {
            return false;
        };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }

    /// Writes complete lines, and removes them from `left` once they are in the file.
    ///
    /// # Errors
    /// The system's; `left` begins with the line that is incomplete in the file.
    pub(super) fn write(&mut self, left: &mut &[u8]) -> io::Result<()> {
        while !left.is_empty() {
            let room = usize::try_from(self.target.half.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let end = match left.get(..room) {
                None => left.len(),
                Some(fits) => last_end(fits),
            };
            if end == 0 && self.size > HEAD.len() as u64 {
                self.rotate()?;
                continue;
            }
            if end == 0 {
                // The line fits into no file: the limit was lowered after it came.
                *left = &left[first_end(left)..];
                self.append(b"# lost 1\n")?;
                continue;
            }
            let before = self.size;
            let written = self.append(&left[..end]);
            // Line ends tell how much is complete.
            let gone = usize::try_from(self.size - before).unwrap_or(end).min(end);
            *left = &left[last_end(&left[..gone])..];
            written?;
        }
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.put(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.size += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(not(test))]
    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    #[cfg(test)]
    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.full_at.map_or(u64::MAX, |full| full.saturating_sub(self.size));
        match usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            fits => self.file.write(&bytes[..fits]),
        }
    }

    #[cfg(test)]
    pub(super) fn fail_after(&mut self, bytes: u64) {
        self.full_at = Some(self.size + bytes);
    }

    #[cfg(test)]
    pub(super) fn copy(&self) -> File {
        self.file.try_clone().unwrap()
    }

    #[cfg(test)]
    pub(super) fn look_now(&mut self) {
        self.looked = Instant::now().checked_sub(LOOK).unwrap_or_else(Instant::now);
    }

    /// Renames the full file over the previous one, and starts an empty one.
    fn rotate(&mut self) -> io::Result<()> {
        std::fs::rename(&self.target.path, second(&self.target.path))?;
        *self = Self::open(&self.target)?;
        Ok(())
    }
}

impl Drop for RecordingFile {
    /// Unlocks the file. A program that is being started has a copy of the descriptor until it executes, so closing
    /// ours would leave the file locked for that long.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// `FILE.1`
pub(super) fn second(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The length of the first line.
fn first_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

/// The length of the complete lines.
fn last_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
