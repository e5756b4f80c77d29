//! Who may come in: origin, host, the address behind proxies.

mod buckets;

pub use buckets::Buckets;
