//! Load for a cluster on this machine, and its figures: sessions opened, quotes and their round trip, fan-out of one
//! message to all, the server's CPU time per delivery, its memory per idle session.
//!
//! It opens real sessions over TCP on one thread; its own work is in the latencies it reports. Only loopback is ever
//! addressed, and count and time are bounded.

mod fanout;
mod http;
mod quotes;
mod report;
mod sessions;
mod target;
mod usage;

use clap::Parser;
use report::Report;
use sessions::Crowd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use target::Target;
use tokio::task::LocalSet;
use usage::Family;

/// Between the last handshake and the measurement of memory.
const SETTLE: Duration = Duration::from_secs(2);

/// Opens many sessions to a cluster on this machine and measures it.
#[derive(Debug, Parser)]
#[command(name = "btc-cluster-load")]
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
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let local = LocalSet::new();
        runtime.block_on(local.run_until(measure(&options)))
    });
    match result {
        Ok(report) if options.json => println!("{}", report.json()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("btc-cluster-load: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn measure(options: &Options) -> Result<Report, String> {
    let needed = u64::from(options.sessions + options.post_inflight + 64);
    let files = btc_cluster::os::process::raise_open_files();
    if files < needed {
        return Err(format!("{needed} open files are needed, {files} are allowed (ulimit -n)"));
    }
    let master = options.pid.or_else(|| usage::listener(options.url.address));
    let Some(family) = master.map(Family::of).filter(|family| !family.is_empty()) else {
        return Err(format!("nobody listens at {} (or --pid is wrong)", options.url.address));
    };
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
