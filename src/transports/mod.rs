//! Bytes of a connection to a session and back.

pub mod ws;
