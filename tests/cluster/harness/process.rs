//! Processes that are not ours to wait for.

use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Sends a signal to one process.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal)
        .unwrap_or_else(|error| panic!("{signal:?} to {pid:?}: {error}"));
}

/// Whether a process has ended: gone, or a zombie that nobody has asked after yet.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| matches!(stat.first().map(String::as_str), Some("Z" | "X")))
}

/// The masters of a keeper, also one that has just been started.
pub(crate) fn masters_of(keeper: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let named = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    children.filter(|pid| named(*pid).starts_with(b"btc-cluster: master")).collect()
}

/// The processes of a group that run this program.
pub(super) fn members(group: u32, program: &str) -> Vec<u32> {
    let is_program = |pid: u32| {
        let running = fs::read_link(format!("/proc/{pid}/exe"));
        running.is_ok_and(|path| path.to_string_lossy().starts_with(program))
    };
    let in_group = |pid: u32| stat(pid).is_some_and(|stat| stat[2].parse() == Ok(group));
    all().filter(|pid| in_group(*pid) && is_program(*pid)).collect()
}

fn all() -> impl Iterator<Item = u32> {
    let folders = fs::read_dir("/proc").expect("/proc");
    folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes that the kernel holds of the server's end of a connection: to be sent or acknowledged, and to be read.
/// `None`: the server's end is no more.
pub(crate) fn kernel_holds(server: SocketAddr, client: SocketAddr) -> Option<(u64, u64)> {
    let named = |at: SocketAddr| match at.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), at.port()),
        IpAddr::V6(_) => panic!("the tests use IPv4"),
    };
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row[1] == named(server) && row[2] == named(client))?;
    let (send, receive) = row[4].split_once(':')?;
    Some((u64::from_str_radix(send, 16).ok()?, u64::from_str_radix(receive, 16).ok()?))
}

/// The fields of `/proc/PID/stat` from the state on (proc(5)): the name before them may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Lets a running process have so many files open and no more.
pub(crate) fn limit_files(pid: u32, most: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::prlimit(pid, Resource::Nofile, limit).expect("our own child");
}

/// Children of a process that have ended and that it has not asked after.
pub(crate) fn zombies_of(parent: u32) -> Vec<u32> {
    let is_zombie = |pid: u32| stat(pid).is_some_and(|stat| stat[0] == "Z" && stat[1].parse() == Ok(parent));
    all().filter(|pid| is_zombie(*pid)).collect()
}
