//! Listening sockets, the accept loop, the time limits of connections, and which of them give way.

pub mod accept;
pub mod even;
pub mod give_way;
pub mod guard;
pub mod kept;
pub mod listen;
pub mod phase;
