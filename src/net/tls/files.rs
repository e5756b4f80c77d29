//! Reads the files of certificates and keys. A file system may hang: not for the threads that serve.

use super::renewal::Look;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A larger file is none of these.
const LARGEST: u64 = 1 << 20;

/// What the files of a pair are now.
#[must_use]
pub fn look(certificate: &Path, key: &Path) -> Look {
    Look { certificate: read(certificate), key: read(key) }
}

/// The bytes of a regular file.
///
/// # Errors
/// Words that go on from its name.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    open(path)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// Whether everybody may read a file: worth a warning where it holds a key.
#[must_use]
pub fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

/// Opens without waiting for the other side of a fifo.
fn open(path: &Path) -> Result<File, String> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| reason(&error))?;
    let meta = file.metadata().map_err(|error| reason(&error))?;
    if meta.is_file() { Ok(file) } else { Err("is not a regular file".to_owned()) }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "is missing".to_owned(),
        ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(at("good"), [0xff; 100]).unwrap();
        symlink("good", at("link")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        write(at("large"), vec![0; 1 << 21]).unwrap();
        assert_eq!((read(&at("good")), read(&at("link"))), (Ok(vec![0xff; 100]), Ok(vec![0xff; 100])));
        for (name, why) in [
            ("none", "is missing"),
            ("dangling", "is missing"),
            ("large", "is larger than 1 MiB"),
            (".", "is not a regular file"),
            ("good/x", "cannot be read: "),
        ] {
            assert!(read(&at(name)).is_err_and(|said| said.starts_with(why)), "{name}");
        }
        assert!(read(Path::new("/dev/null")).is_err());
        let look = look(&at("good"), &at("none"));
        assert_eq!((look.certificate, look.key), (Ok(vec![0xff; 100]), Err("is missing".to_owned())));
        set_permissions(at("good"), Permissions::from_mode(0o640)).unwrap();
        assert!(!is_open_to_all(&at("good")));
        set_permissions(at("good"), Permissions::from_mode(0o644)).unwrap();
        assert!(is_open_to_all(&at("good")) && !is_open_to_all(&at("none")));
    }
}
