//! The one way in which commands print. A reader that has gone is a quiet end, output that is lost a failure.

use super::exit::Exit;
use std::io::{self, ErrorKind, Write};
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
    let mut output = io::stdout().lock();
    // Flushed here: at the exit nobody hears of an error.
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Unprinted::from)
}

/// Prints one line to standard error. What cannot be said there can be said nowhere.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
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
