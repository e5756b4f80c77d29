//! Reading files without ever blocking: whatever stands at the path, the answer is a text or one clear fault.

use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A configuration that is larger is none.
const LARGEST: u64 = 1 << 20;
/// More fragments than anybody has, so that one reading stays short.
const MOST_FRAGMENTS: usize = 256;

/// The words for [`Content::Dangling`].
pub(crate) const DANGLING: &str = "is a link to nothing";

/// State of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Absent,
    /// A link to nothing.
    Dangling,
    /// A file's text.
    Text(String),
    /// Something that cannot be read: the line (0: the whole) and why.
    Unreadable(u32, String),
}

/// A file at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
    /// Everybody may read it.
    pub(crate) public: bool,
    stamp: Option<Stamp>,
}

/// Metadata that changes when a file is written or replaced, even by the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp([i128; 5]);

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self([
            meta.dev().into(),
            meta.ino().into(),
            meta.size().into(),
            ns(meta.mtime(), meta.mtime_nsec()),
            ns(meta.ctime(), meta.ctime_nsec()),
        ])
    }
}

/// Reads a regular file of at most 1 MiB.
pub(crate) fn read(path: &Path) -> Reading {
    match open(path) {
        Ok(None) => {
            let is_link = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
            let content = if is_link { Content::Dangling } else { Content::Absent };
            Reading { path: path.to_owned(), content, public: false, stamp: None }
        }
        Ok(Some((file, meta))) => {
            let content = match text(file) {
                Ok(text) => Content::Text(text),
                Err((line, why)) => Content::Unreadable(line, why),
            };
            let public = meta.mode() & 0o004 != 0;
            Reading { path: path.to_owned(), content, public, stamp: Some(Stamp::of(&meta)) }
        }
        Err(why) => unreadable(path, why),
    }
}

pub(crate) fn unreadable(path: &Path, why: String) -> Reading {
    Reading { path: path.to_owned(), content: Content::Unreadable(0, why), public: false, stamp: None }
}

/// Why that path is no file: something else is there.
pub(crate) fn not_regular(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    (!meta.is_file()).then(|| kind(&meta))
}

/// Opens without waiting for a fifo's writer; `None` where there is nothing.
fn open(path: &Path) -> Result<Option<(File, Metadata)>, String> {
    let flags =
        i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits()).unwrap_or_default();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => {
            let meta = file.metadata().map_err(|error| reason(&error))?;
            if meta.is_file() { Ok(Some((file, meta))) } else { Err(kind(&meta)) }
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        // A socket cannot be opened at all.
        Err(error) => match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => Err(kind(&meta)),
            _ => Err(reason(&error)),
        },
    }
}

fn kind(meta: &Metadata) -> String {
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    format!("is {what}, not a regular file")
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn text(file: File) -> Result<String, (u32, String)> {
    let mut bytes = vec![];
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| (0, reason(&error)))?;
    if bytes.len() as u64 > LARGEST {
        return Err((0, "is larger than 1 MiB: no configuration".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count();
        (u32::try_from(line).unwrap_or(0) + 1, "is not UTF-8".to_owned())
    })
}

/// `*.toml` of a folder by name, without hidden ones (editors leave such).
pub(crate) fn fragments(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Err("is no folder".to_owned()),
        Err(error) => return Err(reason(&error)),
    };
    let mut paths = vec![];
    for entry in entries {
        let name = entry.map_err(|error| reason(&error))?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            paths.push(folder.join(name));
        }
        if paths.len() > MOST_FRAGMENTS {
            return Err(format!("holds more than {MOST_FRAGMENTS} files"));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(path: &Path) -> String {
        match read(path).content {
            Content::Unreadable(line, why) => format!("{line}: {why}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(read(&at("absent")).content, Content::Absent);
        assert_eq!(read(&at("absent/deeper")).content, Content::Absent);
        std::fs::write(at("empty"), "").unwrap();
        assert_eq!(read(&at("empty")).content, Content::Text(String::new()));
        assert_eq!(read(&at("empty/deeper")).content, Content::Absent);
        assert_eq!(why(folder.path()), "0: is a folder, not a regular file");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(why(&at("fifo")), "0: is a fifo, not a regular file");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(why(&at("socket")), "0: is a socket, not a regular file");
        assert_eq!(why(Path::new("/dev/null")), "0: is a device, not a regular file");
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        assert_eq!(read(&at("dangling")).content, Content::Dangling);
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        assert!(why(&at("loop")).starts_with("0: cannot be read: "), "{}", why(&at("loop")));
        std::fs::write(at("latin"), b"# one\n# two\nname = \"\xe4\"\n").unwrap();
        assert_eq!(why(&at("latin")), "3: is not UTF-8");
        std::fs::write(at("large"), vec![b'#'; 10_000_000]).unwrap();
        assert_eq!(why(&at("large")), "0: is larger than 1 MiB: no configuration");
        std::fs::write(at("most"), vec![b'#'; 1 << 20]).unwrap();
        assert!(matches!(read(&at("most")).content, Content::Text(_)));
    }

    #[test]
    fn fragments_come_by_name_without_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["20-b.toml", "10-a.toml", ".#10-a.toml", "10-a.toml~", "README"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = fragments(folder.path()).unwrap();
        assert_eq!(names, [folder.path().join("10-a.toml"), folder.path().join("20-b.toml")]);
        assert_eq!(fragments(&folder.path().join("none")), Ok(vec![]));
        assert_eq!(fragments(&folder.path().join("README")), Err("is no folder".to_owned()));
    }
}
