//! Keeps the history in a file, by a thread of its own: a disk that hangs stops nothing else.
//!
//! The file is a [`journal`]: each second is appended; when the appended part exceeds the history itself, everything is
//! written to a new file, synced, and renamed over the old one. A killed feeder loses the open second, a machine
//! without power what the kernel had not written. A fault of the folder is logged once, and the feeder goes on without
//! it.

use super::history::{History, JournalEntry};
use super::journal::{self, HEAD, Load};
use crate::os::trust;
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Write requests that may wait: minutes of a hung disk. When they are full, requests are dropped, and the whole
/// history is written later.
const REQUESTS: usize = 256;
/// Entries in one request; more come only from a recording that is read at full speed.
const ENTRIES: usize = 10_000;
/// Bytes that may be appended, or as many as the history itself has, before everything is written anew.
const APPENDED: usize = 1 << 20;
/// A larger file is no history of this daemon.
const LARGEST: u64 = 256 << 20;
/// Longest wait of the start for the folder; then it goes on without.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time that the file may stay locked by a feeder that was just killed.
const LOCKED: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a failed file is tried again.
const AGAIN: Duration = Duration::from_secs(60);

enum WriteRequest {
    Append(String),
    Replace(Box<History>),
}

/// The feeder's side.
pub(super) struct Store {
    requests: SyncSender<WriteRequest>,
    about: Arc<FileStatus>,
    /// Bytes appended since everything was written.
    appended: usize,
    /// A request was dropped: everything must be written anew.
    behind: bool,
    asked: Instant,
    done: oneshot::Receiver<()>,
}

/// Reports of the thread.
#[derive(Debug, Default)]
struct FileStatus {
    size: AtomicUsize,
    failed: AtomicBool,
}

impl Store {
    /// Loads the history from `folder` and keeps it there from now on, if possible.
    pub(super) async fn open(folder: PathBuf, history: History) -> (History, Option<Self>) {
        let (requests, inbox) = sync_channel(REQUESTS);
        let (tell, told) = oneshot::channel();
        let (end, done) = oneshot::channel();
        let about = Arc::new(FileStatus::default());
        let (theirs, shown) = ((history.clone(), about.clone()), folder.display().to_string());
        let work = move || {
            let (mut history, about) = theirs;
            match JournalWriter::open(&folder, &mut history, about) {
                Ok(journal) => {
                    let first = journal.file.is_none().then(|| history.clone());
                    if tell.send(Some(history)).is_ok() {
                        journal.work(first, &inbox);
                    }
                }
                Err(why) => {
                    tracing::warn!(event = "history-not-kept", folder = %folder.display(), why);
                    let _ = tell.send(None);
                }
            }
            let _ = end.send(());
        };
        if let Err(error) = thread::Builder::new().name("history".to_owned()).spawn(work) {
            tracing::warn!(event = "history-not-kept", folder = shown, %error);
            return (history, None);
        }
        match timeout(PATIENCE, told).await {
            Ok(Ok(Some(read))) => {
                let asked = Instant::now();
                (read, Some(Self { requests, about, appended: 0, behind: false, asked, done }))
            }
            Ok(_) => (history, None),
            Err(_) => {
                let why = "the folder does not answer";
                tracing::warn!(event = "history-not-kept", folder = shown, why);
                (history, None)
            }
        }
    }

    /// Keeps new entries. Never waits.
    pub(super) fn keep(&mut self, entries: &[JournalEntry], history: &History) {
        self.behind |= entries.len() > ENTRIES;
        if self.about.failed.load(Ordering::Relaxed) {
            if self.asked.elapsed() < AGAIN {
                return;
            }
            self.behind = true;
        }
        let size = self.about.size.load(Ordering::Relaxed);
        if self.behind || self.appended > size.max(APPENDED) {
            // The whole history contains these entries, too.
            self.behind = self.request(WriteRequest::Replace(Box::new(history.clone())));
            (self.appended, self.asked) = (0, Instant::now());
        } else if !entries.is_empty() {
            let mut text = String::with_capacity(entries.len() * 96);
            entries.iter().for_each(|entry| journal::write(entry, &mut text));
            self.appended += text.len();
            self.behind = self.request(WriteRequest::Append(text));
        }
    }

    /// Sends a request; true if it was dropped.
    fn request(&mut self, request: WriteRequest) -> bool {
        matches!(self.requests.try_send(request), Err(TrySendError::Full(_)))
    }

    /// Waits until all is written, at most `patience`.
    pub(super) async fn finish(self, patience: Duration) {
        drop(self.requests);
        if timeout(patience, self.done).await.is_err() {
            tracing::warn!(event = "history-not-kept", "the folder does not answer: the last of it is lost");
        }
    }
}

/// The thread's side.
struct JournalWriter {
    folder: PathBuf,
    /// Open for appending; `None`: everything must be written anew first.
    file: Option<File>,
    about: Arc<FileStatus>,
    _lock: File,
}

fn said(what: &str, error: &io::Error) -> String {
    format!("{what}: {error}")
}

impl JournalWriter {
    fn open(folder: &Path, history: &mut History, about: Arc<FileStatus>) -> Result<Self, String> {
        trust::safe_folder(folder)?;
        let mut journal =
            Self { folder: folder.to_owned(), file: None, about, _lock: lock(&folder.join("history.lock"))? };
        let path = journal.path();
        let bytes = match contents(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(journal),
            Err(error) => return Err(said("it cannot be read", &error)),
        };
        match journal::load(&bytes, history) {
            Load::Read { bad: 0, old: false } if !bytes.is_empty() => {
                journal.about.size.store(bytes.len() / 2, Ordering::Relaxed);
                journal.file = journal.append_to().ok();
            }
            Load::Read { bad: 0, .. } => {}
            Load::Read { bad, .. } => {
                let path = path.display();
                tracing::warn!(event = "history-damaged", %path, bad, "so many lines cannot be read; the others count");
            }
            Load::Foreign => {
                let aside = path.with_extension("unreadable");
                let moved = std::fs::rename(&path, &aside);
                moved
                    .map_err(|error| said("it is no history of this version and cannot be moved", &error))?;
                let (path, aside) = (path.display(), aside.display());
                tracing::warn!(event = "history-foreign", %path, %aside, "no history of this version: put aside");
            }
        }
        history.loaded();
        Ok(journal)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("history.journal")
    }

    fn append_to(&self) -> io::Result<File> {
        options().append(true).open(self.path())
    }

    /// Works until the feeder's side is dropped.
    fn work(mut self, first: Option<History>, requests: &Receiver<WriteRequest>) {
        if let Some(history) = first {
            let result = self.replace(&history);
            self.settle(result);
        }
        for request in requests {
            let result = match (request, &mut self.file) {
                (WriteRequest::Append(text), Some(file)) => file.write_all(text.as_bytes()),
                // A dropped part would make a gap that nobody sees.
                (WriteRequest::Append(_), None) => continue,
                (WriteRequest::Replace(history), _) => self.replace(&history),
            };
            self.settle(result);
        }
    }

    fn settle(&mut self, result: io::Result<()>) {
        let failed = result.is_err();
        let before = self.about.failed.swap(failed, Ordering::Relaxed);
        match result {
            Err(error) => {
                self.file = None;
                if !before {
                    let path = self.path();
                    tracing::warn!(event = "history-not-kept", path = %path.display(), %error);
                }
            }
            Ok(()) if before => tracing::info!(event = "history-kept", path = %self.path().display()),
            Ok(()) => {}
        }
    }

    /// Writes everything to a new file. The old one stays until the new one is complete.
    fn replace(&mut self, history: &History) -> io::Result<()> {
        self.file = None;
        let (path, beside) = (self.path(), self.folder.join("history.new"));
        let mut file = BufWriter::new(options().write(true).truncate(true).open(&beside)?);
        file.write_all(HEAD.as_bytes())?;
        let (mut line, mut size) = (String::new(), 0);
        for entry in history.all() {
            line.clear();
            journal::write(&entry, &mut line);
            file.write_all(line.as_bytes())?;
            size += line.len();
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, &path)?;
        File::open(&self.folder)?.sync_all()?;
        self.about.size.store(size, Ordering::Relaxed);
        self.file = Some(self.append_to()?);
        Ok(())
    }
}

/// Only regular files: opening a fifo could block for ever.
fn options() -> OpenOptions {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).custom_flags(i32::try_from(flags).unwrap_or_default());
    options
}

/// Locks the file for as long as the process lives, however it ends.
fn lock(path: &Path) -> Result<File, String> {
    let file = options().write(true).open(path).map_err(|error| said("its lock cannot be opened", &error))?;
    let end = Instant::now() + LOCKED;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => thread::park_timeout(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err("another daemon keeps its history there".to_owned());
            }
            Err(error) => return Err(said("it cannot be locked", &error.into())),
        }
    }
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let file = options().create(false).read(true).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if about.len() > LARGEST {
        return Err(io::Error::other("larger than any history"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
