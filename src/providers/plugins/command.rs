//! Runs a program as a source: it may be written in any language and prints one price a line (the grammar is in
//! [`tick_line`]).
//!
//! A program gets an empty standard input, no environment but `PATH`, and a process group of its own, which is killed
//! when the session ends, however it ends. Standard error goes to the log, a few lines a minute. A last line without
//! its end counts only if the program exits with status 0.

use super::tick_line;
use crate::model::Symbol;
use crate::programs::{Group, Outlet, StderrLog};
use crate::providers::wire::push::MessageReader;
use crate::providers::{Fault, PriceProvider, Sink};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// After this many lines, reading pauses until this time is over: some ten thousand lines a second. A program that
/// prints more waits at its pipe; the feeder's other sources do not wait for it.
const BATCH: u32 = 100;
const BATCH_TIME: Duration = Duration::from_millis(10);
/// A program and its output usually end together; longest wait for the other one.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a batch of what was left in the pipe, which is not much.
const PAUSE: Duration = Duration::from_millis(1);

/// A program that is a source.
pub(in crate::providers) struct ProgramSource {
    program: Vec<String>,
    grammar: Grammar,
    no_tick: Duration,
    stderr: StderrLog,
}

/// The meaning of a line.
pub(in crate::providers) struct Grammar {
    /// The symbol of a line that names none.
    pub symbol: Symbol,
    /// The pairs of lines that name none.
    pub pairs: BTreeMap<Symbol, Symbol>,
}

impl Grammar {
    /// Reads a line; returns whether it contained a price.
    fn line(&self, line: &[u8], out: &mut dyn Sink) -> Result<bool, Fault> {
        let Some(tick_line::TickLine { mut tick, paired, .. }) = tick_line::read(line, &self.symbol)? else {
            return Ok(false);
        };
        if !paired && let Some(pair) = self.pairs.get(&tick.symbol) {
            tick.pair = pair.clone();
        }
        out.tick(tick);
        Ok(true)
    }
}

impl MessageReader for Grammar {
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        self.line(message, out).map(|_| ())
    }
}

impl ProgramSource {
    pub(in crate::providers) fn new(program: Vec<String>, grammar: Grammar, no_tick: Duration) -> Self {
        Self { program, grammar, no_tick, stderr: StderrLog::default() }
    }

    /// Reads the output until the program ends or gives no more prices.
    async fn listen(&mut self, group: &mut Group, lines: &mut LineBuffer, out: &mut dyn Sink) -> Fault {
        let (mut ticked, mut batch, mut count) = (Instant::now(), Instant::now(), 0);
        loop {
            let full = count >= BATCH;
            let outlet = tokio::select! {
                outlet = group.outlet(!full) => outlet,
                () = sleep_until(ticked + self.no_tick) => {
                    return Fault::Retry(format!("no price for {:?}", self.no_tick));
                }
                () = sleep_until(batch + BATCH_TIME), if full => {
                    (batch, count) = (Instant::now(), 0);
                    continue;
                }
            };
            match outlet {
                Outlet::Out(bytes) => match lines.push(bytes, |line| self.line(line, out)) {
                    Ok(read) => {
                        // A piece without an end of a line costs, too.
                        count += read.lines.max(1);
                        if read.ticks > 0 {
                            ticked = Instant::now();
                        }
                    }
                    Err(fault) => return fault,
                },
                Outlet::Err(bytes) => count += self.stderr.push(&self.program[0], bytes).max(1),
                Outlet::End => return self.ended(group, lines, out).await,
            }
        }
    }

    /// Called when the program or its output has ended: reads the rest and waits a moment for the other end.
    async fn ended(&mut self, group: &mut Group, lines: &mut LineBuffer, out: &mut dyn Sink) -> Fault {
        let (until, mut count) = (Instant::now() + GRACE, 0);
        loop {
            // A child that floods is never out of time by `timeout_at` alone: there is always something to read.
            let outlet = match Instant::now() < until {
                true => timeout_at(until, group.rest()).await.ok(),
                false => None,
            };
            match outlet {
                Some(Outlet::Out(bytes)) => match lines.push(bytes, |line| self.line(line, out)) {
                    Ok(read) => count += read.lines.max(1),
                    Err(fault) => return fault,
                },
                Some(Outlet::Err(bytes)) => count += self.stderr.push(&self.program[0], bytes).max(1),
                Some(Outlet::End) => break,
                // A child of the program goes on writing: its last line is not whole.
                None => {
                    lines.clear();
                    break;
                }
            }
            if count >= BATCH {
                count = 0;
                sleep(PAUSE).await;
            }
        }
        Fault::Retry("the program closed its output".to_owned())
    }

    /// Records and reads a line; returns whether it contained a price.
    fn line(&self, line: &[u8], out: &mut dyn Sink) -> bool {
        out.raw(line);
        self.grammar.line(line, out).unwrap_or_else(|fault| {
            out.bad(fault.to_string());
            false
        })
    }
}

#[async_trait]
impl PriceProvider for ProgramSource {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let mut group = match Group::start(&self.program) {
            Ok(group) => group,
            Err(error) => return Fault::Retry(format!("cannot be started: {error}")),
        };
        let mut lines = LineBuffer::default();
        let fault = self.listen(&mut group, &mut lines, out).await;
        self.stderr.end(&self.program[0]);
        // The exit status says more than the end of the output.
        match (group.exited(), group.end().await) {
            (true, Some(status)) => {
                // Half a line of a program that was killed or failed would be a wrong price.
                if status.success() && !lines.is_empty() {
                    let _ = lines.push(b"\n", |line| self.line(line, out));
                }
                Fault::Retry(format!("the program ended: {status}"))
            }
            _ => fault,
        }
    }
}

/// Contents of a piece of output.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    lines: u32,
    ticks: u32,
}

/// Assembles lines from pieces. Holds at most one incomplete line.
#[derive(Debug, Default)]
struct LineBuffer(Vec<u8>);

impl LineBuffer {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops an incomplete line.
    fn clear(&mut self) {
        self.0.clear();
    }

    /// Passes each complete line to `read`, which returns whether it contained a price.
    fn push(&mut self, bytes: &[u8], mut read: impl FnMut(&[u8]) -> bool) -> Result<Read, Fault> {
        let mut all = Read::default();
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if self.0.len() + piece.len() > tick_line::LONGEST {
                return Err(Fault::Retry(format!("a line of more than {} bytes", tick_line::LONGEST)));
            }
            self.0.extend_from_slice(piece);
            if pieces.peek().is_some() {
                all.lines += 1;
                all.ticks += u32::from(read(&self.0));
                self.0.clear();
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
