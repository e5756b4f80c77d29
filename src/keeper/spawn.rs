//! Starts processes: the master, and what it orders. How a process finds its keeper is in `protocol/attach.rs`.

use crate::os::{inherited, process};
use crate::protocol::cluster::Role;
use crate::protocol::keeper::{KEEPERS_OWN, PARENT, STORE, SUBCOMMAND};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The running program, even when its file has been replaced or deleted.
const PROGRAM: &str = "/proc/self/exe";

/// Starts the master, with the arguments that say which configuration is meant.
///
/// # Errors
/// As `socketpair(2)`, `fork(2)` and `execve(2)`: too many processes, no memory.
pub(super) fn master(configuration: &[OsString], image: Option<&OwnedFd>) -> io::Result<(u32, UnixStream)> {
    let mut arguments = configuration.to_vec();
    arguments.extend([SUBCOMMAND.into(), "master".into()]);
    program("btc-cluster: master", &path(image), &arguments)
}

/// Starts another process.
///
/// # Errors
/// As [`master`].
pub(super) fn child(role: Role, image: Option<&OwnedFd>) -> io::Result<(u32, UnixStream)> {
    let arguments = [SUBCOMMAND.into(), role.as_str().into()];
    program(&format!("btc-cluster: {role}"), &path(image), &arguments)
}

/// The path of a program, whatever lies at its own by now; `None` is this one.
fn path(image: Option<&OwnedFd>) -> OsString {
    image.map_or_else(|| PROGRAM.into(), |image| format!("/proc/self/fd/{}", image.as_raw_fd()).into())
}

/// Call it on the main thread: a process dies with the *thread* that started it.
fn program(name: &str, program: &OsStr, arguments: &[OsString]) -> io::Result<(u32, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = command(name, program, arguments).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    Ok((child.id(), ours))
}

fn command(name: &str, program: &OsStr, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).env(PARENT, std::process::id().to_string());
    command.env(inherited::PROGRAM_FILES, inherited::program_files().to_string());
    command.env(process::RUN, process::run());
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        command.env(STORE, "1");
    }
    for name in KEEPERS_OWN {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_for_the_keeper_alone() {
        let command = command("x", OsStr::new("x"), &[]);
        let changes: Vec<_> = command.get_envs().collect();
        for name in
            ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
        {
            assert!(changes.contains(&(OsStr::new(name), None)), "{name}");
        }
        let parent = std::process::id().to_string();
        assert!(changes.contains(&(OsStr::new(PARENT), Some(OsStr::new(&parent)))));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = program("x", OsStr::new("/nowhere/at/all"), &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
