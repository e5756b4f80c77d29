//! The connections to exchanges: HTTP, WebSocket, their limits, and what the exchanges' answers have in common.

mod age;
pub(super) mod batch;
pub(super) mod body;
pub(super) mod budget;
pub(super) mod connection;
pub(super) mod dial;
pub(super) mod digits;
pub(super) mod each;
pub(super) mod http;
pub(super) mod names;
pub(super) mod pace;
pub(super) mod pairs;
pub(super) mod poll;
pub(super) mod pool;
pub(super) mod push;
pub(super) mod pushed;
pub(super) mod reply;
pub(super) mod stamp;
pub(super) mod tls;
