//! Sources that push: how they are listened to, and how their messages read.

use crate::providers::{Fault, Sink};
use std::time::Duration;

/// How an exchange is listened to and how its messages read. Pure: no socket, no clock. What it remembers belongs
/// to one connection: each begins with a clone of the dialect in its first state.
pub(in crate::providers) trait Push: Clone + Send + Sync + 'static {
    /// Where, `wss://...`.
    fn url(&self) -> String;

    /// What is said first, with a pause between two messages.
    fn hello(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is said every so often.
    fn keepalive(&self) -> Option<(Duration, String)> {
        None
    }

    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it. [`Fault::Skip`] is counted, [`Fault::Reconnect`] makes the driver open another
    /// connection while this one is read on, everything else ends the connection.
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault>;
}

/// The reading half of a [`Push`], which as a whole is cloned and so cannot be an object.
pub(in crate::providers) trait MessageReader: Send {
    /// See [`Push::read`].
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault>;
}

impl<D: Push> MessageReader for D {
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        Push::read(self, message, out)
    }
}

/// When a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) struct Limits {
    /// Without any frame for so long it is dead.
    pub silence: Duration,
    /// Without a price for so long it is useless, heartbeats or not.
    pub no_tick: Duration,
    /// After so long a new one takes its place; zero: never.
    pub renew_after: Duration,
}
