//! The server's frame layer of RFC 6455, without input or output: bytes in, messages out.
//!
//! A session owns a [`Decoder`] and nothing else: bytes are read into a buffer that all sessions of a worker share,
//! unmasked in place and borrowed by the [`Event`]s. Only an unfinished frame or message is kept, and freed as soon as
//! it is complete. [`frame`] makes what the server sends, once for all its receivers. [`handshake`] checks an upgrade
//! request; the HTTP stack answers it.
//!
//! Out of scope: extensions (none is offered), the client's side (tokio-tungstenite), limits of pings and messages per
//! second, and when a close is answered: `session` decides.

mod close;
pub mod code;
mod decoder;
pub mod frame;
pub mod handshake;
mod header;
mod mask;
mod message;
mod violation;

#[cfg(test)]
mod client;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod rules;

pub use decoder::{Decoder, Event};
pub use violation::Violation;
