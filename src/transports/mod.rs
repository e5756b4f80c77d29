//! A connection that has become a session: its bytes in both directions.

pub mod sse;
pub mod ws;
