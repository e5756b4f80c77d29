//! Many descriptors in a few: socket pairs that hold them in their buffers, for whoever keeps both ends of each pair.
//!
//! systemd compares each descriptor of its store with every other, so thousands must not be stored one by one; and it
//! drops a socket whose other end is closed, so both ends of a pair are stored.

use super::descriptors::{self, MOST};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Longest message in bytes: that many descriptors with names of a hundred bytes each.
const LONGEST: usize = 32 << 10;

/// A socket pair that holds descriptors.
#[derive(Debug)]
pub struct Carrier([OwnedFd; 2]);

impl Carrier {
    fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Each message is read as a whole or not at all.
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self([one, other]))
    }

    /// Both ends.
    #[must_use]
    pub fn into_ends(self) -> [OwnedFd; 2] {
        self.0
    }
}

/// What [`load`] has done.
#[derive(Debug, Default)]
pub struct Loaded {
    pub carriers: Vec<Carrier>,
    /// Descriptors in the carriers.
    pub held: usize,
    /// Why the others are not: the kernel allows a user no more descriptors on their way, `carriers` are used up, or
    /// a name is too long.
    pub refused: Option<io::Error>,
}

/// Puts copies of descriptors into as few carriers as hold them, `most` at most. The first ones are put in first. No
/// name has a line end.
#[must_use]
pub fn load(all: &[(String, BorrowedFd<'_>)], most: usize) -> Loaded {
    let mut loaded = Loaded::default();
    let mut rest = all;
    while !rest.is_empty() {
        let batch = &rest[..batch(rest)];
        let names: Vec<&str> = batch.iter().map(|(name, _)| &**name).collect();
        let fds: Vec<_> = batch.iter().map(|(_, fd)| *fd).collect();
        if let Err(error) = put(&mut loaded.carriers, most, names.join("\n").as_bytes(), &fds) {
            loaded.refused = Some(error);
            break;
        }
        loaded.held += batch.len();
        rest = &rest[batch.len()..];
    }
    loaded
}

/// How many of the first descriptors fit one message; one at least.
fn batch(all: &[(String, BorrowedFd<'_>)]) -> usize {
    let mut bytes = 0;
    let fits = |(name, _): &&(String, BorrowedFd<'_>)| {
        bytes += name.len() + 1;
        bytes <= LONGEST
    };
    all.iter().take(MOST).take_while(fits).count().max(1)
}

fn put(carriers: &mut Vec<Carrier>, most: usize, names: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if names.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name is too long"));
    }
    if let Some(last) = carriers.last() {
        match descriptors::send(&last.0[0], names, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent.map(|_| ()),
        }
    }
    if carriers.len() >= most {
        return Err(Errno::NOBUFS.into());
    }
    let carrier = Carrier::new()?;
    descriptors::send(&carrier.0[0], names, fds)?;
    carriers.push(carrier);
    Ok(())
}

/// What [`unload`] has found.
#[derive(Debug, Default)]
pub struct Unloaded {
    /// Descriptors by name, in the order in which they were put in, if the ends come in the order of the carriers.
    pub all: Vec<(String, OwnedFd)>,
    /// Descriptors that were put in and cannot be had: this process may not have so many open.
    pub lost: usize,
}

/// Takes everything out of carriers: of each pair one end holds it, of whichever order they are.
#[must_use]
pub fn unload(ends: Vec<OwnedFd>) -> Unloaded {
    let mut unloaded = Unloaded::default();
    let mut buffer = vec![0; LONGEST];
    for end in &ends {
        // Another socket may have this name: one that is no carrier has nothing to read, or something that is no name.
        if rustix::io::ioctl_fionbio(end, true).is_err() {
            continue;
        }
        while let Ok(received) = descriptors::receive(end, &mut buffer) {
            if received.bytes == 0 {
                break;
            }
            let Ok(names) = std::str::from_utf8(&buffer[..received.bytes]) else { continue };
            let names: Vec<_> = names.split('\n').collect();
            if received.truncated || received.descriptors.len() != names.len() {
                // Which of them are missing is not certain.
                unloaded.lost += names.len();
                continue;
            }
            let named = names.into_iter().map(str::to_owned).zip(received.descriptors);
            unloaded.all.extend(named);
        }
    }
    unloaded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{PipeReader, pipe};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    fn inode(fd: impl AsFd) -> u64 {
        File::from(fd.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
    }

    fn named<'a>(fd: BorrowedFd<'a>, count: usize) -> Vec<(String, BorrowedFd<'a>)> {
        (0..count).map(|n| (format!("session/3/{n}"), fd)).collect()
    }

    #[test]
    fn what_was_put_in_comes_out_under_its_name() {
        let files: Vec<_> = (0..300).map(|_| tempfile::tempfile().unwrap()).collect();
        let all: Vec<_> =
            files.iter().enumerate().map(|(n, file)| (format!("x/{n}"), file.as_fd())).collect();
        let loaded = load(&all, 4);
        assert_eq!((loaded.carriers.len(), loaded.held), (1, 300));
        assert!(loaded.refused.is_none());
        // The ends come in any order.
        let ends = loaded.carriers.into_iter().flat_map(|carrier| {
            let [one, other] = carrier.into_ends();
            [other, one]
        });
        let unloaded = unload(ends.collect());
        assert_eq!(unloaded.lost, 0);
        let got: Vec<_> = unloaded.all.iter().map(|(name, fd)| (name.clone(), inode(fd))).collect();
        let put: Vec<_> = all.iter().map(|(name, fd)| (name.clone(), inode(fd))).collect();
        assert_eq!(got, put);
    }

    fn closed(mut reader: PipeReader) -> bool {
        use std::io::Read;
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        reader.read(&mut [0]).is_ok_and(|n| n == 0)
    }

    #[test]
    fn thousands_take_few_carriers_and_what_is_beyond_is_said() {
        let (reader, writer) = pipe().unwrap();
        let all = named(writer.as_fd(), 15_000);
        let loaded = load(&all, 9);
        // Root may have any number on their way, others as many as they may have open.
        let limit = crate::os::process::open_files();
        if loaded.held < all.len() {
            assert!(
                loaded.refused.is_some() && loaded.held as u64 >= limit.min(15_000) / 2,
                "{}",
                loaded.held
            );
        }
        assert!(loaded.carriers.len() <= 3, "{} carriers", loaded.carriers.len());
        let few = load(&all, 1);
        assert!(few.refused.is_some() && few.held < all.len() && few.carriers.len() == 1);
        drop((loaded, few, writer));
        assert!(closed(reader), "dropped carriers close what is in them");
    }

    #[test]
    fn a_name_that_is_too_long_ends_it() {
        let (_reader, writer) = pipe().unwrap();
        let all = [("a".to_owned(), writer.as_fd()), ("b".repeat(LONGEST + 1), writer.as_fd())];
        let loaded = load(&all, 4);
        assert_eq!(loaded.held, 1);
        assert!(loaded.refused.is_some());
    }

    #[test]
    fn what_is_no_carrier_gives_nothing() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(other);
        let (reader, writer) = pipe().unwrap();
        let unloaded =
            unload(vec![one.into(), reader.into(), writer.into(), tempfile::tempfile().unwrap().into()]);
        assert!(unloaded.all.is_empty());
    }
}
