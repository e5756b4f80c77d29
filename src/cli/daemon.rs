//! `btc-cluster run` is the keeper; it starts `btc-cluster internal master`, which validates the configuration and
//! runs the master.

use super::check;
use super::exit::Exit;
use super::out;
use crate::config::{Faults, Source, load};
use crate::{keeper, log, master};
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
    let (source, loaded) = match source.and_then(|source| load(&source).map(|loaded| (source, loaded))) {
        Ok(both) => both,
        Err(faults) => return check::refuse(&faults),
    };
    log::init(&loaded.config.log, "master");
    for warning in &loaded.warnings {
        tracing::warn!(event = "configuration", %warning);
    }
    match master::run(source, loaded) {
        Ok(()) => {
            tracing::info!(event = "stopped");
            ExitCode::from(Exit::Done)
        }
        Err(failure) => {
            tracing::error!(event = "failed", "{failure}");
            ExitCode::from(Exit::Failed)
        }
    }
}
