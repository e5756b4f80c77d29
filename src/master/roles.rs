//! All processes of the daemon, as `ctl status` lists them.

use crate::os::process;
use crate::protocol::keeper::Begin;
use serde::Serialize;

/// What the keeper tells of itself, and of the masters before.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) pid: u32,
    /// Version of its program.
    program: Box<str>,
    /// Masters that have ended before this one.
    pub(super) deaths: u32,
}

impl Keeper {
    pub(super) fn new(begin: &Begin) -> Self {
        let deaths = begin.before.map_or(0, |before| before.deaths);
        Self { pid: begin.pid, program: begin.program.clone(), deaths }
    }
}

/// One process.
#[derive(Debug, Serialize)]
pub(super) struct ProcessRow {
    /// `keeper`, `master`, `feeder`, `worker 3`.
    pub(super) role: String,
    pub(super) pid: Option<u32>,
    /// As in the statistics; that of the keeper and the master is always `ready`.
    pub(super) state: &'static str,
    pub(super) uptime_s: u64,
    /// Deaths in this role.
    pub(super) restarts: u32,
    /// Version of its program; `None` until it has told.
    pub(super) version: Option<Box<str>>,
}

impl ProcessRow {
    fn above(role: &str, pid: u32, restarts: u32, version: &str) -> Self {
        Self {
            role: role.to_owned(),
            pid: Some(pid),
            state: "ready",
            uptime_s: process::age(pid).map_or(0, |age| age.as_secs()),
            restarts,
            version: Some(version.into()),
        }
    }
}

impl Keeper {
    /// The rows of the keeper and of this master.
    pub(super) fn rows(&self) -> Vec<ProcessRow> {
        let master = (std::process::id(), env!("CARGO_PKG_VERSION"));
        vec![
            ProcessRow::above("keeper", self.pid, 0, &self.program),
            ProcessRow::above("master", master.0, self.deaths, master.1),
        ]
    }
}
