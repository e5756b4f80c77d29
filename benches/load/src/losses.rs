//! Publications that clients have heard, and that they have lost.

use crate::member::Record;
use crate::stage::Stage;
use serde::Serialize;
use std::fmt;

/// Sums over clients.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Losses {
    pub(crate) clients: u64,
    pub(crate) heard: u64,
    /// Never heard, and nobody has said so.
    pub(crate) lost: u64,
    /// Never heard; `resumed: false` has said so.
    pub(crate) said: u64,
    pub(crate) duplicates: u64,
    /// Heard after a later one.
    pub(crate) disorder: u64,
    /// Clients that were told `resumed: false`.
    pub(crate) gapped: u64,
    /// Clients without a connection at the end.
    pub(crate) absent: u64,
}

impl Losses {
    /// Adds a client at its end. `all`: it should have heard all that was published, not only what it had to by then.
    pub(crate) fn add(&mut self, stage: &Stage, record: &mut Record, all: bool) {
        self.clients += 1;
        self.gapped += u64::from(record.gapped);
        self.absent += u64::from(record.connected.is_none());
        for (channel, track) in &mut record.tracks {
            let published = if all { stage.begun(channel) } else { 0 };
            let missing = track.end(published).iter().filter(|number| !stage.unsure(channel, **number));
            self.lost += missing.count() as u64;
            self.heard += u64::from(track.heard);
            self.said += u64::from(track.said);
            self.duplicates += u64::from(track.duplicates);
            self.disorder += u64::from(track.disorder);
        }
    }

    /// Nothing was lost in silence, nothing came twice or in disorder.
    pub(crate) fn good(&self) -> bool {
        self.lost + self.duplicates + self.disorder == 0
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} clients: {} heard, {} lost, {} said to be lost, {} twice, {} in disorder",
            self.clients, self.heard, self.lost, self.said, self.duplicates, self.disorder
        )?;
        if self.gapped > 0 {
            write!(f, "; {} with resumed: false", self.gapped)?;
        }
        if self.absent > 0 {
            write!(f, "; {} absent", self.absent)?;
        }
        Ok(())
    }
}
