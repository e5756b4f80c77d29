//! TLS in the master: files of certificates are read away from its loop, and workers hear what is in force.

use super::core::Master;
use super::event::Event;
use super::journal::Record;
use crate::model::Mono;
use crate::net::tls::certificates::{Change, Files};
use crate::net::tls::files;
use crate::net::tls::renewal::{Deed, Look};
use crate::os::clock;
use crate::protocol::cluster::ToWorker;

impl Master {
    /// Looks after the files of certificates and the secrets of tickets.
    pub(super) fn look_after_tls(&mut self, now: Mono) {
        let due = self.tls.begin(now);
        if !due.is_empty() {
            let events = self.events.clone();
            tokio::spawn(async move {
                let read = |of: Files| {
                    let look = files::look(&of.certificate, &of.key);
                    (of, look)
                };
                let looks = tokio::task::spawn_blocking(move || due.into_iter().map(read).collect());
                // The loop has ended before, or the thread has panicked.
                let _ = events.send(Event::Looked(looks.await.unwrap_or_default())).await;
            });
        }
        if self.tls.renew(clock::boot()) {
            self.tell_tls();
        }
    }

    /// Files have been read.
    pub(super) fn looked(&mut self, looks: &[(Files, Look)]) {
        let changes = self.tls.looked(looks, clock::mono(), clock::wall());
        let takes = changes.iter().any(|change| matches!(change.deed, Deed::Take(_)));
        changes.iter().for_each(log);
        if takes {
            self.tell_tls();
        }
    }

    /// Writes down what is in force, then tells all workers.
    pub(super) fn tell_tls(&mut self) {
        let given = self.tls.give(None);
        self.journal.write(&Record::Tls(&given));
        self.children.tell_workers(&ToWorker::Tls(&given));
    }
}

fn log(Change { files, deed }: &Change) {
    let file = files.certificate.display();
    match deed {
        Deed::Take(pair) => {
            let (name, until) = (pair.name(), pair.validity().until);
            tracing::info!(event = "certificate-taken", %file, name, %until);
        }
        Deed::Refuse(why) => {
            tracing::error!(event = "certificate-refused", %file, %why, "the one in force stays");
        }
        Deed::Restored => tracing::info!(event = "certificate-restored", %file),
        Deed::EndsSoon(left) => {
            let days = left.as_secs() / 86_400;
            tracing::warn!(event = "certificate-ends", %file, days, "it ends soon, and nobody has renewed it");
        }
        Deed::Trouble(trouble) => {
            tracing::error!(event = "certificate-trouble", %file, %trouble, "clients refuse it");
        }
    }
}
