//! Exit codes of the program.

use std::process::ExitCode;

/// Exit codes; `docs/interface.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    /// The command line cannot be understood; clap's own code.
    Usage = 2,
    /// The configuration is bad: `EX_CONFIG` of sysexits(3).
    BadConfiguration = 78,
    /// `internal exec` cannot start its program; the code that a shell uses.
    NotStarted = 127,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
