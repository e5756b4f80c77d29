//! TLS of the listening sockets, with rustls: certificates and when they change, tickets that all workers take, the
//! configuration of each port, and how many handshakes are computed at once.
//!
//! ```text
//! files ─▶ Certificates (master) ─▶ Pair ─▶ Served ─┐
//!          Secrets (master) ────────────▶ Tickets ──┴▶ a ServerConfig for each port (worker), replaced whole
//! a connection ─▶ handshake::begin, in a turn of Turns ─▶ a stream for hyper ─▶ Secured, for a session
//! ```
//!
//! Out of scope: ACME, OCSP stapling, early data, client certificates on any port but that of admins.

pub mod certificates;
pub mod files;
pub mod given;
pub mod handshake;
pub mod pair;
pub mod queue;
pub mod renewal;
pub mod secrets;
pub mod secured;
pub mod served;
pub mod server;
pub mod stream;
pub mod tickets;
pub mod turns;
mod validity;

#[cfg(test)]
mod loopback_tests;
