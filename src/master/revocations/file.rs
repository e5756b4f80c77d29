//! The file of revocations in the state directory. A thread of its own writes it, since a disk may hang.

use crate::access::tokens::{REVOCATIONS_HEAD, ReadRevocations, Revocations};
use crate::os::trust;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Changes that wait for the disk; beyond, all is written anew once it answers.
const REQUESTS: usize = 256;
/// After a failure it is tried again so often.
const AGAIN: Duration = Duration::from_secs(10);
/// Appended bytes after which all is written anew.
const APPENDED: usize = 1 << 20;
/// A larger file is none of these.
const LARGEST: u64 = 64 << 20;
/// Longest wait for a disk when the daemon starts, and when it ends.
const PATIENCE: Duration = Duration::from_secs(3);

enum Request {
    Append(String),
    Replace(String),
}

/// The master's side.
pub(in crate::master) struct Disk {
    folder: PathBuf,
    /// Started with the first change: who revokes nothing has no file.
    writer: Option<Writer>,
    /// The file lacks something: all is to be written anew.
    behind: bool,
    appended: usize,
    tried: Option<Instant>,
}

struct Writer {
    requests: SyncSender<Request>,
    failed: Arc<AtomicBool>,
    done: oneshot::Receiver<()>,
}

impl Writer {
    fn start(folder: PathBuf) -> io::Result<Self> {
        let (requests, inbox) = sync_channel(REQUESTS);
        let (end, done) = oneshot::channel();
        let failed = Arc::new(AtomicBool::new(false));
        let told = failed.clone();
        thread::Builder::new().name("revocations".to_owned()).spawn(move || {
            Work { folder, file: None, failed: told }.work(&inbox);
            // Nobody waits any more.
            let _ = end.send(());
        })?;
        Ok(Self { requests, failed, done })
    }
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, writer: None, behind: true, appended: 0, tried: None }
    }

    /// Writes a change of all. Never waits.
    pub(in crate::master) fn append(&mut self, change: &Revocations, all: &Revocations) {
        if self.behind {
            return self.replace(all);
        }
        let lines = change.lines();
        self.appended += lines.len();
        match self.appended > APPENDED {
            true => self.replace(all),
            false => self.behind = !self.request(Request::Append(lines)),
        }
    }

    /// Writes all anew. Never waits.
    pub(in crate::master) fn replace(&mut self, all: &Revocations) {
        (self.appended, self.tried) = (0, Some(Instant::now()));
        let text = REVOCATIONS_HEAD.to_owned() + &all.lines();
        self.behind = !self.request(Request::Replace(text));
    }

    /// Tries again what has failed.
    pub(in crate::master) fn look(&mut self, all: &Revocations) {
        let has_failed = |writer: &Writer| writer.failed.load(Ordering::Relaxed);
        let is_wanted = self.tried.is_some() && (self.behind || self.writer.as_ref().is_some_and(has_failed));
        if is_wanted && self.tried.is_some_and(|tried| tried.elapsed() >= AGAIN) {
            self.replace(all);
        }
    }

    /// False: it is not taken.
    fn request(&mut self, request: Request) -> bool {
        if self.writer.is_none() {
            match Writer::start(self.folder.clone()) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => {
                    let folder = self.folder.display();
                    tracing::error!(event = "revocations-not-kept", %folder, why = %error);
                    return false;
                }
            }
        }
        self.writer.as_ref().is_some_and(|writer| writer.requests.try_send(request).is_ok())
    }

    /// Waits for a moment until all is written.
    pub(super) async fn finish(&mut self) {
        let Some(Writer { requests, done, .. }) = self.writer.take() else { return };
        drop(requests);
        if timeout(PATIENCE, done).await.is_err() {
            let (folder, why) = (self.folder.display(), "the disk does not answer");
            tracing::error!(event = "revocations-not-kept", %folder, why);
        }
    }
}

/// Reads the file of a folder; nothing where there is none.
///
/// # Errors
/// It cannot be read.
pub(super) async fn load(folder: &Path) -> Result<ReadRevocations, String> {
    let path = folder.join("revocations");
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || read(&path));
    let read = match timeout(PATIENCE, read).await {
        Err(_) => Err("the disk does not answer".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(read)) => read,
    };
    read.map_err(|why| format!("{shown}: {why}"))
}

fn read(path: &Path) -> Result<ReadRevocations, String> {
    let file = match options().read(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ReadRevocations::default()),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let about = file.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > LARGEST {
        return Err("it is no list of revocations".to_owned());
    }
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).map_err(|error| error.to_string())?;
    Revocations::read(&text)
}

/// The thread's side.
struct Work {
    folder: PathBuf,
    /// Open for appending; `None`: all must be written anew first.
    file: Option<File>,
    failed: Arc<AtomicBool>,
}

impl Work {
    fn work(mut self, requests: &Receiver<Request>) {
        for request in requests {
            let written = match (request, &mut self.file) {
                (Request::Replace(text), _) => self.replace(&text),
                (Request::Append(lines), Some(file)) => append(file, &lines),
                // A lost part would be a gap that nobody sees.
                (Request::Append(_), None) => continue,
            };
            let before = self.failed.swap(written.is_err(), Ordering::Relaxed);
            let folder = self.folder.display();
            match written {
                Err(why) => {
                    self.file = None;
                    if !before {
                        tracing::error!(event = "revocations-not-kept", %folder, why);
                    }
                }
                Ok(()) if before => tracing::info!(event = "revocations-kept", %folder),
                Ok(()) => {}
            }
        }
    }

    /// Writes a new file. The old one stays until the new one is complete.
    fn replace(&mut self, text: &str) -> Result<(), String> {
        self.file = None;
        trust::safe_folder(&self.folder)?;
        let written = || {
            let (path, beside) = (self.folder.join("revocations"), self.folder.join("revocations.new"));
            let mut file = options().create(true).write(true).truncate(true).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()?;
            options().append(true).open(path)
        };
        self.file = Some(written().map_err(|error: io::Error| error.to_string())?);
        Ok(())
    }
}

fn append(file: &mut File, lines: &str) -> Result<(), String> {
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(|error| error.to_string())
}

/// Only regular files: opening a fifo could block for ever.
fn options() -> OpenOptions {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(flags.cast_signed());
    options
}
