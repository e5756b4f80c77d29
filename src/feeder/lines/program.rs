//! Reads what a program prints. A program that ends is started again with growing pauses; a flood of lines waits in its
//! pipe.

use super::pace::Pace;
use super::sink::LineSink;
use super::splitter::Splitter;
use crate::model::{Backoff, LogLimiter};
use crate::os::clock;
use crate::programs::{Group, Outlet, StderrLog};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Pauses between two runs of a program.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A run of this length starts the pauses anew.
const WELL: Duration = Duration::from_secs(5);
/// A program and its output usually end together; longest wait for the other one.
const GRACE: Duration = Duration::from_secs(1);
/// Pause between two checks whether the master has caught up.
const BEHIND: Duration = Duration::from_millis(20);

/// Runs a program until this future is dropped, which kills the program and its group.
pub(super) async fn run(program: Vec<String>, sink: LineSink) {
    let name = program.first().cloned().unwrap_or_default();
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    let (mut stderr, mut limiter) = (StderrLog::default(), LogLimiter::<()>::default());
    loop {
        let begun = clock::mono();
        let why = live(&program, &sink, &mut stderr).await;
        stderr.end(&name);
        let now = clock::mono();
        if now.since(begun) >= WELL {
            backoff.reset();
        }
        if let Some(hushed) = limiter.change((), now) {
            tracing::warn!(event = "stream-program", program = name, why, hushed, "it is started again");
        }
        sleep(backoff.next(fastrand::f64())).await;
    }
}

/// Runs the program once; returns how it ended.
async fn live(program: &[String], sink: &LineSink, stderr: &mut StderrLog) -> String {
    let mut group = match Group::start(program) {
        Ok(group) => group,
        Err(error) => return format!("cannot be started: {error}"),
    };
    let mut output =
        ProgramOutput { sink, stderr, name: &program[0], lines: Splitter::default(), pace: Pace::default() };
    while output.take(group.outlet(true).await).await {}
    let until = Instant::now() + GRACE;
    // Reads what is left in the pipe, unless a child of the program fills it for ever.
    let mut whole = false;
    while Instant::now() < until
        && let Ok(outlet) = timeout_at(until, group.rest()).await
        && !whole
    {
        whole = !output.take(outlet).await;
    }
    let rest = output.lines.rest(sink.longest()).filter(|_| whole);
    match (group.exited(), group.end().await) {
        (true, Some(status)) => {
            // Half a line of a program that was killed or failed is none.
            if let Some(rest) = rest.filter(|_| status.success()) {
                sink.say(rest, None);
            }
            format!("the program ended: {status}")
        }
        _ => "the program closed its output".to_owned(),
    }
}

/// The output of one run.
struct ProgramOutput<'a> {
    sink: &'a LineSink,
    stderr: &'a mut StderrLog,
    name: &'a str,
    lines: Splitter,
    pace: Pace,
}

impl ProgramOutput<'_> {
    /// Takes a piece of output; false at the end.
    async fn take(&mut self, outlet: Outlet<'_>) -> bool {
        let now = clock::mono();
        match outlet {
            Outlet::Out(bytes) => {
                self.pace.bytes(bytes.len(), now);
                for line in self.lines.push(bytes, self.sink.longest()) {
                    self.sink.say(line.text, None);
                    self.pace.line(clock::mono());
                    self.hold().await;
                }
            }
            Outlet::Err(bytes) => {
                self.pace.bytes(bytes.len(), now);
                self.stderr.push(self.name, bytes);
            }
            Outlet::End => return false,
        }
        self.hold().await;
        true
    }

    /// Waits until more may be read.
    async fn hold(&self) {
        let wait = self.pace.wait(clock::mono());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        while self.sink.is_full() {
            sleep(BEHIND).await;
        }
    }
}
