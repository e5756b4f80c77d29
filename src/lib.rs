//! btc-cluster

pub mod model;
pub mod os;
pub mod ws;

pub mod config;
pub mod log;
pub mod protocol;

pub mod access;
pub mod net;
pub mod session;
pub mod stats;

pub mod providers;
pub mod supervisor;
pub mod transports;

pub mod feeder;
pub mod master;
pub mod worker;

pub mod cli;
