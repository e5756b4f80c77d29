//! Start and end of a child. How a child finds its master is in `protocol/link/attach.rs`.

use crate::os::inherited;
use crate::protocol::cluster::Role;
use crate::protocol::keeper::End;
use crate::protocol::link::{LinkReceiver, LinkSender, LinkWriter, PARENT, link};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::process::Stdio;
use tokio::net::UnixStream;
use tokio::process::Command;

/// The running program, even when its file has been replaced or deleted.
const PROGRAM: &str = "/proc/self/exe";
/// The hidden subcommand of children.
pub const SUBCOMMAND: &str = "internal";
/// Variables by which systemd speaks to the master alone.
pub const MASTERS_OWN: [&str; 8] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "MAINPID",
];

/// A child that has just been started.
#[derive(Debug)]
pub struct Spawned {
    pub pid: u32,
    /// Sends messages to the child.
    pub sender: LinkSender,
    /// Receives the messages of the child.
    pub receiver: LinkReceiver,
    /// Writes what is sent. Run it as a task.
    pub writer: LinkWriter,
    /// The exit, to be awaited in a task. Earlier messages may still be in the link.
    pub exit: Exit,
}

/// Starts a child. Call it on the main thread: a child dies with the *thread* that started it.
///
/// # Errors
/// As `socketpair(2)`, `fork(2)` and `execve(2)`: too many processes, no memory.
pub fn spawn(role: Role) -> io::Result<Spawned> {
    spawn_program(role, OsStr::new(PROGRAM), &[SUBCOMMAND.into(), role.as_str().into()])
}

fn spawn_program(role: Role, program: &OsStr, arguments: &[OsString]) -> io::Result<Spawned> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let child = command(role, program, arguments).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    let (sender, receiver, writer) = link(ours);
    Ok(Spawned { pid: child.id().unwrap_or(0), sender, receiver, writer, exit: Exit(child) })
}

fn command(role: Role, program: &OsStr, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.arg0(format!("btc-cluster: {role}")).args(arguments).env(PARENT, std::process::id().to_string());
    command.env(inherited::PROGRAM_FILES, inherited::program_files().to_string());
    for name in MASTERS_OWN {
        command.env_remove(name);
    }
    command
}

/// A future of the [`End`] of a child.
#[derive(Debug)]
pub struct Exit(tokio::process::Child);

impl IntoFuture for Exit {
    type Output = End;
    type IntoFuture = Pin<Box<dyn Future<Output = End> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move { self.0.wait().await.map_or(End::Unknown, End::from) })
    }
}

#[cfg(test)]
mod tests;
