//! Load for a cluster on this machine, and its figures: sessions opened, quotes and their round trip, fan-out of one
//! message to all, the server's CPU time per delivery, its memory per idle session.
//!
//! It opens real sessions over TCP on one thread; its own work is in the latencies it reports. Only loopback is ever
//! addressed, and count and time are bounded.

mod comeback;
mod crowd;
mod decoder;
mod events;
mod fanout;
mod frame;
mod guest;
mod habit;
mod http;
mod jitter;
mod jitter_report;
mod line;
mod losses;
mod member;
mod mixed;
mod mixed_report;
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
mod usage;
mod watch;

use clap::{Args, Parser, Subcommand};
use report::Report;
use serde::Serialize;
use sessions::Crowd;
use std::fmt::Display;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use target::Target;
use tokio::task::LocalSet;
use usage::Family;

/// Between the last handshake and the measurement of memory.
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

/// What is done instead.
#[derive(Debug, Subcommand)]
enum Mode {
    Jitter(jitter::Options),
    Mixed(mixed::Options),
}

/// Of the mode without a name.
#[derive(Debug, Args)]
struct Options {
    /// Sessions, one user each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    sessions: u32,
    /// The WebSocket endpoint.
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws")]
    url: Target,
    /// The HTTP port, for quotes.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    http: Target,
    /// The admin port, for messages to all.
    #[arg(long, default_value = "http://127.0.0.1:3001")]
    admin: Target,
    /// The channel of these messages; the daemon must allow it.
    #[arg(long, default_value = "news")]
    channel: String,
    /// Messages to all.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    messages: u32,
    /// Quotes that are asked for at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    post_inflight: u32,
    /// Handshakes at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    open_inflight: u32,
    /// How long quotes are asked for.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=600))]
    seconds: u32,
    /// The master's process id; found by its listening socket where it is not given.
    #[arg(long)]
    pid: Option<u32>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let local = LocalSet::new();
        runtime.block_on(local.run_until(run(&arguments)))
    });
    match result {
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

/// What to print, and whether all was well.
async fn run(arguments: &Arguments) -> Result<(String, bool), String> {
    Ok(match &arguments.mode {
        None => (shown(&measure(&arguments.options).await?, arguments.options.json), true),
        Some(Mode::Jitter(options)) => {
            files(options.clients * 2 + 64)?;
            let report = jitter::run(options).await?;
            (shown(&report, options.json), report.good())
        }
        Some(Mode::Mixed(options)) => {
            files(options.sessions * 2 + 1024)?;
            let report = mixed::run(options, master(options.ports.pid, &options.ports.url)?).await?;
            (shown(&report, options.json), report.good())
        }
    })
}

fn shown(report: &(impl Serialize + Display), json: bool) -> String {
    if json { serde_json::to_string_pretty(report).unwrap_or_default() + "\n" } else { report.to_string() }
}

/// So many open files are needed.
fn files(needed: u32) -> Result<(), String> {
    let files = btc_cluster::os::process::raise_open_files();
    if files < u64::from(needed) {
        return Err(format!("{needed} open files are needed, {files} are allowed (ulimit -n)"));
    }
    Ok(())
}

/// The daemon's first process.
fn master(pid: Option<u32>, url: &Target) -> Result<u32, String> {
    let master = pid.or_else(|| usage::listener(url.address));
    master
        .filter(|master| !Family::of(*master).is_empty())
        .ok_or_else(|| format!("nobody listens at {} (or --pid is wrong)", url.address))
}

async fn measure(options: &Options) -> Result<Report, String> {
    files(options.sessions + options.post_inflight + 64)?;
    let family = Family::of(master(options.pid, &options.url)?);
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
