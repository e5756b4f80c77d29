//! The endpoints: what each does with its sessions, one small file for each. Limits, heartbeats, slow consumers,
//! statistics and the end are the same for all, and none of their business.

mod broadcast;
mod chat;
mod command;
mod echo;
mod main;
mod service;
mod stream;

use service::Service;

use super::parts::sessions::SessionRef;
use super::state::State;
use crate::os::clock;
use crate::protocol::cluster::{Endpoint, NO_RECEIPT, Skip, ToMaster};

/// The behaviour behind a path.
fn service(endpoint: Endpoint) -> &'static dyn Service {
    match endpoint {
        Endpoint::Ws => &main::Main,
        Endpoint::Echo => &echo::Echo,
        Endpoint::Command => &command::Command,
        Endpoint::Chat => &chat::Chat,
        Endpoint::Broadcast => &broadcast::Broadcast,
        Endpoint::Stream => &stream::Stream,
    }
}

/// The channels of endpoints.
pub(super) fn channels() -> impl Iterator<Item = &'static str> {
    Endpoint::ALL.into_iter().filter_map(|endpoint| service(endpoint).channel())
}

impl State {
    /// The endpoint of a session.
    pub(super) fn service(&self, at: SessionRef) -> &'static dyn Service {
        service(self.sessions.get(at).map_or(Endpoint::Ws, |session| session.identity.endpoint))
    }

    /// The master lets a session be.
    pub(super) fn accepted(&mut self, at: SessionRef) {
        if let Some(channel) = self.service(at).channel().and_then(|name| self.channels.find(name)) {
            self.subscribe(at, channel);
        }
    }

    /// Sends a frame to all sessions of an endpoint in the cluster but this one.
    fn spread(&self, channel: &str, frame: &[u8], skip: Option<Skip>) {
        let deadline = clock::mono().after(self.config.quotes.timeout);
        self.uplink.tell(&ToMaster::Publish { request: NO_RECEIPT, channel, frame, deadline, skip });
    }
}
