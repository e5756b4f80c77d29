//! The driver of programs: a source in any language, which prints one price a line (the grammar is in [`line`]).
//!
//! A program gets an empty standard input, no environment but `PATH`, and a process group of its own, which is killed
//! whole when the session ends, however it ends. What it says on standard error goes to the log, a few lines a minute.

use super::dialect::Listen;
use super::{Fault, PriceProvider, Sink, line};
use crate::model::Symbol;
use crate::programs::{Group, Outlet, StderrLog};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// After so many lines no more are read before this time is over: some ten thousand in a second. A program that prints
/// more waits at its pipe; the feeder's other sources do not wait for it.
const BATCH: u32 = 100;
const BATCH_TIME: Duration = Duration::from_millis(10);
/// The end of a program and the end of its output come together, or one of them comes too late to wait for.
const GRACE: Duration = Duration::from_secs(1);

/// A program that is a source.
pub(super) struct Command {
    program: Vec<String>,
    grammar: Grammar,
    no_tick: Duration,
    stderr: StderrLog,
}

/// What a line means.
pub(super) struct Grammar {
    /// Meant where a line names none.
    pub symbol: Symbol,
    /// Meant where a line names none.
    pub pairs: BTreeMap<Symbol, Symbol>,
}

impl Grammar {
    /// Says whether there was a price in it.
    fn line(&self, line: &[u8], out: &mut dyn Sink) -> Result<bool, Fault> {
        let Some(line::Line { mut tick, paired, .. }) = line::read(line, &self.symbol)? else {
            return Ok(false);
        };
        if !paired && let Some(pair) = self.pairs.get(&tick.symbol) {
            tick.pair = pair.clone();
        }
        out.tick(tick);
        Ok(true)
    }
}

impl Listen for Grammar {
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        self.line(message, out).map(|_| ())
    }
}

impl Command {
    pub(super) fn new(program: Vec<String>, grammar: Grammar, no_tick: Duration) -> Self {
        Self { program, grammar, no_tick, stderr: StderrLog::default() }
    }

    /// Reads what the program says until it ends or is of no use any more.
    async fn listen(&mut self, group: &mut Group, out: &mut dyn Sink) -> Fault {
        let mut lines = Lines::default();
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
                        count += read.lines;
                        if read.ticks > 0 {
                            ticked = Instant::now();
                        }
                    }
                    Err(fault) => return fault,
                },
                Outlet::Err(bytes) => count += self.stderr.push(&self.program[0], bytes),
                Outlet::End => return self.ended(group, lines, out).await,
            }
        }
    }

    /// The program or its output has ended: what is left is read, and the other end waited for, both for a moment.
    async fn ended(&mut self, group: &mut Group, mut lines: Lines, out: &mut dyn Sink) -> Fault {
        let until = Instant::now() + GRACE;
        while let Ok(outlet) = timeout_at(until, group.rest()).await {
            match outlet {
                Outlet::Out(bytes) => {
                    if let Err(fault) = lines.push(bytes, |line| self.line(line, out)) {
                        return fault;
                    }
                }
                Outlet::Err(bytes) => _ = self.stderr.push(&self.program[0], bytes),
                Outlet::End => break,
            }
        }
        let whole = lines.push(b"\n", |line| self.line(line, out));
        whole.err().unwrap_or_else(|| Fault::Retry("the program closed its output".to_owned()))
    }

    /// Says whether there was a price in it.
    fn line(&self, line: &[u8], out: &mut dyn Sink) -> bool {
        out.raw(line);
        self.grammar.line(line, out).unwrap_or_else(|fault| {
            out.bad(fault.to_string());
            false
        })
    }
}

#[async_trait]
impl PriceProvider for Command {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let mut group = match Group::start(&self.program) {
            Ok(group) => group,
            Err(error) => return Fault::Retry(format!("cannot be started: {error}")),
        };
        let fault = self.listen(&mut group, out).await;
        self.stderr.end(&self.program[0]);
        // How it ended is worth more than that its output has.
        match (group.exited(), group.end().await) {
            (true, Some(status)) => Fault::Retry(format!("the program ended: {status}")),
            _ => fault,
        }
    }
}

/// What a piece of output held.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    lines: u32,
    ticks: u32,
}

/// Lines out of pieces. Holds at most one line that is not whole.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Says each whole line to `read`, which says whether it held a price.
    fn push(&mut self, bytes: &[u8], mut read: impl FnMut(&[u8]) -> bool) -> Result<Read, Fault> {
        let mut all = Read::default();
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if self.0.len() + piece.len() > line::LONGEST {
                return Err(Fault::Retry(format!("a line of more than {} bytes", line::LONGEST)));
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
