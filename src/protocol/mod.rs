//! Messages: to and from clients, and between the processes of the cluster.

mod admission;
mod beat;
pub mod client;
pub mod cluster;
mod endpoint;
mod feeder;
pub mod keeper;
pub mod link;
pub mod manifest;
pub mod peer;
mod relay;
mod role;
