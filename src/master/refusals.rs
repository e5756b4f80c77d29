//! Lines that tell the operator which sessions are refused, each kind once a minute at most.

use crate::model::{LogLimiter, Mono};
use crate::protocol::cluster::Verdict;
use std::net::IpAddr;

/// The lines of the cluster.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    address: LogLimiter<()>,
    full: LogLimiter<()>,
}

impl Refusals {
    /// Notes the verdict about a new session.
    pub(super) fn note(&mut self, verdict: Verdict, address: IpAddr, now: Mono) {
        match verdict {
            Verdict::AddressLimit => {
                if let Some(before) = self.address.change((), now) {
                    tracing::warn!(
                        event = "address-session-limit",
                        %address,
                        before,
                        "limits.sessions_per_address; is it a proxy that http.trusted_proxies should name, or one without X-Forwarded-For?"
                    );
                }
            }
            Verdict::Full => {
                if let Some(before) = self.full.change((), now) {
                    let keys = "limits.sessions, poll.sessions, or LimitNOFILE";
                    tracing::warn!(event = "full", before, keys, "there is no room for a new session");
                }
            }
            _ => {}
        }
    }
}
