//! What is said on wires: to clients, and between the processes of the cluster.

pub mod client;
pub mod cluster;
pub mod link;
