//! The recorder: what comes from the sources goes to a file, and nobody waits for it.
//!
//! ```text
//! sessions ──lines──▶ a buffer of bounded size ──▶ one thread ──▶ output (the file, its turn, its lock)
//! ```
//!
//! A full buffer loses lines, and the file says how many. A file that cannot be written is told of once; then it is
//! tried again later and later, and the feeder knows nothing of it. The form is that of `providers::recording`.

mod recording_file;

use crate::model::Backoff;
use crate::providers::Fault;
use crate::providers::recording::{self, HEAD, RecordedEvent};
use recording_file::{RecordingFile, Target};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of lines that may wait for the thread: some seconds of the wildest market.
const WAITING: usize = 4 << 20;
/// Pauses after the file could not be written.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last lines.
const CLOSING: Duration = Duration::from_secs(1);
/// Failures and losses are told of at most so often.
const TOLD: Duration = Duration::from_secs(60);

/// The one of the feeder. Dropped, it writes what waits, for a moment.
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
    /// Lines that found no room after those.
    lost: u64,
    /// Longest line that the file takes.
    longest: usize,
    /// Where to go on, where that has changed.
    next: Option<Option<Target>>,
    closing: bool,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// From now on records there, at most `max` bytes; `None`: nowhere. Sessions go on as they are.
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

    /// What a source is recorded with.
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
    /// A session of that leg begins.
    pub(super) fn session(&self, leg: &'static str) -> SessionRecorder {
        let take = SessionRecorder { origin: self.clone(), leg, ended: false };
        take.line(&RecordedEvent::Begin);
        take
    }
}

/// Records one session. Dropped, it says that the session was cut off from our side.
pub(super) struct SessionRecorder {
    origin: SourceRecorder,
    leg: &'static str,
    ended: bool,
}

impl SessionRecorder {
    /// What came, with the status of an answer over HTTP.
    pub(super) fn raw(&self, status: Option<u16>, bytes: &[u8]) {
        self.line(&RecordedEvent::Raw(status, bytes));
    }

    /// How the session ended.
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
        let before = state.lines.len();
        // After a loss nothing gets in before the file says so: lines stay where they belong.
        if state.lost == 0 {
            recording::write(&mut state.lines, at, &self.origin.source, self.leg, event);
        }
        let longest = state.longest;
        if state.lost > 0 || state.lines.len() > WAITING || state.lines.len() - before > longest {
            state.lines.truncate(before);
            state.lost += 1;
        }
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

/// What the thread has to do, in this order.
struct Job {
    lines: Vec<u8>,
    /// So many were lost after them.
    lost: u64,
    /// Another file, or none.
    turn: Option<Option<Target>>,
    end: bool,
}

impl Shared {
    /// Waits for something to do.
    fn job(&self) -> Job {
        let idle = |state: &mut State| {
            state.lines.is_empty() && state.lost == 0 && state.next.is_none() && !state.closing
        };
        let state = self.changed.wait_while(self.state(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        Job {
            lines: std::mem::take(&mut state.lines),
            lost: std::mem::take(&mut state.lost),
            turn: state.next.take(),
            end: state.closing,
        }
    }

    /// Waits until the time is over, or what is to be done has changed. True when it has.
    fn pause(&self, time: Duration) -> bool {
        let same = |state: &mut State| state.next.is_none() && !state.closing;
        let (state, _) =
            self.changed.wait_timeout_while(self.state(), time, same).unwrap_or_else(PoisonError::into_inner);
        state.next.is_some() || state.closing
    }
}

/// The thread: it alone touches the file.
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
            // One bad path after another: what came since the first is lost.
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
        // Lines are of the file before, where there was one and it takes them.
        if writer.target.is_some() {
            writer.write(&mut carried, job.turn.is_some() || end);
        }
        if let Some(target) = job.turn {
            // A file that cannot be had is told of now, and not with the first line.
            (writer.target, writer.output, writer.failures) = (target, None, LossLimiter::default());
            writer.write(&mut carried, end);
        }
        // A buffer that grew in a burst is not kept for ever.
        carried.shrink_to(WAITING / 16);
    }
    // The lock goes first: who waits for the end may be about to take it.
    drop(writer);
    shared.state().ended = true;
    shared.ended.notify_all();
}

/// Says a thing now and not again for a while, with how often it was.
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
    /// Writes all of it, however often it takes. Gives up when there is something else to do, at once in a `hurry`;
    /// what is left then is for the next file.
    fn write(&mut self, lines: &mut Vec<u8>, hurry: bool) {
        let Some(target) = self.target.clone() else { return lines.clear() };
        let file = target.path.display();
        let (mut left, mut failed, mut told) = (&lines[..], false, false);
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        while let Err(error) = self.attempt(&target, &mut left) {
            // Whatever was wrong with it, the next try opens it anew.
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
