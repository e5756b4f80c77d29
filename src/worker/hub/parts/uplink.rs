//! The only way to the master.

use super::tickets::Report;
use crate::protocol::client::Token;
use crate::protocol::cluster::{Generation, To, ToMaster};
use crate::protocol::link::{LinkError, LinkSender};
use crate::protocol::peer::Peer;

/// The link to the master, which relays to the other workers.
#[derive(Debug)]
pub(in crate::worker) struct Uplink(LinkSender);

impl Uplink {
    pub fn new(sender: LinkSender) -> Self {
        Self(sender)
    }

    /// Says something to the master, or why that cannot be said.
    pub(in crate::worker) fn send(&self, message: &ToMaster<'_>) -> Result<(), LinkError> {
        self.0.send(message)
    }

    /// Says something to the master. The master kills a worker whose link stays full.
    pub fn tell(&self, message: &ToMaster<'_>) {
        if let Err(error) = self.send(message) {
            tracing::debug!(%error, "the master did not hear");
        }
    }

    /// Tells the master how an order has ended.
    pub fn report(&self, report: Option<Report>) {
        if let Some(Report { ticket, tally }) = report {
            self.tell(&ToMaster::Delivered { ticket, tally });
        }
    }

    /// Says something to another worker.
    pub fn relay(&self, to: Generation, peer: &Peer) {
        self.relay_to(To::Process(to), peer);
    }

    /// Says something to the worker to which a token leads.
    pub fn relay_home(&self, token: &Token, peer: &Peer) {
        self.relay_to(To::Home(token.name()), peer);
    }

    fn relay_to(&self, to: To, peer: &Peer) {
        let sent = peer
            .encode()
            .map_err(LinkError::Garbage)
            .and_then(|payload| self.send(&ToMaster::Relay { to, notice: peer.notice(), payload: &payload }));
        match (sent, peer.shortened()) {
            (Ok(()), _) => {}
            (Err(LinkError::Oversized(_)), Some(shorter)) => self.relay_to(to, &shorter),
            (Err(error), _) => tracing::debug!(%error, "another worker does not hear this one"),
        }
    }
}
