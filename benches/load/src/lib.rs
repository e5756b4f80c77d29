//! Load for a cluster on this machine, and its figures: sessions opened, quotes and their round trip, fan-out of one
//! message to all, the server's CPU time per delivery, its memory per idle session.
//!
//! The tool opens real sessions over TCP on one thread, so its own work is part of the latencies it reports. It
//! addresses loopback only; count and time are bounded.

mod chaos;
mod client;
mod comeback;
mod connect;
mod counters;
mod crowd;
mod decoder;
mod fanout;
mod guest;
mod habit;
mod hostile;
mod jitter;
mod jitter_report;
mod line;
mod losses;
mod member;
mod mixed;
mod mixed_report;
mod options;
mod posting;
mod quotes;
mod receipts;
mod report;
mod said;
mod sessions;
mod speaker;
mod stage;
mod talk;
mod target;
mod track;
mod units;
mod usage;
mod watch;
mod wire;

use clap::{Parser, Subcommand};
use options::{Options, Ports};
use report::Report;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use sessions::Crowd;
use std::fmt::Display;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use usage::Family;

/// Time between the last handshake and the measurement of memory.
const SETTLE: Duration = Duration::from_secs(2);

/// Opens many sessions to a cluster on this machine and measures it.
///
/// Without a command: idle sessions, quotes, one message to all. The daemon needs an admin port, no rates in `[limits]`
/// (`messages_per_session`, `quotes_per_user`: "0") and a channel `news`.
#[derive(Debug, Parser)]
#[command(name = "btc-cluster-load", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Debug, Subcommand)]
enum Mode {
    Jitter(jitter::Options),
    Mixed(mixed::Options),
    Hostile(hostile::Options),
    Chaos(chaos::Options),
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    match run_with(&Arguments::parse()) {
        Ok((text, good)) => {
            print!("{text}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("btc-cluster-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the tool with these words of a command line. Returns what it would print, and whether it found no fault.
///
/// # Errors
/// The words are wrong, or nothing could be measured.
pub fn run_words(words: &[&str]) -> Result<(String, bool), String> {
    let words = std::iter::once("btc-cluster-load").chain(words.iter().copied());
    run_with(&Arguments::try_parse_from(words).map_err(|error| error.to_string())?)
}

fn run_with(arguments: &Arguments) -> Result<(String, bool), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    LocalSet::new().block_on(&runtime, run(arguments))
}

/// Returns the text to print, and whether the run found no fault.
async fn run(arguments: &Arguments) -> Result<(String, bool), String> {
    Ok(match &arguments.mode {
        None => (shown(&measure(&arguments.options).await?, arguments.options.json), true),
        Some(Mode::Jitter(options)) => {
            files(options.clients * 2 + 64)?;
            let report = jitter::run(options).await?;
            (shown(&report, options.churn.json), report.good())
        }
        Some(Mode::Mixed(options)) => {
            files(options.sessions * 2 + 1024)?;
            let report = mixed::run(options, master(&options.ports)?).await?;
            (shown(&report, options.churn.json), report.good())
        }
        Some(Mode::Hostile(options)) => {
            files(4096)?;
            let report = hostile::run(options, master(&options.ports)?).await?;
            (shown(&report, options.json), true)
        }
        Some(Mode::Chaos(options)) => {
            files(options.clients() + 512)?;
            let report = chaos::run(options).await?;
            (shown(&report, options.json), report.good())
        }
    })
}

fn shown(report: &(impl Serialize + Display), json: bool) -> String {
    if json { serde_json::to_string_pretty(report).unwrap_or_default() + "\n" } else { report.to_string() }
}

/// Raises the limit of open files, which must allow so many.
fn files(needed: u32) -> Result<(), String> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|files| files >= u64::from(needed)) {
        return Ok(());
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(|error| format!("open files: {error}"))?;
    if let Some(files) = limit.maximum.filter(|files| *files < u64::from(needed)) {
        return Err(format!("{needed} open files are needed, {files} are allowed (ulimit -n)"));
    }
    Ok(())
}

/// Finds the daemon's first process.
fn master(ports: &Ports) -> Result<u32, String> {
    let master = ports.pid.or_else(|| usage::listener(ports.url.address));
    master
        .filter(|master| !Family::of(*master).is_empty())
        .ok_or_else(|| format!("nobody listens at {} (or --pid is wrong)", ports.url.address))
}

async fn measure(options: &Options) -> Result<Report, String> {
    files(options.sessions + options.post_inflight + 64)?;
    let family = Family::of(master(&options.ports)?);
    let mut report = Report { processes: family.len(), ..Report::default() };

    let before = family.pss();
    let crowd = Rc::new(Crowd::new(options.sessions));
    report.open = sessions::open_all(&crowd, options).await?;
    tokio::time::sleep(SETTLE).await;
    if let (Some(before), Some(after)) = (before, family.pss()) {
        report.memory = Some(report::Memory::new(before, after, report.open.opened));
    }
    if options.seconds > 0 {
        report.quotes = Some(quotes::ask(&crowd, options, &family).await?);
    }
    if options.messages > 0 {
        match fanout::publish(&crowd, options, &family).await {
            Ok(figures) => report.fanout = Some(figures),
            Err(error) => report.skipped = Some(format!("messages to all: {error}")),
        }
    }
    report.cut = crowd.cut();
    Ok(report)
}
