//! Admission of requests: origin, host, the address behind proxies, rates.

mod buckets;
mod client;
mod host;
mod origin;

pub use buckets::Buckets;
pub use client::Client;
pub use origin::{Admitted, Denied, Gate, Head, Place, is_foreign, is_planted, preflight};
