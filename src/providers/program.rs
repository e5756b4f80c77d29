//! A program that runs, with all that it starts: one process group, which does not outlive its owner here.

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

/// What a program finds its own programs by, where we have no `PATH` ourselves.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A process that was killed is gone within this time, or it is the kernel's (a dead disk) and nobody waits for it.
const REAP: Duration = Duration::from_secs(5);

/// What came out of a program.
pub(crate) enum Outlet<'a> {
    /// On standard output.
    Out(&'a [u8]),
    /// On standard error.
    Err(&'a [u8]),
    /// It has ended, or closed its output.
    End,
}

/// The group. Dropping it kills all of it at once; the program itself is reaped by the runtime then.
pub(crate) struct Group {
    child: Child,
    leader: Pid,
    /// Readable when the program has ended; it is not reaped by that, so that its number stays its own until the
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

/// From now on programs are started by way of this executable's own hidden command (`internal exec`), which sees to it
/// that the kernel kills them when this process is killed. For the daemon; a test's executable has no such command.
pub fn guard_programs() {
    GUARDED.store(true, Ordering::Relaxed);
}

fn command(program: &[String]) -> Command {
    let mut words = program.iter();
    let mut command = if GUARDED.load(Ordering::Relaxed) {
        let mut command = Command::new("/proc/self/exe");
        command.args(["internal", "exec", &std::process::id().to_string()]);
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
        // By the detour of `internal exec` this would only be said on standard error.
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

    /// The next thing that comes out; nothing but the end unless `listen`. May be dropped and called again.
    pub(crate) async fn outlet(&mut self, listen: bool) -> Outlet<'_> {
        loop {
            let Self { out, err, bytes, noise, exit, exited, .. } = self;
            // What was read is returned below: the compiler would hold its loan in the other arms, too.
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

    /// After the first end: what is still in the pipe, until the output is closed and the program has ended.
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

    /// Whether the program has been seen to end by itself.
    pub(crate) fn exited(&self) -> bool {
        self.exited
    }

    /// Kills what is left, and says how the program ended.
    pub(crate) async fn end(mut self) -> Option<ExitStatus> {
        self.kill();
        let status = timeout(REAP, self.child.wait()).await.ok()?.ok();
        self.reaped = status.is_some();
        status
    }

    fn kill(&self) {
        // Nobody of it may be left.
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

/// Bytes that were read; none at the end, at an error, and where there is nothing to read from.
async fn read(from: &mut Option<impl AsyncReadExt + Unpin>, into: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(into).await.unwrap_or(0),
        None => 0,
    }
}
