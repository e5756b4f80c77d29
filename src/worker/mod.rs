//! A worker: clients on one side, the master on the other. [`hub`] owns all sessions; [`http`] turns requests into
//! questions for it; [`life`] begins and ends the process.

mod failure;
mod hearing;
mod http;
mod hub;
mod life;
mod pack;

#[cfg(any(test, fuzzing))]
pub use http::fuzzed;
#[cfg(test)]
pub(crate) use http::{Method, ROUTES};

pub use life::run;
