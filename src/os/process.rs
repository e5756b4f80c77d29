//! This process and its relatives.

use super::inherited;
use rustix::process::{Pid, Resource, Signal, WaitOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

/// Makes this process die with its parent: the kernel sends KILL when the parent's thread that started it ends.
///
/// # Errors
/// The parent has ended already, or the kernel refuses.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the call above: then the kernel would send nothing.
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(now) == Ok(parent) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotConnected, "the parent is gone"))
    }
}

/// Sends a signal; a process that has ended is no error.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Asks after a child that has ended, and takes its status.
#[must_use]
pub fn ended() -> Option<(u32, ExitStatus)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok().flatten()?;
    Some((u32::try_from(pid.as_raw_nonzero().get()).ok()?, ExitStatus::from_raw(status.as_raw())))
}

/// Resets the process's priority for the kernel's OOM killer. The unit makes the daemon a late victim, which is meant
/// for the keeper only: all others end with it, and any of them can be replaced. (Only root could take a better one.)
pub fn be_no_late_victim() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let late = std::fs::read_to_string(SCORE).is_ok_and(|text| text.starts_with('-'));
    if late {
        let _ = std::fs::write(SCORE, "0");
    }
}

/// 128 unguessable bits from the kernel.
#[must_use]
pub fn secret() -> u128 {
    let mut bytes = [0; 16];
    // A request for so few bytes is filled whole (getrandom(2)); a kernel without entropy makes the caller wait.
    while !matches!(rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()), Ok(16)) {}
    u128::from_le_bytes(bytes)
}

/// The variable in which a child reads the name of the run.
pub const RUN: &str = "BTC_CLUSTER_RUN";

/// An unguessable name of this run of the daemon, the same in all of its processes: the keeper makes it.
pub fn run() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| std::env::var(RUN).unwrap_or_else(|_| format!("{:032x}", secret())))
}

/// Raises the limit of open files to the allowed maximum and returns it. Programs get the limit that was.
#[must_use]
pub fn raise_open_files() -> u64 {
    inherited::program_files();
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    }
    open_files()
}

/// Lets this process leave a core dump when it crashes, or not. Its descriptors stay open while a dump is written.
pub fn set_core_dumps(allowed: bool) {
    let mut limit = rustix::process::getrlimit(Resource::Core);
    // Too little for a file, and the one value that also keeps the kernel from a pipe (`kernel.core_pattern`): to a pipe
    // it writes with 0, too.
    limit.current =
        if allowed { limit.maximum } else { limit.maximum.map_or(Some(1), |most| Some(most.min(1))) };
    let _ = rustix::process::setrlimit(Resource::Core, limit);
}

/// The number of files that this process may have open.
#[must_use]
pub fn open_files() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The number of files that this process has open now.
#[must_use]
pub fn files_in_use() -> u32 {
    // The folder that is read is one of them.
    let open = std::fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
    open.ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(32)
}

/// Number `nth` behind the name in `/proc/PID/stat` (proc(5)), in clock ticks.
fn ticks(pid: u32, nth: usize) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have any character.
    let ticks: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(nth)?.parse().ok()?;
    let us = ticks.saturating_mul(1_000_000).checked_div(rustix::param::clock_ticks_per_second())?;
    Some(Duration::from_micros(us))
}

/// Time since a process was started; `None` when there is none.
#[must_use]
pub fn age(pid: u32) -> Option<Duration> {
    /// `starttime`
    const STARTED: usize = 19;
    Some(Duration::from_nanos(super::clock::boot().0).saturating_sub(ticks(pid, STARTED)?))
}

/// Resources that a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, in microseconds.
    pub cpu_us: u64,
    /// Resident memory in bytes.
    pub rss: u64,
}

/// The usage of this process (`/proc/self/statm`, `getrusage` by the scheduler's clock).
#[must_use]
pub fn usage() -> Usage {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_us =
        u64::try_from(cpu.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(cpu.tv_nsec).unwrap_or(0) / 1000;
    Usage { cpu_us, rss: resident("self") }
}

/// The usage of another process, its CPU time in whole clock ticks; zero when there is none.
#[must_use]
pub fn usage_of(pid: u32) -> Usage {
    /// `utime`, `stime`
    const USED: [usize; 2] = [11, 12];
    let cpu: Duration = USED.into_iter().filter_map(|nth| ticks(pid, nth)).sum();
    Usage { cpu_us: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), rss: resident(&pid.to_string()) }
}

fn resident(process: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm"));
    let pages = statm.ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_process_is_its_own() {
        let age = age(std::process::id()).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        assert_eq!(super::age(u32::MAX), None);
        let (before, seen, after) = (usage(), usage_of(std::process::id()), usage());
        let tick = 1_000_000 / rustix::param::clock_ticks_per_second();
        let fits = before.cpu_us.saturating_sub(2 * tick)..=after.cpu_us + 2 * tick;
        assert!(seen.rss > 0 && fits.contains(&seen.cpu_us), "{before:?} {seen:?} {after:?}");
        assert_eq!(usage_of(u32::MAX), Usage::default());
    }
}
