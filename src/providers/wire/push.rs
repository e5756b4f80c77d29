//! Sources that push: how to subscribe, and how their messages read.

use crate::providers::{Fault, Sink};
use std::time::Duration;

/// Subscribes to an exchange and reads its messages. Pure: no socket, no clock. The state belongs to one connection:
/// each begins with a clone of the dialect in its first state.
pub(in crate::providers) trait Push: Clone + Send + Sync + 'static {
    /// The address, `wss://...`.
    fn url(&self) -> String;

    /// The first messages, sent with a pause in between.
    fn hello(&self) -> Vec<String> {
        Vec::new()
    }

    /// The keep-alive message and its interval.
    fn keepalive(&self) -> Option<(Duration, String)> {
        None
    }

    /// Messages to send after the last one that was read, once.
    fn follow_up(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with the message. [`Fault::Skip`] is counted, [`Fault::Reconnect`] makes the driver open another
    /// connection while this one is read on, any other fault ends the connection.
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault>;
}

/// The reading half of a [`Push`], which as a whole is `Clone` and so cannot be an object.
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
    /// Longest time without a frame.
    pub silence: Duration,
    /// Longest time without a price, whether heartbeats arrive or not.
    pub no_tick: Duration,
    /// The age at which a new connection replaces it; zero: never.
    pub renew_after: Duration,
}
