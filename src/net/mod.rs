//! Listening sockets, the accept loop, the time limits of connections, and which of them give way.

pub mod accept;
pub mod even;
pub mod give_way;
pub mod guard;
pub mod kept;
pub mod listen;
pub mod phase;
pub mod proxied;
// Nothing outside uses it before the listeners do.
#[cfg_attr(not(test), expect(dead_code, reason = "the worker and the master take it up next"))]
pub mod tls;
