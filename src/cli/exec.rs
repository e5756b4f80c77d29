//! `btc-cluster internal exec PARENT FILES PROGRAM...`: becomes that program, which may open FILES files, and which the
//! kernel kills when PARENT dies.
//!
//! The setting that kills a process with its parent survives `execve(2)` but not `fork(2)`, and only unsafe code could
//! make it between the two. So the feeder starts this command, which makes the setting and becomes the program.

use super::exit::Exit;
use super::out::complain;
use crate::os::inherited::limit_files;
use crate::os::process::die_with_parent;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

pub(super) fn run(words: &[OsString]) -> ExitCode {
    let [parent, files, program, arguments @ ..] = words else { return ExitCode::from(Exit::Usage) };
    let number = |word: &OsString| word.to_str().and_then(|text| text.parse::<u64>().ok());
    let (Some(parent), Some(files)) = (number(parent), number(files)) else {
        return ExitCode::from(Exit::Usage);
    };
    limit_files(files);
    if let Err(error) = die_with_parent(u32::try_from(parent).unwrap_or(0)) {
        complain(&format!("cannot be started: {error}"));
        return ExitCode::from(Exit::Failed);
    }
    let error = Command::new(program).args(arguments).exec();
    complain(&format!("cannot be started: {error}"));
    ExitCode::from(Exit::NotStarted)
}
