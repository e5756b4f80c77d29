//! `btc-cluster run`: validates the configuration, then runs the master.

use super::check;
use super::exit::Exit;
use crate::config::{Faults, Source, load};
use crate::{log, master};
use std::process::ExitCode;

pub(super) fn run(source: Result<Source, Faults>) -> ExitCode {
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
