//! HTTP/1.1, Server-Sent Events and WebSocket frames, as far as the tests and the load tool speak them.
//!
//! A request goes out exactly as its caller builds it, and an answer hides nothing. Independent of the daemon's own
//! code on purpose: a fault in that code must not hide in its tests.

pub mod events;
pub mod frame;
pub mod http;
