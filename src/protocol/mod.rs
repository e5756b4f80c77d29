//! Messages: to and from clients, and between the processes of the cluster.

mod admission;
mod attach;
mod beat;
pub mod client;
pub mod cluster;
mod endpoint;
mod feeder;
pub mod keeper;
pub mod line;
pub mod link;
pub mod manifest;
pub mod peer;
mod relay;
mod role;

pub use attach::{Attached, as_link, attach, attach_line};
