//! Moves a full log file aside: `x.log` becomes `x.log.1`, that `x.log.2`, and so on; the oldest is removed.
//!
//! One process does it, the master; the others open the file again when they are told. Until then they write to the
//! file that was moved: no line is lost.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// When a log file is full, and how many old ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// Bytes; 0: never full.
    pub(super) max_size: u64,
    pub(super) keep: u32,
}

impl Rotation {
    /// Moves the file aside if it is full, and says whether it was. The disk may hang.
    ///
    /// # Errors
    /// As `rename(2)`: the folder may not be written to, say.
    pub(super) fn look(self, path: &Path) -> io::Result<bool> {
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            // A link stays; the file that it names is moved.
            other => other?,
        };
        let meta = fs::metadata(&path)?;
        if self.max_size == 0 || !meta.is_file() || meta.len() < self.max_size {
            return Ok(false);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(old(&path, number), old(&path, number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&path, old(&path, 1)).map(|()| true)
    }
}

/// The path of an old file.
fn old(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        let rotation = Rotation { max_size: 4, keep: 2 };
        assert!(!rotation.look(&log).unwrap(), "there is none");
        for text in ["one\n", "two\n", "three\n"] {
            fs::write(&log, "few").unwrap();
            assert!(!rotation.look(&log).unwrap(), "it is not full");
            fs::write(&log, text).unwrap();
            assert!(rotation.look(&log).unwrap());
            assert!(!log.exists());
        }
        let read = |number| fs::read_to_string(old(&log, number)).unwrap();
        assert_eq!((read(1).as_str(), read(2).as_str()), ("three\n", "two\n"));
        assert!(!old(&log, 3).exists());
    }

    #[test]
    fn a_link_stays_and_its_file_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (log, link) = (folder.path().join("real.log"), folder.path().join("link"));
        std::os::unix::fs::symlink("real.log", &link).unwrap();
        fs::write(&log, "full").unwrap();
        assert!(!Rotation { max_size: 0, keep: 1 }.look(&link).unwrap(), "it is off");
        assert!(Rotation { max_size: 4, keep: 1 }.look(&link).unwrap());
        assert!(link.is_symlink() && !log.exists() && old(&log, 1).exists());
    }

    #[test]
    fn a_folder_that_takes_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        fs::write(&log, "full").unwrap();
        // A folder that is not empty cannot be replaced.
        fs::create_dir_all(old(&log, 1).join("in the way")).unwrap();
        assert!(Rotation { max_size: 4, keep: 1 }.look(&log).is_err());
        assert!(log.exists());
    }
}
