//! The place that lines are written to: standard error, or `log.file`.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// An open place for lines.
pub(super) enum Target {
    Stderr(io::Stderr),
    File(File),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stderr(stderr) => stderr.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

/// Opens a log file, which is made if it is missing. A disk may hang: call it on a thread of its own.
///
/// # Errors
/// As `open(2)`; the path is something else than a regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().create(true))
}

fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without NONBLOCK, opening a fifo waits for its reader. Regular files know no NONBLOCK.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    match options.append(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        // ENXIO: a fifo without a reader, or a socket.
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NXIO.raw_os_error()) => Err(error),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "is not a regular file")),
    }
}

/// Tries whether this process may write a log file there. A file that is made for this is removed again.
///
/// # Errors
/// Why not, with what to do about it.
pub(super) fn attempt(path: &Path) -> Result<(), String> {
    let tried = match open_with(path, OpenOptions::new().create_new(true)) {
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open(path).map(drop),
        Err(error) => Err(error),
    };
    tried.map_err(|error| format!("{}: {}", path.display(), words(&error)))
}

/// The error, with what to do about it.
pub(super) fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "cannot be written: read-only for this daemon; under systemd the sandbox does that, and ReadWritePaths= \
             of the unit opens a folder"
                .to_owned()
        }
        ErrorKind::PermissionDenied => {
            "cannot be written: permission denied; the daemon's user needs the folder, and the unit ReadWritePaths="
                .to_owned()
        }
        ErrorKind::NotFound => "cannot be written: there is no such folder".to_owned(),
        ErrorKind::InvalidInput => error.to_string(),
        _ => format!("cannot be written: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn fifo(path: &Path) {
        use rustix::fs::{CWD, FileType, mknodat};
        mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
    }

    #[test]
    fn only_regular_files_are_log_files_and_a_try_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fifo(&at("fifo"));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        symlink("fifo", at("link-to-fifo")).unwrap();
        for path in [at("fifo"), at("socket"), at("link-to-fifo"), "/dev/null".into()] {
            let why = attempt(&path).unwrap_err();
            assert!(why.contains("is not a regular file"), "{why}");
            assert!(open(&path).is_err());
        }
        // A fifo that has a reader can be opened, and is still none.
        let _reader = OpenOptions::new().read(true).write(true).open(at("fifo")).unwrap();
        assert!(attempt(&at("fifo")).unwrap_err().contains("is not a regular file"));
        assert!(attempt(folder.path()).unwrap_err().contains("irectory"));
        assert!(attempt(&at("none/x.log")).unwrap_err().contains("no such folder"));
        assert_eq!(attempt(&at("new.log")), Ok(()));
        assert!(!at("new.log").exists(), "the try left a file behind");
        std::fs::write(at("old.log"), "kept\n").unwrap();
        symlink("old.log", at("link.log")).unwrap();
        assert_eq!((attempt(&at("old.log")), attempt(&at("link.log"))), (Ok(()), Ok(())));
        assert_eq!(std::fs::read_to_string(at("old.log")).unwrap(), "kept\n");
        let words = words(&io::Error::from_raw_os_error(rustix::io::Errno::ROFS.raw_os_error()));
        assert!(words.contains("ReadWritePaths"), "{words}");
    }
}
