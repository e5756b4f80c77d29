//! The server's frame layer of RFC 6455, without input or output: bytes in, messages out.
//!
//! A session owns a [`Decoder`] and nothing else: bytes are read into a buffer that all sessions of a worker
//! share, unmasked where they lie and borrowed by the [`Event`]s. Only an unfinished frame or message is kept,
//! and given back as soon as it is whole. What the server says is made by [`frame`], once for all who hear it.
//! [`handshake`] judges an upgrade request; the answer itself is the HTTP stack's.
//!
//! Not here: extensions (none is offered), the client's side (that is tokio-tungstenite's), how many pings or
//! messages a second are too many, and when a close is answered: `session` knows.

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

pub use decoder::{Decoder, Event, Events};
pub use violation::Violation;
