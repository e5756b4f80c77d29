//! The revocations that count, and their file.

mod file;

use crate::access::tokens::{Looked, Revocations};
use std::path::Path;

/// The revocations of the daemon, and their file.
pub(super) struct Kept {
    pub(super) all: Revocations,
    pub(super) disk: file::Disk,
    pub(super) looked: Looked,
}

impl Kept {
    /// Those that the master before has left. `folder`: the state directory.
    pub(super) fn new(left: Revocations, folder: &Path) -> Self {
        let mut disk = file::Disk::new(folder.to_owned());
        // The master before may not have written the last one.
        if left.len() > 0 {
            disk.replace(&left);
        }
        Self { all: left, disk, looked: Looked::default() }
    }

    /// All of them, for a worker.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.all.encode()
    }

    /// Takes those that the daemon before has left in its file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn read(left: &mut Revocations, folder: &Path) -> Result<(), String> {
        let mut read = file::load(folder).await?;
        if read.bad > 0 {
            let bad = read.bad;
            tracing::warn!(
                event = "revocations-damaged",
                bad,
                "so many lines cannot be read; the others count"
            );
        }
        // A journal that was left is newer.
        read.all.put(std::mem::take(left));
        *left = read.all;
        Ok(())
    }

    /// Waits for a moment until all is written.
    pub(super) async fn finish(&mut self) {
        self.disk.finish().await;
    }
}
