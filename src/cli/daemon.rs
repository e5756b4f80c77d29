//! `btc-cluster run` is the keeper; it starts `btc-cluster internal master`, which validates the configuration and
//! runs the master.

use super::check;
use super::exit::Exit;
use super::out;
use crate::config::{Faults, Source};
use crate::os::signals;
use crate::{keeper, master};
use std::ffi::OsString;
use std::process::ExitCode;

/// Keeps the daemon; its status is the master's.
pub(super) fn run(configuration: Vec<OsString>) -> ExitCode {
    match keeper::run(configuration) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            out::complain(&error.to_string());
            ExitCode::from(Exit::Failed)
        }
    }
}

pub(super) fn master(source: Result<Source, Faults>) -> ExitCode {
    // Ctrl-C reaches the whole group, also while files are read. Fails only for signals that cannot be handled.
    let _ = signals::leave_to_master();
    let source = match source {
        Ok(source) => source,
        Err(faults) => return check::refuse(&faults),
    };
    match master::run(source) {
        Ok(()) => {
            tracing::info!(event = "stopped");
            ExitCode::from(Exit::Done)
        }
        Err(master::Failure::Configuration(faults)) => check::refuse(&faults),
        Err(failure) => {
            tracing::error!(event = "failed", "{failure}");
            ExitCode::from(Exit::Failed)
        }
    }
}
