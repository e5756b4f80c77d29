//! The only way to the master, and to the next one when it is gone.

use super::heard::Heard;
use super::tickets::{MISSED, Report};
use crate::protocol::client::Token;
use crate::protocol::cluster::{Generation, NO_RECEIPT, Step, To, ToMaster};
use crate::protocol::link::{LinkError, LinkSender};
use crate::protocol::peer::Peer;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of questions that may wait while there is no master; who asks more is told that the cluster is busy.
const HELD: usize = 8 << 20;

/// The link to the master, which relays to the other workers.
#[derive(Debug)]
pub(in crate::worker) struct Uplink {
    link: LinkSender,
    /// Messages so far.
    messages: AtomicU64,
    /// While there is no master, or it gives way: what the next one is asked.
    held: Option<RefCell<Held>>,
    /// Whether there is no master.
    lost: bool,
    /// What came once already.
    pub(in crate::worker) heard: Heard,
    /// Fingerprint of the configuration.
    pub(in crate::worker) config: u64,
    /// The worker has said that it is ready.
    pub(in crate::worker) ready: bool,
}

#[derive(Debug, Default)]
struct Held {
    messages: Vec<Box<[u8]>>,
    bytes: usize,
}

/// Whether a message waits for the next master. The others tell what that one hears anyway.
fn waits(message: &ToMaster<'_>) -> bool {
    match message {
        ToMaster::Deliver { .. }
        | ToMaster::Publish { .. }
        | ToMaster::Ask { .. }
        | ToMaster::Relay { .. }
        | ToMaster::Learnt(_)
        | ToMaster::Drained => true,
        ToMaster::Room { step: Step::Enter { request, .. }, .. } => *request != NO_RECEIPT,
        _ => false,
    }
}

impl Uplink {
    pub fn new(link: LinkSender, config: u64) -> Self {
        let (messages, heard) = (AtomicU64::new(0), Heard::default());
        Self { link, messages, held: None, lost: false, heard, config, ready: false }
    }

    /// How many messages were said so far.
    pub fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }

    /// Bytes that were said to this master.
    pub fn said(&self) -> u64 {
        self.link.said()
    }

    /// Bytes of those that the kernel has. `None`: there is no master; what was said is repeated to the next.
    pub fn written(&self) -> Option<u64> {
        (!self.lost).then(|| self.link.written())
    }

    /// Says something to the master, or why that cannot be said.
    pub(in crate::worker) fn send(&self, message: &ToMaster<'_>) -> Result<(), LinkError> {
        self.messages.fetch_add(1, Relaxed);
        let Some(held) = &self.held else { return self.link.send(message) };
        let gives_way = !self.lost;
        if gives_way && !matches!(message, ToMaster::Deliver { .. }) {
            return self.link.send(message);
        }
        if !waits(message) {
            return Ok(());
        }
        let bytes = postcard::to_allocvec(message).map_err(LinkError::Garbage)?;
        held.borrow_mut().push(bytes.into())
    }

    /// Says something with descriptors, which no other master could be told again.
    fn send_with(&self, message: &ToMaster<'_>, with: Vec<OwnedFd>) -> Result<(), LinkError> {
        if self.lost {
            return Err(LinkError::Closed);
        }
        self.messages.fetch_add(1, Relaxed);
        self.link.send_with(message, with)
    }

    /// Says something to the master. The master kills a worker whose link stays full.
    pub(in crate::worker) fn tell(&self, message: &ToMaster<'_>) {
        if let Err(error) = self.send(message) {
            tracing::debug!(%error, "the master did not hear");
        }
    }

    /// Tells the master how an order has ended.
    pub fn report(&self, report: Option<Report>) {
        if let Some(Report { ticket, tally }) = report {
            self.tell(&ToMaster::Delivered { ticket: ticket & !MISSED, tally });
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

    /// Says something to another worker with descriptors beside it.
    pub fn relay_with(&self, to: Generation, peer: &Peer, with: Vec<OwnedFd>) {
        let (to, notice) = (To::Process(to), peer.notice());
        let sent = peer
            .encode()
            .map_err(LinkError::Garbage)
            .and_then(|payload| self.send_with(&ToMaster::Relay { to, notice, payload: &payload }, with));
        if let Err(error) = sent {
            tracing::error!(event = "sessions-unsent", %error, "another worker does not get them");
        }
    }

    /// Whether the kernel has so many bytes of what was said; behind a new master, all.
    pub fn is_written(&self, said: u64) -> bool {
        self.link.written() >= said || self.link.waiting() == 0
    }

    /// Says something that the kernel is to have at once, if it takes it.
    pub fn tell_at_once(&self, message: &ToMaster<'_>) {
        if self.held.is_some() {
            return self.tell(message);
        }
        self.messages.fetch_add(1, Relaxed);
        if let Err(error) = self.link.send_at_once(message, Vec::new()) {
            tracing::debug!(%error, "the master did not hear");
        }
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

    /// Gives the master a descriptor with a message.
    ///
    /// # Errors
    /// The link is broken.
    pub(in crate::worker) fn give(&self, message: &ToMaster<'_>, with: OwnedFd) -> Result<(), LinkError> {
        self.messages.fetch_add(1, Relaxed);
        self.link.send_with(message, vec![with])
    }

    /// Bytes that the kernel has not taken yet.
    pub(in crate::worker) fn waiting(&self) -> usize {
        self.link.waiting() + self.held.as_ref().map_or(0, |held| held.borrow().bytes)
    }

    /// The master gives way: deliveries wait for the next one. Anything else may be asked twice.
    pub fn hold(&mut self) {
        self.tell(&ToMaster::Held);
        self.held.get_or_insert_default();
    }

    /// The master stays: it is asked what has waited.
    pub fn go_on(&mut self) {
        let held = self.held.take_if(|_| !self.lost).map(RefCell::into_inner).unwrap_or_default();
        for message in held.messages {
            match postcard::from_bytes::<ToMaster<'_>>(&message) {
                Ok(message) => self.tell(&message),
                Err(error) => tracing::error!(event = "held-message", %error),
            }
        }
    }

    /// The master is gone; `again`: what it has not answered, as it was asked.
    pub fn lose(&mut self, again: Vec<(u64, Box<[u8]>)>) {
        let mut messages: Vec<_> = again.into_iter().map(|(_, bytes)| bytes).collect();
        messages.extend(self.held.take().into_iter().flat_map(|held| held.into_inner().messages));
        let bytes = messages.iter().map(|message| message.len()).sum();
        (self.held, self.lost) = (Some(RefCell::new(Held { messages, bytes })), true);
    }

    /// There is another master. Returns what it is to be asked once it has been told what it must know.
    pub fn renew(&mut self, link: LinkSender) -> Vec<Box<[u8]>> {
        (self.link, self.lost) = (link, false);
        self.held.take().map(|held| held.into_inner().messages).unwrap_or_default()
    }
}

impl Held {
    fn push(&mut self, message: Box<[u8]>) -> Result<(), LinkError> {
        if self.bytes + message.len() > HELD {
            return Err(LinkError::Full);
        }
        self.bytes += message.len();
        self.messages.push(message);
        Ok(())
    }
}
