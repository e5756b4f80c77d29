//! `btc-cluster check`: prints the effective configuration, or every fault of it.

use super::exit::Exit;
use super::out;
use crate::config::{Faults, Source, load, render};
use std::process::ExitCode;

pub(super) fn run(source: Result<Source, Faults>) -> ExitCode {
    match source.and_then(|source| load(&source)) {
        Ok(loaded) => out::end(&render(&loaded), Exit::Done),
        Err(faults) => refuse(&faults),
    }
}

/// Prints every fault.
pub(super) fn refuse(faults: &Faults) -> ExitCode {
    for fault in &faults.0 {
        out::complain(&fault.to_string());
    }
    ExitCode::from(Exit::BadConfiguration)
}
