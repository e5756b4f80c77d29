//! This process and its relatives.

use rustix::process::{Pid, Resource, Signal};
use std::io;

/// Dies with its parent: the kernel sends KILL when the parent's thread that started us ends.
///
/// # Errors
/// The parent is already gone, or the kernel refuses.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Between our start and the call above the parent may have died: then nobody would tell us.
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(now) == Ok(parent) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotConnected, "the parent is gone"))
    }
}

/// Sends a signal; a process that is gone is no error.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The daemon's unit makes it a late victim when memory runs out. That is meant for the master, with which all others
/// would go: a child gives it back. (Only root could take more.)
pub fn be_no_late_victim() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let late = std::fs::read_to_string(SCORE).is_ok_and(|text| text.starts_with('-'));
    if late {
        let _ = std::fs::write(SCORE, "0");
    }
}

/// 128 bits that nobody guesses, from the kernel.
#[must_use]
pub fn secret() -> u128 {
    let mut bytes = [0; 16];
    // So few bytes come whole (getrandom(2)); a kernel that has not got any yet makes us wait.
    while !matches!(rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()), Ok(16)) {}
    u128::from_le_bytes(bytes)
}

/// Raises the limit of open files to the most that is allowed and says what it is now.
#[must_use]
pub fn raise_open_files() -> u64 {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    }
    open_files()
}

/// How many files this process may have open.
#[must_use]
pub fn open_files() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, in microseconds.
    pub cpu_us: u64,
    /// Resident memory in bytes.
    pub rss: u64,
}

/// Our own usage (`/proc/self/statm`, `getrusage` by the scheduler's clock).
#[must_use]
pub fn usage() -> Usage {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_us =
        u64::try_from(cpu.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(cpu.tv_nsec).unwrap_or(0) / 1000;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    Usage { cpu_us, rss: pages * rustix::param::page_size() as u64 }
}
