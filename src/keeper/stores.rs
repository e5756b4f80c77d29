//! Everything that outlives the daemon's restart, in systemd's descriptor store: some carriers.

use crate::os::carriers::{self, Carrier};
use crate::os::notify::Systemd;
use crate::protocol::cluster::Generation;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The name of all carriers in the store.
const CARRIER: &str = "carrier";
/// Most carriers, each of which is two descriptors in the store: below `FileDescriptorStoreMax=` of the unit.
const MOST: usize = 200;
/// Longest wait for systemd.
const PATIENCE: Duration = Duration::from_secs(5);

type Named = Vec<(Box<str>, OwnedFd)>;

/// Leaves descriptors with systemd, and waits until it has them.
pub(super) fn leave(systemd: &mut Systemd, all: &[(String, OwnedFd)]) {
    let named: Vec<_> = all.iter().map(|(name, descriptor)| (name.clone(), descriptor.as_fd())).collect();
    let loaded = carriers::load(&named, MOST);
    if let Some(error) = loaded.refused {
        let text = format!("{} of {} descriptors are not kept: {error}", all.len() - loaded.held, all.len());
        let _ = writeln!(std::io::stderr(), "btc-cluster: {text}");
    }
    for ends in loaded.carriers.into_iter().map(Carrier::into_ends) {
        systemd.tell(format!("FDSTORE=1\nFDNAME={CARRIER}").into(), ends.into());
    }
    let Ok((ours, theirs)) = UnixStream::pair() else { return };
    systemd.tell("BARRIER=1".into(), vec![theirs.into()]);
    let since = Instant::now();
    while let Some(left) = PATIENCE.checked_sub(since.elapsed()) {
        systemd.write();
        if waited(ours.as_fd(), systemd.socket(), left) {
            return;
        }
    }
}

/// Waits until systemd has closed its end, or takes more.
fn waited(ours: BorrowedFd<'_>, socket: Option<BorrowedFd<'_>>, left: Duration) -> bool {
    let mut all = vec![PollFd::from_borrowed_fd(ours, PollFlags::IN)];
    all.extend(socket.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::OUT)));
    let seconds = i64::try_from(left.as_secs()).unwrap_or(0);
    let left = Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() };
    let _ = poll(&mut all, Some(&left));
    all[0].revents().intersects(PollFlags::IN | PollFlags::HUP)
}

/// Takes out of the carriers among what systemd passed: all descriptors under names, and the sockets of sessions.
pub(super) fn take(passed: Named) -> (Named, Vec<(Generation, u32, OwnedFd)>) {
    let (carriers, mut named): (Named, Named) = passed.into_iter().partition(|(name, _)| **name == *CARRIER);
    let mut sockets = Vec::new();
    let unloaded = carriers::unload(carriers.into_iter().map(|(_, end)| end).collect());
    if unloaded.lost > 0 {
        let lost = unloaded.lost;
        let _ = writeln!(std::io::stderr(), "btc-cluster: {lost} kept descriptors are lost");
    }
    for (name, descriptor) in unloaded.all {
        match session(&name) {
            Some((of, key)) => sockets.push((of, key, descriptor)),
            None => named.push((name.into(), descriptor)),
        }
    }
    (named, sockets)
}

/// Has systemd close its copies of the carriers.
pub(super) fn clear(systemd: &mut Systemd) {
    systemd.tell(format!("FDSTOREREMOVE=1\nFDNAME={CARRIER}").into(), Vec::new());
}

/// Reads the name of a session's socket.
fn session(name: &str) -> Option<(Generation, u32)> {
    let (of, key) = name.strip_prefix("session/")?.split_once('/')?;
    Some((of.parse().ok()?, key.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn what_was_carried_is_taken_back_by_its_kind() {
        let all: Vec<_> =
            ["pack/3", "legacy", "session/3/0", "session/4/17"].map(|name| (name, file())).into();
        let named: Vec<_> = all.iter().map(|(name, fd)| ((*name).to_owned(), fd.as_fd())).collect();
        let ends = carriers::load(&named, 9).carriers.into_iter().flat_map(Carrier::into_ends);
        let mut passed: Named = vec![("kept/http/1".into(), file())];
        passed.extend(ends.map(|end| (CARRIER.into(), end)));
        let (named, sockets) = take(passed);
        let names: Vec<_> = named.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["kept/http/1", "pack/3", "legacy"]);
        let keys: Vec<_> = sockets.iter().map(|(of, key, _)| (*of, *key)).collect();
        assert_eq!(keys, [(3, 0), (4, 17)]);
    }
}
