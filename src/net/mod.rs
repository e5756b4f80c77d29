//! Listening sockets and the accept loop.
