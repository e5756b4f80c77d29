//! The command line.

use std::process::ExitCode;

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
