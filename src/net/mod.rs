//! Listening sockets, the accept loop, and the time limits of connections.

pub mod accept;
pub mod even;
pub mod guard;
pub mod kept;
pub mod listen;
