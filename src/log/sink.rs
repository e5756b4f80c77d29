//! Brings lines to their place on a thread of its own, since a pipe that nobody reads, or a disk that hangs, makes a
//! writer wait for ever.
//!
//! Whoever logs never waits: a line that does not fit into the queue is lost, and counted; so is one that cannot be
//! written. When lines can be written again, the number is told.

use super::rotation::Rotation;
use super::target::{self, Target};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr, write};
use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Room beyond `log.queue` for what the thread itself has to tell.
const OWN_ROOM: usize = 4 << 10;
/// Threads of one process that may hang in the kernel, each in a place that is written to no more.
const MOST_THREADS: usize = 4;
/// The writer needs some kilobytes; the rest is for what it tells.
const STACK: usize = 128 << 10;
/// Time between two looks at the size of the file.
const LOOK: Duration = Duration::from_secs(1);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// In the thread of a sink: the number of lost lines that the line in the making tells of.
    static TELLS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Tells of lost lines, and why the last of them was lost.
pub(super) type Tell = Box<dyn Fn(u64, &str) + Send>;
/// Tells that the file was moved aside; false: try again.
pub(super) type Rotated = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a sink does when it has not started yet, or does anew.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes that may wait, `log.queue`.
    pub(super) room: usize,
    /// `None`: another process moves a full file aside, or nobody does.
    pub(super) rotation: Option<Rotation>,
}

/// A place for lines, written to by a thread. Dropped, the thread writes what waits, and ends.
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits for the thread.
    work: Condvar,
    /// The thread has written all.
    idle: Condvar,
}

struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    bounds: Bounds,
    /// Who hears of a rotation.
    rotated: Option<Rotated>,
    /// The thread is writing, or telling.
    busy: bool,
    /// The place is opened again before the next line.
    reopen: bool,
    closed: bool,
    lost: u64,
    why: &'static str,
}

struct Line {
    bytes: Box<[u8]>,
    /// The lost lines that this one tells of.
    tells: u64,
}

impl Queue {
    /// The queue of a thread that is busy until its place has been opened.
    fn new(bounds: Bounds, rotated: Option<Rotated>) -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            bounds,
            rotated,
            busy: true,
            reopen: false,
            closed: false,
            lost: 0,
            why: "",
        }
    }

    fn lose(&mut self, lines: u64, why: &'static str) {
        self.lost += lines;
        self.why = why;
    }
}

impl Sink {
    /// Starts writing to that file, or to standard error. `None`: too many threads hang already, or the system gives no
    /// other one.
    pub(super) fn start(
        path: Option<PathBuf>,
        bounds: Bounds,
        rotated: Option<Rotated>,
        tell: Tell,
    ) -> Option<Self> {
        if THREADS.fetch_add(1, Ordering::Relaxed) >= MOST_THREADS {
            THREADS.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(bounds, rotated)),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        let writer = Writer {
            shared: shared.clone(),
            path,
            target: Target::Stderr(std::io::stderr()),
            tell,
            torn: false,
            failing: false,
            looks: Looks::default(),
        };
        let started = thread::Builder::new().name("log".to_owned()).stack_size(STACK).spawn(move || {
            writer.run();
            THREADS.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            THREADS.fetch_sub(1, Ordering::Relaxed);
        }
        started.ok().map(|_| Self(shared))
    }

    /// Puts a line into the queue, or counts it as lost.
    pub(super) fn push(&self, line: &[u8]) {
        let own = TELLS.get();
        let mut queue = self.0.lock();
        let room = queue.bounds.room + own.map_or(0, |_| OWN_ROOM);
        if queue.bytes + line.len() > room {
            return queue.lose(own.unwrap_or(1), "nobody takes them");
        }
        queue.bytes += line.len();
        queue.lines.push_back(Line { bytes: line.into(), tells: own.unwrap_or(0) });
        self.0.work.notify_one();
    }

    /// Sets bounds that hold from now on.
    pub(super) fn bound(&self, bounds: Bounds) {
        self.0.lock().bounds = bounds;
        // A thread that did not look at the size may have to from now on.
        self.0.work.notify_one();
    }

    /// Sets who hears of rotations.
    pub(super) fn when_rotated(&self, rotated: Rotated) {
        self.0.lock().rotated = Some(rotated);
    }

    /// Opens the place again, before the next line.
    pub(super) fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.work.notify_one();
    }

    /// Waits until all has been written, but no longer than this.
    pub(super) fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut queue = self.0.lock();
        while queue.busy || !queue.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.0.idle.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's side.
struct Writer {
    shared: Arc<Shared>,
    path: Option<PathBuf>,
    target: Target,
    tell: Tell,
    /// The last line broke off.
    torn: bool,
    /// The last line could not be written.
    failing: bool,
    looks: Looks,
}

/// Looks at the size of the file.
#[derive(Default)]
struct Looks {
    last: Option<Instant>,
    /// The file was moved aside, and nobody has heard of it yet.
    untold: bool,
    /// The file could not be moved aside.
    failing: bool,
}

impl Looks {
    /// Whether a look is due.
    fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= LOOK);
        if due {
            self.last = Some(now);
        }
        due
    }
}

impl Writer {
    fn run(mut self) {
        self.open();
        let shared = self.shared.clone();
        let mut queue = shared.lock();
        loop {
            queue.busy = false;
            if queue.lines.is_empty() {
                shared.idle.notify_all();
            }
            while queue.lines.is_empty() && !queue.reopen && !queue.closed {
                // Others write to the file, too.
                if self.looks_in(&queue).is_some() {
                    queue = shared.work.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                    break;
                }
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.busy = true;
            let reopen = std::mem::take(&mut queue.reopen);
            let look = self.looks_in(&queue).filter(|_| self.looks.due());
            if reopen || look.is_some() {
                let rotated = queue.rotated.clone();
                drop(queue);
                if reopen {
                    self.open();
                }
                if let Some((path, rotation)) = look {
                    self.rotate(&path, rotation, rotated.as_ref());
                }
                queue = shared.lock();
            }
            let Some(line) = queue.lines.pop_front() else {
                if queue.closed {
                    return;
                }
                continue;
            };
            queue.bytes -= line.bytes.len();
            drop(queue);
            self.write(&line);
            queue = shared.lock();
        }
    }

    /// The file whose size is looked at.
    fn looks_in(&self, queue: &Queue) -> Option<(PathBuf, Rotation)> {
        let rotation = queue.bounds.rotation.filter(|rotation| rotation.max_size > 0)?;
        Some((self.path.clone()?, rotation))
    }

    /// Moves the file aside if it is full, opens it anew, and tells of it.
    fn rotate(&mut self, path: &Path, rotation: Rotation, rotated: Option<&Rotated>) {
        match rotation.look(path) {
            Ok(full) => {
                if full {
                    self.open();
                    self.looks.untold = true;
                }
                self.looks.failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.looks.failing, true) {
                    let error = target::words(&error);
                    tracing::warn!(
                        event = "log-not-rotated",
                        error,
                        "the log file grows beyond log.max_size"
                    );
                }
            }
        }
        if self.looks.untold && rotated.is_some_and(|rotated| rotated()) {
            self.looks.untold = false;
        }
    }

    /// Writes a line, and tells of lost ones when it was the last that waited.
    fn write(&mut self, line: &Line) {
        let written = self.put(&line.bytes);
        let failed = std::mem::replace(&mut self.failing, written.is_err());
        if let Err(error) = written
            && !failed
        {
            self.complain(error);
        }
        let mut queue = self.shared.lock();
        match written {
            Err(error) => queue.lose(line.tells.max(1), error),
            Ok(()) if queue.lines.is_empty() && queue.lost > 0 => {
                let (lost, why) = (std::mem::take(&mut queue.lost), queue.why);
                drop(queue);
                TELLS.set(Some(lost));
                (self.tell)(lost, why);
                TELLS.set(None);
            }
            Ok(()) => {}
        }
    }

    fn put(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if self.torn {
            self.put_all(b"\n").map_err(words)?;
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.put_some(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => {
                    self.torn = rest.len() < line.len();
                    return Err(words(error));
                }
            }
        }
        Ok(())
    }

    fn put_all(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let written = self.put_some(bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn put_some(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match retry_on_intr(|| write(self.target.as_fd(), bytes)) {
                // Somebody who shares this standard error has made it not wait.
                Err(Errno::AGAIN) => {
                    let mut ready = [PollFd::new(&self.target, PollFlags::OUT)];
                    retry_on_intr(|| poll(&mut ready, None))?;
                }
                Ok(0) => return Err(Errno::IO),
                other => return other,
            }
        }
    }

    /// Says on standard error, if it takes a line at once, that the file takes none.
    fn complain(&self, error: &str) {
        let (Some(path), Target::File(_)) = (&self.path, &self.target) else { return };
        let stderr = std::io::stderr();
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        if retry_on_intr(|| poll(&mut ready, Some(&Timespec::default()))) == Ok(1) {
            let text = format!("log.file {}: lines are lost: {error}\n", path.display());
            let _ = write(stderr.as_fd(), text.as_bytes());
        }
    }

    /// Opens the place. Where a file cannot be had, standard error takes the lines, with the reason first.
    fn open(&mut self) {
        let Some(path) = &self.path else { return };
        match target::open(path) {
            Ok(file) => self.target = Target::File(file),
            Err(error) => {
                self.target = Target::Stderr(std::io::stderr());
                let text = format!("log.file {}: {}\n", path.display(), target::words(&error));
                let _ = self.put(text.as_bytes());
            }
        }
    }
}

fn words(error: Errno) -> &'static str {
    match error {
        Errno::NOSPC | Errno::DQUOT => "the disk is full",
        Errno::FBIG => "the limit of the size of files is reached",
        Errno::PIPE => "the reader has gone",
        _ => "they cannot be written",
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
