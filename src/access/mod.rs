//! Admission of requests: origin, host, the address behind proxies, rates, and who gives way where there is no room;
//! tokens.

mod buckets;
mod client;
mod forwarded;
mod host;
mod origin;
mod permits;
mod pool;
#[expect(unused_imports, reason = "key sets are fetched, and tokens revoked, from a later change on")]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "key sets are fetched, and tokens revoked, from a later change on")
)]
pub mod tokens;

pub use buckets::Buckets;
pub use client::{Client, Proxies, counted};
pub use origin::{Admitted, Denied, Gate, Head, Place, is_foreign, is_planted, preflight};
pub use permits::{Permit, Permits};
pub use pool::{Hold, Measure, Pool, UNUSED, Use};
