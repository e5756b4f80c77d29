//! `btc-cluster check`: prints the effective configuration, or every fault of it.

use super::exit::Exit;
use super::out;
use crate::config::{Fault, Faults, Loaded, Source, load, render};
use crate::net::tls::certificates::{Before, Certificates};
use crate::os::clock;
use std::process::ExitCode;

pub(super) fn run(source: Result<Source, Faults>) -> ExitCode {
    match source.and_then(|source| load(&source)).and_then(with_certificates) {
        Ok(loaded) => out::end(&render(&loaded), Exit::Done),
        Err(faults) => refuse(&faults),
    }
}

/// Reads the certificates, too.
fn with_certificates(mut loaded: Loaded) -> Result<Loaded, Faults> {
    let certificates = Certificates::of(&loaded, Before::default(), clock::mono())?;
    for (key, text) in certificates.warnings(clock::wall()) {
        let mut faults: Vec<Fault> = loaded.fault(key, text).0;
        loaded.warnings.append(&mut faults);
    }
    Ok(loaded)
}

/// Prints every fault.
pub(super) fn refuse(faults: &Faults) -> ExitCode {
    for fault in &faults.0 {
        out::complain(&fault.to_string());
    }
    ExitCode::from(Exit::BadConfiguration)
}
