//! Admission of requests: origin, host, the address behind proxies, rates.

mod buckets;
mod client;
mod host;
mod origin;
mod shares;

pub use buckets::Buckets;
pub use client::{Client, counted};
pub use origin::{Gate, preflight};
pub use shares::{Permit, Shares};
