//! Revocations: written down, then told to all workers, which refuse such tokens and close their sessions.

use super::command::RevokeOrder;
use super::control::{done, failed};
use super::core::Master;
use super::journal::Record;
use super::revocations::Kept;
use crate::access::tokens::{Full, Revocation, Revocations};
use crate::model::NamedMoment;
use crate::os::clock;
use crate::protocol::cluster::ToWorker;
use serde_json::Value;

impl Master {
    /// `ctl revoke`.
    pub(super) fn revoke_for(&mut self, order: &RevokeOrder) -> Value {
        let RevokeOrder { jti, user, issued_before, until } = order;
        let moment = |named: &Option<NamedMoment>| named.map(|NamedMoment(moment)| moment);
        let (now, until) = (clock::wall(), moment(until));
        if until.is_some_and(|until| until <= now) {
            return failed("until is past");
        }
        match Revocation::wanted(jti.as_deref(), user.as_deref(), moment(issued_before), now) {
            Err(why) => failed(why),
            Ok(one) => match self.revoke(Revocations::of(one, until)) {
                Ok(()) => done(),
                Err(Full) => failed("there is no room for a further revocation"),
            },
        }
    }

    /// `POST /api/v1/revocations`. False: there is no room.
    pub(super) fn revoke_encoded(&mut self, orders: &[u8]) -> bool {
        Revocations::decode(orders).is_some_and(|orders| self.revoke(orders).is_ok())
    }

    fn revoke(&mut self, orders: Revocations) -> Result<(), Full> {
        let change = self.revocations.all.add_all(orders)?;
        self.revocations_change(&change);
        tracing::info!(event = "revoked", revocations = self.revocations.all.len());
        Ok(())
    }

    /// A worker was shown revoked tokens, and knows their ends.
    pub(super) fn learnt(&mut self, others: &[u8]) {
        let Some(others) = Revocations::decode(others) else { return };
        let news = self.revocations.all.learn_from(&others);
        if news.len() > 0 {
            self.revocations_change(&news);
        }
    }

    fn revocations_change(&mut self, change: &Revocations) {
        let told = change.encode();
        self.journal.write(&Record::Revoked(&told));
        self.children.tell_workers(&ToWorker::Revoked(&told));
        let Kept { all, disk, .. } = &mut self.revocations;
        disk.append(change, all);
    }

    /// Forgets revocations of tokens that have ended, and looks after the file.
    pub(super) fn tidy_revocations(&mut self) {
        let Kept { all, disk, looked } = &mut self.revocations;
        if all.tidy_seldom(looked, clock::wall()) {
            self.journal.write(&Record::AllRevoked(&all.encode()));
            disk.replace(all);
        }
        disk.look(all);
    }

    /// Tells all workers all of them: the master before may have written one down and told nobody.
    pub(super) fn tell_revocations(&mut self) {
        if self.revocations.all.len() > 0 {
            self.children.tell_workers(&ToWorker::Revoked(&self.revocations.encode()));
        }
    }
}
