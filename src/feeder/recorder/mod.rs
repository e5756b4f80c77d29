//! Records what the sources send in a file, without making anything wait.
//!
//! ```text
//! sessions ──lines──▶ a buffer of bounded size ──▶ one thread ──▶ recording_file (append, rotate, lock)
//! ```
//!
//! A full buffer drops lines, and the file says how many. A file that cannot be written is logged once and tried again
//! with growing pauses; the feeder is not affected. `providers::recording` defines the format.

mod recording_file;

use crate::model::Backoff;
use crate::providers::Fault;
use crate::providers::recording::{self, HEAD, RecordedEvent};
use recording_file::{RecordingFile, Target};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of lines that may wait for the thread: of one source half of it, some seconds of the busiest market.
const WAITING: usize = 8 << 20;
/// Pauses after the file could not be written.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Longest wait of the process's end for the last lines; tests read the file after that, on a busy machine, too.
const CLOSING: Duration = Duration::from_secs(if cfg!(test) { 20 } else { 1 });
/// Least time between two log lines about failures or losses.
const TOLD: Duration = Duration::from_secs(60);

/// The feeder's recorder. Dropping it writes what waits, for a moment.
#[derive(Default)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
    target: Option<Target>,
    running: bool,
}

#[derive(Default)]
struct Shared {
    on: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// What each source has in `lines`.
    sources: BTreeMap<Arc<str>, Waiting>,
    /// Longest line that the file takes.
    longest: usize,
    /// The next file, if it has changed.
    next: Option<Option<Target>>,
    closing: bool,
    ended: bool,
}

/// The part of one source in what waits.
#[derive(Default)]
struct Waiting {
    bytes: usize,
    /// Lines dropped after those, for lack of room.
    lost: u64,
}

impl State {
    /// Adds a line. A source may fill as much as it leaves free, so that no source takes the room of the others.
    fn add(&mut self, source: &Arc<str>, write: impl FnOnce(&mut Vec<u8>)) {
        let own = self.sources.entry(source.clone()).or_default();
        let before = self.lines.len();
        // After a loss nothing of the source is recorded before the loss itself, so that lines stay in order.
        if own.lost == 0 {
            write(&mut self.lines);
        }
        let line = self.lines.len() - before;
        let room = WAITING.saturating_sub(before);
        if own.lost > 0 || line > room || own.bytes + line > room || line > self.longest {
            self.lines.truncate(before);
            own.lost += 1;
        } else {
            own.bytes += line;
        }
    }

    fn lost(&self) -> u64 {
        self.sources.values().map(|own| own.lost).sum()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Records to this file from now on, at most `max` bytes; `None`: nowhere. Sessions go on.
    pub(super) fn adopt(&mut self, path: Option<&Path>, max: u64) {
        let target = path.map(|path| Target { path: path.to_owned(), half: max / 2 });
        if target == self.target {
            return;
        }
        self.target.clone_from(&target);
        self.shared.on.store(target.is_some(), Ordering::Relaxed);
        let mut state = self.shared.state();
        state.longest = target.as_ref().map_or(0, Target::longest);
        state.next = Some(target);
        drop(state);
        self.shared.changed.notify_one();
        if !self.running {
            let shared = self.shared.clone();
            let begun = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || work(&shared));
            match begun {
                Ok(_) => self.running = true,
                Err(error) => {
                    self.shared.on.store(false, Ordering::Relaxed);
                    tracing::error!(event = "recording", %error, "nothing is recorded");
                }
            }
        }
    }

    /// The recorder of one source.
    pub(super) fn for_source(&self, source: &str) -> SourceRecorder {
        SourceRecorder { shared: self.shared.clone(), source: source.into() }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.running {
            return;
        }
        let mut state = self.shared.state();
        state.closing = true;
        self.shared.changed.notify_one();
        let waited = self.shared.ended.wait_timeout_while(state, CLOSING, |state| !state.ended);
        drop(waited);
    }
}

/// Records one source.
#[derive(Clone)]
pub(super) struct SourceRecorder {
    shared: Arc<Shared>,
    source: Arc<str>,
}

impl SourceRecorder {
    /// Records the beginning of a session of that leg.
    pub(super) fn session(&self, leg: &'static str) -> SessionRecorder {
        let take = SessionRecorder { origin: self.clone(), leg, ended: false };
        take.line(&RecordedEvent::Begin);
        take
    }
}

/// Records one session. Dropping it records that the session was cut off by this side.
pub(super) struct SessionRecorder {
    origin: SourceRecorder,
    leg: &'static str,
    ended: bool,
}

impl SessionRecorder {
    /// Records a payload; with a status it is an answer over HTTP.
    pub(super) fn raw(&self, status: Option<u16>, bytes: &[u8]) {
        self.line(&RecordedEvent::Raw(status, bytes));
    }

    /// Records how the session ended.
    pub(super) fn end(&mut self, fault: &Fault) {
        self.ended = true;
        self.line(&RecordedEvent::End(&fault.to_string()));
    }

    fn line(&self, event: &RecordedEvent<'_>) {
        let shared = &self.origin.shared;
        if !shared.on.load(Ordering::Relaxed) {
            return;
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(at.as_nanos()).unwrap_or(i64::MAX);
        let mut state = shared.state();
        let source = &self.origin.source;
        state.add(source, |lines| recording::write(lines, at, source, self.leg, event));
        drop(state);
        shared.changed.notify_one();
    }
}

impl Drop for SessionRecorder {
    fn drop(&mut self) {
        if !self.ended {
            self.line(&RecordedEvent::End(recording::CUT_OFF));
        }
    }
}

/// The thread's work, in this order.
struct Job {
    lines: Vec<u8>,
    /// Lines lost after those.
    lost: u64,
    /// Another file, or none.
    turn: Option<Option<Target>>,
    end: bool,
}

impl Shared {
    /// Waits for work.
    fn job(&self) -> Job {
        let idle = |state: &mut State| {
            state.lines.is_empty() && state.lost() == 0 && state.next.is_none() && !state.closing
        };
        let state = self.changed.wait_while(self.state(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        Job {
            lines: std::mem::take(&mut state.lines),
            lost: std::mem::take(&mut state.sources).values().map(|own| own.lost).sum(),
            turn: state.next.take(),
            end: state.closing,
        }
    }

    /// Waits until the time is over, or until the work has changed: then true.
    fn pause(&self, time: Duration) -> bool {
        let same = |state: &mut State| state.next.is_none() && !state.closing;
        let (state, _) =
            self.changed.wait_timeout_while(self.state(), time, same).unwrap_or_else(PoisonError::into_inner);
        state.next.is_some() || state.closing
    }
}

/// The thread's loop: only this thread touches the file.
fn work(shared: &Shared) {
    let mut writer = Writer {
        shared,
        target: None,
        output: None,
        failures: LossLimiter::default(),
        losses: LossLimiter::default(),
    };
    let (mut carried, mut end) = (Vec::new(), false);
    while !end {
        let mut job = shared.job();
        if carried.len() > WAITING {
            // Several bad paths in a row: the lines since the first one are lost.
            job.lost += job.lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            job.lines.clear();
        }
        if job.lost > 0 {
            job.lines.extend_from_slice(format!("# lost {}\n", job.lost).as_bytes());
            if let Some(lost) = writer.losses.tell(job.lost) {
                tracing::warn!(event = "recording", lost, "lines were not recorded");
            }
        }
        carried.append(&mut job.lines);
        end = job.end;
        // Lines go to the previous file, if there is one and it takes them.
        if writer.target.is_some() {
            writer.write(&mut carried, job.turn.is_some() || end);
        }
        if let Some(target) = job.turn {
            // Opens the file now, so that a failure is logged before the first line.
            (writer.target, writer.output, writer.failures) = (target, None, LossLimiter::default());
            writer.write(&mut carried, end);
        }
        // Frees a buffer that grew in a burst.
        carried.shrink_to(WAITING / 16);
    }
    // Unlocks the file first: the next owner may wait for this thread's end.
    drop(writer);
    shared.state().ended = true;
    shared.ended.notify_all();
}

/// Limits a log line, and counts what was not logged.
#[derive(Default)]
struct LossLimiter {
    at: Option<Instant>,
    count: u64,
}

impl LossLimiter {
    fn tell(&mut self, count: u64) -> Option<u64> {
        self.count += count;
        if self.at.is_some_and(|at| at.elapsed() < TOLD) {
            return None;
        }
        self.at = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    target: Option<Target>,
    output: Option<RecordingFile>,
    failures: LossLimiter,
    losses: LossLimiter,
}

impl Writer<'_> {
    /// Writes all lines, with as many tries as needed. Gives up if there is other work, at once in a `hurry`; the rest
    /// is left for the next file.
    fn write(&mut self, lines: &mut Vec<u8>, hurry: bool) {
        let Some(target) = self.target.clone() else { return lines.clear() };
        let file = target.path.display();
        let (mut left, mut failed, mut told) = (&lines[..], false, false);
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        while let Err(error) = self.attempt(&target, &mut left) {
            // The next try opens the file again, whatever the error.
            self.output = None;
            if !std::mem::replace(&mut failed, true) && self.failures.tell(1).is_some() {
                told = true;
                tracing::error!(event = "recording", %file, %error, "recording pauses and is tried again");
            }
            if hurry || self.shared.pause(backoff.next(fastrand::f64())) {
                break;
            }
        }
        if told && left.is_empty() && self.output.is_some() {
            tracing::info!(event = "recording", %file, "recording goes on");
        }
        let gone = lines.len() - left.len();
        lines.drain(..gone);
    }

    fn attempt(&mut self, target: &Target, left: &mut &[u8]) -> std::io::Result<()> {
        let kept = self.output.take().and_then(|mut output| output.is_in_place().then_some(output));
        let output = match kept {
            Some(output) => output,
            None => RecordingFile::open(target)?,
        };
        self.output.insert(output).write(left)
    }
}

impl Target {
    /// Longest line that fits into a file of its own.
    fn longest(&self) -> usize {
        usize::try_from(self.half).unwrap_or(usize::MAX).saturating_sub(HEAD.len())
    }
}

#[cfg(test)]
mod tests;
