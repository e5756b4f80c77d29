//! Memory, CPU time and descriptors of the daemon's processes, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

/// The master and all its descendants.
#[derive(Debug)]
pub(crate) struct Family(Vec<u32>);

impl Family {
    /// Found at this moment; processes that come later do not belong to it.
    pub(crate) fn of(master: u32) -> Self {
        let parents: BTreeMap<u32, u32> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let belongs = |pid: &u32| {
            let mut at = Some(pid);
            // A chain of parents is short; the bound is for one that changes while it is read.
            for _ in 0..64 {
                match at {
                    Some(pid) if *pid == master => return true,
                    Some(pid) => at = parents.get(pid),
                    None => return false,
                }
            }
            false
        };
        Self(parents.keys().filter(|pid| belongs(pid)).copied().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn pids(&self) -> &[u32] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their memory in bytes, what they share counted once. `None`: not allowed to know.
    pub(crate) fn pss(&self) -> Option<u64> {
        self.0.iter().map(|pid| pss(*pid)).sum()
    }

    /// Their resident memory in bytes, what they share counted each time.
    pub(crate) fn rss(&self) -> u64 {
        self.0.iter().filter_map(|pid| kib(&format!("/proc/{pid}/status"), "VmRSS:")).sum()
    }

    /// Their open descriptors.
    pub(crate) fn descriptors(&self) -> BTreeMap<u32, usize> {
        let count = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count);
        self.0.iter().filter_map(|pid| Some((*pid, count(pid)?))).collect()
    }

    /// Their CPU time so far in microseconds.
    pub(crate) fn cpu_us(&self) -> u64 {
        self.0.iter().map(|pid| cpu_us(*pid)).sum()
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/PID/stat` from the third on: the second, a name, may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn pss(pid: u32) -> Option<u64> {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// In bytes.
fn kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// By the scheduler's nanoseconds where the kernel counts them, else by its ticks of 10 ms.
fn cpu_us(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    let sum: u64 = nanos.sum();
    if sum > 0 {
        return sum / 1000;
    }
    let ticks = |at: usize| stat(pid).and_then(|fields| fields.get(at)?.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10_000
}

/// This process's CPU time in microseconds.
pub(crate) fn own_cpu_us() -> u64 {
    cpu_us(std::process::id())
}

/// The master of who listens at `address`: of all that hold the socket, the one whose parent does not.
pub(crate) fn listener(address: SocketAddr) -> Option<u32> {
    let inodes = listening(address.port());
    let holders: Vec<u32> = pids().filter(|pid| holds(*pid, &inodes)).collect();
    holders.iter().find(|pid| parent(**pid).is_none_or(|parent| !holders.contains(&parent))).copied()
}

/// The sockets that listen at a port, in the words of `/proc/PID/fd`.
fn listening(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let socket = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let at = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (at == port && *fields.get(3)? == "0A")
            .then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    lines.filter_map(socket).collect()
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.to_str().is_some_and(|link| sockets.iter().any(|socket| socket == link)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_socket_and_measured() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let me = std::process::id();
        assert_eq!(super::listener(listener.local_addr().unwrap()), Some(me));
        let family = Family::of(me);
        assert!(family.0.contains(&me) && family.pss() > Some(100_000) && family.rss() > 100_000);
        assert!(family.descriptors()[&me] > 3);
        let before = family.cpu_us();
        let mut n = 0u64;
        while family.cpu_us() < before + 20_000 {
            n = std::hint::black_box(n + 1);
        }
    }

    #[test]
    fn nobody_is_nobody() {
        assert!(Family::of(u32::MAX).is_empty());
    }
}
