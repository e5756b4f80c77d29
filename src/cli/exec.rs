//! `btc-cluster internal exec PARENT PROGRAM...`: becomes that program, which the kernel kills when PARENT dies.
//!
//! The setting that kills a process with its parent survives `execve(2)` but not `fork(2)`, and only unsafe code could
//! make it between the two. So the feeder starts this command, which makes the setting and becomes the program.

use super::exit::Exit;
use super::out::complain;
use crate::os::process::die_with_parent;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

pub(super) fn run(words: &[OsString]) -> ExitCode {
    let [parent, program, arguments @ ..] = words else { return ExitCode::from(Exit::Usage) };
    let Some(parent) = parent.to_str().and_then(|text| text.parse().ok()) else {
        return ExitCode::from(Exit::Usage);
    };
    if let Err(error) = die_with_parent(parent) {
        complain(&format!("cannot be started: {error}"));
        return ExitCode::from(Exit::Failed);
    }
    let error = Command::new(program).args(arguments).exec();
    complain(&format!("cannot be started: {error}"));
    ExitCode::from(Exit::NotStarted)
}
