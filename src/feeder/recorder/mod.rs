//! The recorder: what comes from the sources goes to a file, and nobody waits for it.
//!
//! ```text
//! sessions ──lines──▶ a buffer of bounded size ──▶ one thread ──▶ reel (the file, its turn, its lock)
//! ```
//!
//! A full buffer loses lines, and the file says how many. A file that cannot be written is told of once; then it is
//! tried again later and later, and the feeder knows nothing of it. The form is that of `providers::recording`.

mod reel;

use crate::model::Backoff;
use crate::providers::Fault;
use crate::providers::recording::{self, Event, HEAD};
use reel::{Reel, Target};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of lines that may wait for the thread: some seconds of the wildest market.
const WAITING: usize = 4 << 20;
/// Pauses after the file could not be written.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last lines; tests read the file after that, on a busy machine, too.
const FAREWELL: Duration = Duration::from_secs(if cfg!(test) { 20 } else { 1 });
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
    pub(super) fn tape(&self, source: &str) -> Tape {
        Tape { shared: self.shared.clone(), source: source.into() }
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
        let waited = self.shared.ended.wait_timeout_while(state, FAREWELL, |state| !state.ended);
        drop(waited);
    }
}

/// Records one source.
#[derive(Clone)]
pub(super) struct Tape {
    shared: Arc<Shared>,
    source: Arc<str>,
}

impl Tape {
    /// A session of that leg begins.
    pub(super) fn session(&self, leg: &'static str) -> Take {
        let take = Take { tape: self.clone(), leg, ended: false };
        take.line(&Event::Begin);
        take
    }
}

/// Records one session. Dropped, it says that the session was cut off from our side.
pub(super) struct Take {
    tape: Tape,
    leg: &'static str,
    ended: bool,
}

impl Take {
    /// What came, with the status of an answer over HTTP.
    pub(super) fn raw(&self, status: Option<u16>, bytes: &[u8]) {
        self.line(&Event::Raw(status, bytes));
    }

    /// How the session ended.
    pub(super) fn end(&mut self, fault: &Fault) {
        self.ended = true;
        self.line(&Event::End(&fault.to_string()));
    }

    fn line(&self, event: &Event<'_>) {
        let shared = &self.tape.shared;
        if !shared.on.load(Ordering::Relaxed) {
            return;
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(at.as_nanos()).unwrap_or(i64::MAX);
        let mut state = shared.state();
        let before = state.lines.len();
        // After a loss nothing gets in before the file says so: lines stay where they belong.
        if state.lost == 0 {
            recording::write(&mut state.lines, at, &self.tape.source, self.leg, event);
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

impl Drop for Take {
    fn drop(&mut self) {
        if !self.ended {
            self.line(&Event::End(recording::CUT_OFF));
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
    let mut desk =
        Desk { shared, target: None, reel: None, failures: Told::default(), losses: Told::default() };
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
            if let Some(lost) = desk.losses.tell(job.lost) {
                tracing::warn!(event = "recording", lost, "lines were not recorded");
            }
        }
        carried.append(&mut job.lines);
        end = job.end;
        // Lines are of the file before, where there was one and it takes them.
        if desk.target.is_some() {
            desk.write(&mut carried, job.turn.is_some() || end);
        }
        if let Some(target) = job.turn {
            // A file that cannot be had is told of now, and not with the first line.
            (desk.target, desk.reel, desk.failures) = (target, None, Told::default());
            desk.write(&mut carried, end);
        }
        // A buffer that grew in a burst is not kept for ever.
        carried.shrink_to(WAITING / 16);
    }
    // The lock goes first: who waits for the end may be about to take it.
    drop(desk);
    shared.state().ended = true;
    shared.ended.notify_all();
}

/// Says a thing now and not again for a while, with how often it was.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    count: u64,
}

impl Told {
    fn tell(&mut self, count: u64) -> Option<u64> {
        self.count += count;
        if self.at.is_some_and(|at| at.elapsed() < TOLD) {
            return None;
        }
        self.at = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

struct Desk<'a> {
    shared: &'a Shared,
    target: Option<Target>,
    reel: Option<Reel>,
    failures: Told,
    losses: Told,
}

impl Desk<'_> {
    /// Writes all of it, however often it takes. Gives up when there is something else to do, at once in a `hurry`;
    /// what is left then is for the next file.
    fn write(&mut self, lines: &mut Vec<u8>, hurry: bool) {
        let Some(target) = self.target.clone() else { return lines.clear() };
        let file = target.path.display();
        let (mut left, mut failed, mut told) = (&lines[..], false, false);
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        while let Err(error) = self.attempt(&target, &mut left) {
            // Whatever was wrong with it, the next try opens it anew.
            self.reel = None;
            if !std::mem::replace(&mut failed, true) && self.failures.tell(1).is_some() {
                told = true;
                tracing::error!(event = "recording", %file, %error, "recording pauses and is tried again");
            }
            if hurry || self.shared.pause(backoff.next(fastrand::f64())) {
                break;
            }
        }
        if told && left.is_empty() && self.reel.is_some() {
            tracing::info!(event = "recording", %file, "recording goes on");
        }
        let gone = lines.len() - left.len();
        lines.drain(..gone);
    }

    fn attempt(&mut self, target: &Target, left: &mut &[u8]) -> std::io::Result<()> {
        let kept = self.reel.take().and_then(|mut reel| reel.is_in_place().then_some(reel));
        let reel = match kept {
            Some(reel) => reel,
            None => Reel::open(target)?,
        };
        self.reel.insert(reel).write(left)
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
