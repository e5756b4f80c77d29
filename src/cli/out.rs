//! The one way in which commands print. A reader that has gone is a quiet end, output that is lost a failure.

use super::exit::Exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Why nothing more can be printed.
#[derive(Debug)]
pub(super) enum Unprinted {
    /// The reader has gone (`| head`): it has what it wanted.
    Closed,
    /// The output is lost: a full disk.
    Lost(io::Error),
}

/// Prints a text to standard output, whole.
///
/// # Errors
/// Why not.
pub(super) fn print(text: &str) -> Result<(), Unprinted> {
    put(io::stdout().lock(), text.as_bytes()).map_err(Unprinted::from)
}

/// Writes all, also where somebody who shares the pipe or terminal has made it not wait.
fn put(mut output: impl Write + AsFd, text: &[u8]) -> io::Result<()> {
    let mut rest = text;
    loop {
        // Flushed here: at the exit nobody hears of an error.
        let done = if rest.is_empty() { output.flush().map(|()| 0) } else { output.write(rest) };
        match done {
            Ok(0) if rest.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(&output, PollFlags::OUT)];
                retry_on_intr(|| poll(&mut ready, None))?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Prints one line to standard error. What cannot be said there can be said nowhere.
pub(super) fn complain(text: &str) {
    let _ = put(io::stderr().lock(), format!("{text}\n").as_bytes());
}

/// Prints a command's whole output; its code is `code` unless the output is lost.
pub(super) fn end(text: &str, code: Exit) -> ExitCode {
    ended(print(text), code)
}

/// The code of a command that printed what it had to say.
pub(super) fn ended(printed: Result<(), Unprinted>, code: Exit) -> ExitCode {
    match printed {
        Ok(()) | Err(Unprinted::Closed) => ExitCode::from(code),
        Err(Unprinted::Lost(error)) => {
            complain(&format!("standard output: {error}"));
            ExitCode::from(if code == Exit::Done { Exit::Failed } else { code })
        }
    }
}

impl From<io::Error> for Unprinted {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Lost(error),
        }
    }
}
