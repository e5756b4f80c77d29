//! Messages: to and from clients, and between the processes of the cluster.

mod admission;
mod attach;
mod beat;
pub mod client;
pub mod cluster;
mod door;
mod endpoint;
mod feeder;
mod handover;
pub mod keeper;
mod left;
pub mod line;
pub mod link;
pub mod manifest;
mod moves;
pub mod orders;
pub mod peer;
mod question;
mod relay;
pub mod renewal;
mod role;

pub use attach::{attach_line, attach_to_masters};
