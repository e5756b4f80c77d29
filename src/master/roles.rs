//! All processes of the daemon, as `ctl status` lists them.

use super::core::Master;
use crate::os::{clock, process};
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
    role: String,
    pid: Option<u32>,
    /// As in the statistics; that of the keeper and the master is always `ready`.
    state: &'static str,
    uptime_s: u64,
    /// Deaths in this role.
    restarts: u32,
    /// Version of its program; `None` until it has told.
    version: Option<Box<str>>,
}

impl Master {
    /// A row for the keeper, the master, and each process of a role.
    pub(super) fn all_processes(&self) -> Vec<ProcessRow> {
        let now = clock::mono();
        let above = |role: &str, pid: u32, restarts, version: &str| ProcessRow {
            role: role.to_owned(),
            pid: Some(pid),
            state: "ready",
            uptime_s: process::age(pid).map_or(0, |age| age.as_secs()),
            restarts,
            version: Some(version.into()),
        };
        let Keeper { pid, program, deaths } = &self.keeper;
        let master = above("master", std::process::id(), *deaths, env!("CARGO_PKG_VERSION"));
        let mut all = vec![above("keeper", *pid, 0, program), master];
        all.extend(self.fleet.rows().into_iter().map(|row| {
            let child = row.generation.and_then(|generation| self.children.get(generation));
            let program = child.map(|child| child.program.clone());
            ProcessRow {
                role: row.role.to_string(),
                pid: row.pid,
                state: row.state.as_str(),
                uptime_s: row.started.map_or(0, |started| now.since(started).as_secs()),
                restarts: row.restarts,
                version: program.filter(|program| !program.is_empty()),
            }
        }));
        all
    }
}
