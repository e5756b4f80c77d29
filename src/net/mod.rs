//! Listening sockets and the accept loop.
pub mod accept;
pub mod guard;
pub mod listen;
