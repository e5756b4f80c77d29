//! Bytes of a connection to a session and back.

pub mod sse;
pub mod ws;
