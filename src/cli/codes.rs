//! Exit codes.

/// Done.
pub(super) const OK: u8 = 0;
/// It did not work.
pub(super) const FAILED: u8 = 1;
/// The command line makes no sense (clap's own).
pub(super) const USAGE: u8 = 2;
/// `EX_CONFIG` of sysexits(3): the configuration is bad.
pub(super) const BAD_CONFIGURATION: u8 = 78;
