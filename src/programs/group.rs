//! A running program and all that it starts: one process group, which ends with its owner.

use crate::os::inherited::program_files;
use rustix::fs::{Access, access};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

/// `PATH` of a program when the daemon itself has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A killed process that is not gone within this time hangs in the kernel (a dead disk): nobody waits for it.
const REAP: Duration = Duration::from_secs(5);

/// Output of a program.
pub(crate) enum Outlet<'a> {
    /// On standard output.
    Out(&'a [u8]),
    /// On standard error.
    Err(&'a [u8]),
    /// The program has ended or closed its output.
    End,
}

/// The process group of a program. When dropped, all of it is killed at once and the runtime reaps the program.
pub(crate) struct Group {
    child: Child,
    leader: Pid,
    /// Readable when the program has ended. The program is not reaped by that: its number stays its own until the
    /// group has been killed.
    exit: AsyncFd<OwnedFd>,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    exited: bool,
    reaped: bool,
    bytes: Box<[u8; 1024]>,
    noise: Box<[u8; 1024]>,
}

static GUARDED: AtomicBool = AtomicBool::new(false);

/// Starts programs from now on through this executable's hidden command (`internal exec`), so that the kernel kills
/// them when this process is killed. For the daemon: a test's executable has no such command.
pub fn guard_programs() {
    GUARDED.store(true, Ordering::Relaxed);
}

fn command(program: &[String]) -> Command {
    let mut words = program.iter();
    let mut command = if GUARDED.load(Ordering::Relaxed) {
        let mut command = Command::new("/proc/self/exe");
        let (parent, files) = (std::process::id().to_string(), program_files().to_string());
        command.args(["internal", "exec", &parent, &files]);
        command
    } else {
        Command::new(words.next().map(String::as_str).unwrap_or_default())
    };
    command.args(words);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

#[expect(
    deprecated,
    reason = "sound for what owns its descriptor, as this does; its successor is unsafe code"
)]
fn watch(exit: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(exit, Interest::READABLE)
}

impl Group {
    /// Starts a program: its path and its arguments.
    ///
    /// # Errors
    /// As `execve(2)`; as `pidfd_open(2)`.
    pub(crate) fn start(program: &[String]) -> io::Result<Self> {
        // Through `internal exec` this error would only be written to standard error.
        access(program.first().map(String::as_str).unwrap_or_default(), Access::EXEC_OK)?;
        let mut child = command(program).spawn()?;
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        let leader = number.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let exit = pidfd_open(leader, PidfdFlags::NONBLOCK)?;
        Ok(Self {
            out: child.stdout.take(),
            err: child.stderr.take(),
            exit: watch(exit)?,
            child,
            leader,
            exited: false,
            reaped: false,
            bytes: Box::new([0; 1024]),
            noise: Box::new([0; 1024]),
        })
    }

    /// Waits for the next output; for nothing but the end unless `listen`. Cancel-safe.
    pub(crate) async fn outlet(&mut self, listen: bool) -> Outlet<'_> {
        loop {
            let Self { out, err, bytes, noise, exit, exited, .. } = self;
            // The result is returned below: the compiler would hold its loan in the other arms, too.
            let (which, read) = tokio::select! {
                read = read(out, &mut bytes[..]), if listen => (true, read),
                read = read(err, &mut noise[..]), if listen && err.is_some() => (false, read),
                ended = exit.readable(), if !*exited => {
                    *exited = ended.is_ok();
                    return Outlet::End;
                }
            };
            match (which, read) {
                (true, 0) => return Outlet::End,
                (true, read) => return Outlet::Out(&self.bytes[..read]),
                (false, 0) => self.err = None,
                (false, read) => return Outlet::Err(&self.noise[..read]),
            }
        }
    }

    /// Reads, after the first end, what is still in the pipe, until the output is closed and the program has ended.
    pub(crate) async fn rest(&mut self) -> Outlet<'_> {
        if self.out.is_some() {
            let read = read(&mut self.out, &mut self.bytes[..]).await;
            if read > 0 {
                return Outlet::Out(&self.bytes[..read]);
            }
            self.out = None;
        }
        if !self.exited {
            self.exited = self.exit.readable().await.is_ok();
        }
        while self.err.is_some() {
            match read(&mut self.err, &mut self.noise[..]).await {
                0 => self.err = None,
                read => return Outlet::Err(&self.noise[..read]),
            }
        }
        Outlet::End
    }

    /// Whether the program has ended by itself.
    pub(crate) fn exited(&self) -> bool {
        self.exited
    }

    /// Kills what is left and returns how the program ended.
    pub(crate) async fn end(mut self) -> Option<ExitStatus> {
        self.kill();
        let status = timeout(REAP, self.child.wait()).await.ok()?.ok();
        self.reaped = status.is_some();
        status
    }

    fn kill(&self) {
        // Fails only if no process of the group is left.
        let _ = kill_process_group(self.leader, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

/// Reads some bytes; none at the end, at an error, and when there is nothing to read from.
async fn read(from: &mut Option<impl AsyncReadExt + Unpin>, into: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(into).await.unwrap_or(0),
        None => 0,
    }
}
