//! Sections of processes: how many, how they are kept alive, how they end, what they log.

use super::web::LARGEST;
use crate::config::kind::{ANY, At, Choice, FLAG, Kind as _, Own, RATE, SOME, Size, Whole, one, seconds};
use crate::config::read::{Wrong, must_be, place, text, wrong};
use crate::config::table::{row, section};
use crate::config::value::{Item, Value};
use crate::config::{file, level};
use crate::model::Rate;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// Processes, and how they are kept alive.
    pub struct ClusterSection {
        /// Number of workers; "auto": one per core.
        workers: WorkerCount = row(Own("\"auto\" or 1 to 256", worker_count), "auto"),
        /// A child that has sent no sign of life for this time is killed and replaced. A healthy one sends one each second.
        worker_timeout: Duration = row(seconds(2, 365 * 86_400), "5s"),
        /// A child that is not ready after this time is killed.
        start_timeout: Duration = row(SOME, "10s"),
        /// Time in which a worker that is being replaced hands its sessions over to others, counted anew with each that
        /// goes. Their clients keep their connections; what cannot be moved in three quarters of this time is closed
        /// (1012) in the rest.
        drain: Duration = row(ANY, "5s"),
        /// A killed process that has not ended after this time (it hangs in a file system, or a debugger holds it) is left
        /// behind: its slot gets another one, and the end of the daemon does not wait for it.
        kill_timeout: Duration = row(SOME, "5s"),
        /// Pause before a dead child is started again. It doubles with each death, up to restart_max.
        restart_min: Duration = row(SOME, "100ms"),
        /// Longest pause before a dead child is started again.
        restart_max: Duration = row(SOME, "30s"),
        /// After this time as ready, the pause and the count of deaths of a child start anew.
        stable_after: Duration = row(ANY, "5s"),
        /// Deaths of a worker within give_up_within after which its slot is given up: it is "failed" until
        /// `btc-cluster ctl restart-worker` or a reload. When all slots have failed, the daemon ends with exit status 1.
        give_up_after: u32 = row(Whole(1..=u32::MAX), "5"),
        /// Time in which deaths of a worker are counted.
        give_up_within: Duration = row(SOME, "60s"),
        /// Sessions that move from fuller workers to emptier ones, at most so many in a time, after workers were added or
        /// have become uneven.
        rebalance: Rate = row(Own("a rate, 0 for none", RATE.1), "100/s"),
        /// Whether a worker that crashes leaves a core dump. Writing it keeps the connections of its sessions waiting: 0.7 s
        /// for 200 MB.
        core_dumps: bool = row(FLAG, "false"),
    }
}

/// `cluster.workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerCount {
    /// A worker per core.
    Auto,
    /// At least one.
    Exactly(u16),
}

fn worker_count(item: &Item, _: &mut At<'_>) -> Result<WorkerCount, Wrong> {
    match &item.value {
        Value::Text(word) if word == "auto" => Ok(WorkerCount::Auto),
        Value::Whole(n @ 1..=256) => u16::try_from(*n).map(WorkerCount::Exactly).map_err(|_| vec![]),
        _ => Err(must_be(item, "\"auto\" or a number from 1 to 256")),
    }
}

section! {
    /// The socket of `btc-cluster ctl`.
    pub struct ControlSection {
        /// Path of the socket. A program that is not installed has it under $XDG_RUNTIME_DIR, else in a folder of the
        /// user in the temporary folder.
        socket: PathBuf = row(Own("a path of at most 107 bytes", socket), "/run/btc-cluster/control.sock").restart(),
    }
}

fn socket(item: &Item, at: &mut At<'_>) -> Result<PathBuf, Wrong> {
    // sun_path of unix(7): 108 bytes with the final NUL.
    const LONGEST: usize = 107;
    let path = place(item, at.base())?.unwrap_or_else(|| at.source.socket.clone());
    if path.as_os_str().len() > LONGEST {
        return Err(wrong(item, format!("must have at most {LONGEST} bytes, as a path from /")));
    }
    Ok(path)
}

section! {
    /// Sessions over the death of a worker.
    pub struct HandoverSection {
        /// "auto": sessions survive the death of their worker. Each takes one more descriptor; where there are none left, new
        /// sessions end with their worker. false: all do.
        crash_cover: CrashCover = row(Own("\"auto\" or false", crash_cover), "auto"),
    }
}

/// `handover.crash_cover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrashCover {
    /// On, while there are descriptors.
    Auto,
    /// Off.
    Off,
}

fn crash_cover(item: &Item, _: &mut At<'_>) -> Result<CrashCover, Wrong> {
    match &item.value {
        Value::Flag(false) => Ok(CrashCover::Off),
        Value::Text(word) if word == "auto" => Ok(CrashCover::Auto),
        _ => Err(must_be(item, "\"auto\" or false")),
    }
}

section! {
    /// Lines about what happens.
    pub struct LogSection {
        /// "text" for people, "json", "journald" with fields, or "auto": the journal if standard error is one, else text.
        format: LogFormat = row(FORMAT, "auto"),
        /// "error", "warn", "info", "debug", "trace", "off", or a filter: "info,btc_cluster::feeder=debug". A part of it that names nothing is a fault.
        level: String = row(Own("a level or a filter", level), "info"),
        /// Regular file for the lines; none: standard error. SIGUSR1 opens it anew after a rotation.
        file: Option<PathBuf> = row(Own("a path, empty for none", log_file), ""),
        /// A file of this size is moved aside: to `file` with ".1" behind its name, which becomes ".2" before. The size is
        /// looked at each second. 0: it grows, or logrotate moves it.
        max_size: usize = row(Own("a size from 4KiB, 0 for none", max_size), "0"),
        /// Files moved aside that are kept; the oldest goes.
        keep: u32 = row(Whole(1..=1000), "5"),
        /// Whether ids of users, sessions and devices stand in lines as keyed hashes, the same as long as the daemon runs;
        /// what clients wrote is left out then. Addresses stay.
        hash_ids: bool = row(FLAG, "false"),
        /// Lines that wait in each process while nobody takes them (a pipe that nobody reads, a disk that hangs). Further
        /// ones are lost, and counted.
        queue: usize = row(Size(4096..=LARGEST), "256KiB"),
    }
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal where stderr is one, else text.
    Auto,
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
    /// The journal's own protocol, with fields.
    Journald,
}

const FORMAT: Choice<LogFormat> = one(&[
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
    ("journald", LogFormat::Journald),
]);

fn level(item: &Item, at: &mut At<'_>) -> Result<String, Wrong> {
    let filter = level::filter(text(item)?).map_err(|why| wrong(item, why))?;
    at.warnings.extend(filter.warning.map(str::to_owned));
    Ok(filter.text)
}

/// What is there must be a file. Whether it can be written only its writer knows: a reload tries.
fn log_file(item: &Item, at: &mut At<'_>) -> Result<Option<PathBuf>, Wrong> {
    let path = place(item, at.base())?;
    match path.as_deref().and_then(file::not_regular) {
        Some(why) => Err(wrong(item, why)),
        None => Ok(path),
    }
}

fn max_size(item: &Item, at: &mut At<'_>) -> Result<usize, Wrong> {
    match item.value {
        Value::Whole(0) => Ok(0),
        _ => Size(4096..=1 << 50).read(item, at),
    }
}

section! {
    /// The end of the daemon.
    pub struct ShutdownSection {
        /// Time to be unready but still accepting, so that balancers look elsewhere.
        delay: Duration = row(ANY, "0s"),
        /// Time in which everything ends.
        grace: Duration = row(SOME, "10s"),
    }
}
