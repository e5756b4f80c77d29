//! `btc-cluster check`: prints the effective configuration, or every fault of it.

use super::exit::Exit;
use crate::config::{Faults, Source, load, render};
use std::io::{self, Write};
use std::process::ExitCode;

pub(super) fn run(source: Result<Source, Faults>) -> ExitCode {
    match source.and_then(|source| load(&source)) {
        Ok(loaded) => {
            // A reader that stops early (`check | head`) is no failure.
            let _ = io::stdout().write_all(render(&loaded).as_bytes());
            ExitCode::from(Exit::Done)
        }
        Err(faults) => refuse(&faults),
    }
}

/// Prints every fault.
pub(super) fn refuse(faults: &Faults) -> ExitCode {
    for fault in &faults.0 {
        eprintln!("{fault}");
    }
    ExitCode::from(Exit::BadConfiguration)
}
