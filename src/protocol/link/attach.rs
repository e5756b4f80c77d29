//! Finds the link of a child to its master.

use super::{LinkReceiver, LinkSender, LinkWriter, link};
use crate::os::{process, signals};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use tokio::net::UnixStream;

/// The variable in which a child reads the process id of its master.
pub const PARENT: &str = "BTC_CLUSTER_PARENT";

/// Takes the link from standard input. From here on this process dies with its master and leaves signals to it.
/// Needs a runtime. Standard input stays as it is: programs that this process starts must be given another, or they
/// hold the link open.
///
/// # Errors
/// The master is gone, or this process was not started by one.
pub fn attach() -> io::Result<(LinkSender, LinkReceiver, LinkWriter)> {
    signals::leave_to_master()?;
    let parent = std::env::var(PARENT).ok().and_then(|text| text.parse().ok());
    let alone = || io::Error::new(io::ErrorKind::Unsupported, "this command is for the daemon's own use");
    process::die_with_parent(parent.ok_or_else(alone)?)?;
    process::be_no_late_victim();
    let stream = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Fails if standard input is no socket.
    stream.peer_addr()?;
    stream.set_nonblocking(true)?;
    Ok(link(UnixStream::from_std(stream)?))
}
