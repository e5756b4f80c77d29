//! Keys that the feeder fetches: in force, asked for, waited for. What a token means is in `passes.rs`.

use super::parts::known_keys::{Held, Wish};
use super::parts::sessions::SessionRef;
use super::state::State;
use crate::access::tokens::Refusal;
use crate::model::Boot;
use crate::os::clock;
use crate::protocol::client;
use crate::protocol::cluster::ToMaster;
use serde_json::value::RawValue;
use tokio::sync::watch;

impl State {
    /// The keys of a welcome.
    pub(in crate::worker) fn begin_keys(&mut self, bytes: &[u8]) {
        self.config.keys().begin(bytes);
        self.config.trust_anew();
    }

    /// The feeder has fetched keys, or could not. Sessions go on: their tokens were good.
    pub(in crate::worker) fn fetched_keys(&mut self, bytes: &[u8]) {
        if self.config.keys().answer(bytes) {
            self.config.trust_anew();
        }
        self.config.keys().wake();
        let held = self.config.keys().take_held();
        self.judge_held(held);
    }

    /// A token was refused. If there may be newer keys in a moment, it tells when to look again.
    pub(in crate::worker) fn await_keys(&mut self, refusal: Refusal) -> Option<watch::Receiver<()>> {
        match self.config.keys().wish(refusal, clock::boot()) {
            Wish::Nothing => return None,
            Wish::Wait => {}
            Wish::Ask => self.uplink.tell(&ToMaster::WantKeys),
        }
        Some(self.config.keys().answers())
    }

    /// Keeps the fresh token of a session until there are keys to check it with. False: there is no room.
    pub(super) fn hold_auth(&mut self, at: SessionRef, token: &str, id: Option<&RawValue>) -> bool {
        let held = Held { at, token: token.into(), id: id.map(RawValue::to_owned) };
        self.config.keys().hold(held, clock::boot())
    }

    /// Judges tokens that have waited too long with the keys that are there.
    pub(super) fn look_at_held(&mut self, now: Boot) {
        let held = self.config.keys().overdue(now);
        self.judge_held(held);
    }

    fn judge_held(&mut self, held: Vec<Held>) {
        for Held { at, token, id } in held {
            if let Err(refusal) = self.renew_pass(at, &token, id.as_deref()) {
                let answer = client::error(refusal.id, refusal.code, &refusal.message);
                self.reply(at, &answer);
            }
        }
    }
}
