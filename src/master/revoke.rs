//! Revocations: written down, then told to all workers, which refuse such tokens and close their sessions.

use super::control::{done, failed};
use super::core::Master;
use super::journal::Record;
use crate::access::tokens::{Full, Revocation, Revocations};
use crate::model::{UserId, Wall};
use crate::os::clock;
use crate::protocol::cluster::ToWorker;
use serde_json::Value;

impl Master {
    /// `ctl revoke`: the token of a `jti`, or those of a user that were issued before a moment (now, without one).
    pub(super) fn revoke_for(
        &mut self,
        jti: Option<String>,
        user: Option<&str>,
        before: Option<i64>,
    ) -> Value {
        let one = match (jti, user.map(UserId::new)) {
            (Some(jti), None) if before.is_none() && !jti.is_empty() => Revocation::Token(jti.into()),
            (None, Some(Ok(user))) => {
                let now = clock::wall();
                let before = before.map_or(now, |seconds| Wall(seconds.saturating_mul(1000)));
                if before > now {
                    return failed("issued_before is in the future");
                }
                Revocation::User(user, before)
            }
            (None, Some(Err(_))) => return failed("this is not the id of a user"),
            _ => return failed("give a jti, or a user and perhaps issued_before"),
        };
        match self.revoke(one) {
            Ok(()) => done(),
            Err(Full) => failed("there is no room for a further revocation"),
        }
    }

    fn revoke(&mut self, one: Revocation) -> Result<(), Full> {
        self.revocations.add(one.clone(), None)?;
        let mut change = Revocations::default();
        change.add(one, None)?;
        let change = change.encode();
        self.journal.write(&Record::Revoked(&change));
        self.children.tell_workers(&ToWorker::Revoked(&change));
        tracing::info!(event = "revoked", revocations = self.revocations.len());
        Ok(())
    }

    /// Tells all workers all of them: the master before may have written one down and told nobody.
    pub(super) fn tell_revocations(&mut self) {
        if self.revocations.len() > 0 {
            self.children.tell_workers(&ToWorker::Revoked(&self.revocations.encode()));
        }
    }
}
