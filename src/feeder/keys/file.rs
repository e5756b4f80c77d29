//! The file of the last good keys. A disk may hang: it is not waited for.

use crate::os::trust;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Name of the file in the state directory.
const NAME: &str = "jwks";
/// A larger file is none of ours.
const LARGEST: u64 = 1 << 20;
/// Longest wait for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was kept; nothing if that cannot be read, or if everybody can write there: with keys of a stranger, the stranger
/// signs.
pub(super) async fn read(folder: PathBuf) -> Vec<u8> {
    let reading = spawn_blocking(move || read_now(&folder));
    match timeout(PATIENCE, reading).await {
        Ok(Ok(Ok(bytes))) => bytes,
        Ok(Ok(Err(error))) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(event = "keys-not-kept", why = %error, "the keys of before cannot be read");
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Keeps them.
pub(super) async fn write(folder: PathBuf, bytes: Vec<u8>) -> Result<(), String> {
    let writing = spawn_blocking(move || write_now(&folder, &bytes));
    match timeout(PATIENCE, writing).await {
        Ok(Ok(result)) => result.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the folder does not answer within {PATIENCE:?}")),
    }
}

fn read_now(folder: &Path) -> io::Result<Vec<u8>> {
    trust::safe_folder(folder).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    options().read(true).open(folder.join(NAME))?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The old file stays until the new one is complete.
fn write_now(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    trust::safe_folder(folder).map_err(io::Error::other)?;
    let beside = folder.join("jwks.new");
    let mut file = options().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

/// No fifo is waited for, and no link followed.
fn options() -> OpenOptions {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let mut options = OpenOptions::new();
    options.custom_flags(i32::try_from(flags).unwrap_or_default());
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn what_was_written_is_read_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_owned();
        assert_eq!(read(place.clone()).await, b"");
        write(place.clone(), b"one".to_vec()).await.unwrap();
        write(place.clone(), b"two".to_vec()).await.unwrap();
        assert_eq!(read(place.clone()).await, b"two");
        let mode = std::fs::metadata(place.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1);
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(read(place.clone()).await, b"");
        assert!(write(place.clone(), vec![]).await.is_err());
    }
}
