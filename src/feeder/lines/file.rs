//! Follows one file by a thread of its own: a disk that hangs stops nothing else.

use super::follower::{Follower, Seen};
use super::pace::Pace;
use super::sink::LineSink;
use crate::model::LogLimiter;
use crate::os::clock;
use crate::protocol::cluster::Mark;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Pause between two looks at a file without news.
const LOOK: Duration = Duration::from_millis(250);
/// Pause between two checks whether the master has caught up.
const BEHIND: Duration = Duration::from_millis(20);
/// Stack size: the call depth is small.
const STACK: usize = 256 << 10;

/// The handle of the thread. Dropping it ends the thread; a hung one ends when its disk answers.
pub(super) struct Thread {
    stop: Arc<AtomicBool>,
    thread: thread::Thread,
}

impl Thread {
    /// Begins to follow a file, behind the mark if there is one.
    ///
    /// # Errors
    /// As `pthread_create(3)`.
    pub(super) fn start(path: &Path, mark: Option<Mark>, sink: LineSink) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut follow = FollowedFile {
            path: path.to_owned(),
            sink,
            stop: stop.clone(),
            pace: Pace::default(),
            state: FileState::There,
            limiter: LogLimiter::default(),
        };
        let follower = Follower::new(path.to_owned(), mark);
        let name = thread::Builder::new().name("lines".to_owned()).stack_size(STACK);
        let handle = name.spawn(move || follow.work(follower))?;
        Ok(Self { stop, thread: handle.thread().clone() })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

/// The logged state of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FileState {
    There,
    Missing,
    Refused(String),
}

/// The thread's side.
struct FollowedFile {
    path: PathBuf,
    sink: LineSink,
    stop: Arc<AtomicBool>,
    pace: Pace,
    state: FileState,
    limiter: LogLimiter<FileState>,
}

impl FollowedFile {
    fn work(&mut self, mut follower: Follower) {
        while !self.stopped() {
            match follower.look(self.sink.longest()) {
                Seen::Some(bytes, lines) => {
                    self.pace.bytes(bytes, clock::mono());
                    lines.into_iter().for_each(|(text, mark)| self.say(text, mark));
                    self.hold();
                }
                Seen::Nothing => self.pause(FileState::There),
                Seen::Missing => self.pause(FileState::Missing),
                Seen::Refused(why) => self.pause(FileState::Refused(why)),
            }
        }
    }

    fn say(&mut self, text: Box<str>, mark: Mark) {
        self.hold();
        // Drops the line if the thread was stopped: no stream carries the file any more.
        if !self.stopped() {
            self.pace.line(clock::mono());
            self.sink.say(text, Some(mark));
        }
    }

    /// Waits until more may be read.
    fn hold(&self) {
        self.rest(self.pace.wait(clock::mono()));
        while self.sink.is_full() && !self.stopped() {
            self.rest(BEHIND);
        }
    }

    fn pause(&mut self, state: FileState) {
        self.is(state);
        self.rest(LOOK);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps for this time, or until the thread is stopped.
    fn rest(&self, time: Duration) {
        let end = clock::mono().after(time);
        while !self.stopped() {
            let left = end.since(clock::mono());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Logs a change of the state.
    fn is(&mut self, state: FileState) {
        let now = clock::mono();
        let news = if state == self.state {
            self.limiter.wake(now)
        } else {
            self.state = state.clone();
            self.limiter.change(state, now).map(|hushed| (self.state.clone(), hushed))
        };
        let (path, Some((state, hushed))) = (self.path.display(), news) else { return };
        match state {
            FileState::There => tracing::info!(event = "stream-file", %path, hushed, "it is there"),
            FileState::Missing => {
                tracing::warn!(event = "stream-file", %path, hushed, "there is no such file: waited for")
            }
            FileState::Refused(why) => {
                tracing::warn!(event = "stream-file", %path, hushed, why, "cannot be read")
            }
        }
    }
}
