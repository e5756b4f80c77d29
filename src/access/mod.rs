//! Who may come in: origin, host, the address behind proxies.

mod buckets;

pub use buckets::Buckets;
/// stub
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// a
    pub address: std::net::IpAddr,
    /// b
    pub counted: std::net::IpAddr,
}
