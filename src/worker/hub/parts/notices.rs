//! Lines that tell the operator who is turned away, each kind once a minute at most.

use crate::model::{LogLimiter, Mono};
use crate::protocol::client::ProblemKind;
use std::net::IpAddr;

/// The lines of this worker.
#[derive(Debug, Default)]
pub(in crate::worker) struct Notices {
    gave_way: LogLimiter<()>,
    session: LogLimiter<()>,
    address: LogLimiter<()>,
    full: LogLimiter<()>,
    token: LogLimiter<&'static str>,
    not_told: LogLimiter<()>,
}

impl Notices {
    /// A connection ends for a newcomer.
    pub fn gave_way(&mut self, now: Mono) {
        if let Some(before) = self.gave_way.change((), now) {
            tracing::warn!(
                event = "gave-way",
                before,
                "a connection without a request ends for a newcomer: its address has its share, or descriptors are short"
            );
        }
    }

    /// A session ends for another one.
    pub fn session_gave_way(&mut self, now: Mono) {
        if let Some(before) = self.session.change((), now) {
            let why = "a session ends for another: nobody polled again or answered a ping, or its address has more than its share";
            tracing::warn!(event = "gave-way", before, "{why}");
        }
    }

    /// A request is refused for its token, or for want of one. `why`: the words of `access::tokens`, never a part of it.
    pub fn token_refused(&mut self, slug: &'static str, why: &str, now: Mono) {
        if let Some(before) = self.token.change(slug, now) {
            tracing::info!(event = "token-refused", slug, why, before);
        }
    }

    /// A proxy does not say whose connection it passes on.
    pub fn not_told(&mut self, proxy: IpAddr, now: Mono) {
        if let Some(before) = self.not_told.change((), now) {
            tracing::warn!(
                event = "proxy-header-missing",
                %proxy,
                before,
                "a connection of http.trusted_proxies does not begin with a header of the PROXY protocol and ends: does the proxy send it?"
            );
        }
    }

    /// A newcomer is turned away.
    pub fn turned(&mut self, kind: ProblemKind, address: IpAddr, now: Mono) {
        match kind {
            ProblemKind::AddressConnectionLimit => {
                if let Some(before) = self.address.change((), now) {
                    tracing::warn!(
                        event = "address-connection-limit",
                        %address,
                        before,
                        "limits.connections_per_address; is it a proxy that http.trusted_proxies should name?"
                    );
                }
            }
            _ => {
                if let Some(before) = self.full.change((), now) {
                    tracing::warn!(
                        event = "full",
                        before,
                        "sessions have all descriptors of this worker: LimitNOFILE"
                    );
                }
            }
        }
    }
}
