//! What a client has not heard by the end.

use super::tab::Tab;
use super::world::lock;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Tab {
    /// Accounts for what should have come. Each loss belongs to the event in which the message was sent.
    pub(super) fn finish(mut self) {
        let world = self.world.clone();
        if !self.opened {
            world.absent.fetch_add(1, Ordering::AcqRel);
        }
        if let Some((number, since)) = self.said {
            self.unheard(number, since);
        }
        for asked in self.echoes.lost() {
            world.notice_at(world.epoch_at(asked), |noticed| noticed.answers.lost += 1);
            world.tell("no answer", || format!("{} asked at {:?}", self.who.user, asked - world.start));
        }
        for (topic, track) in &mut self.tracks {
            // Without a connection the client waits for nothing.
            let published = if self.opened { world.begun(topic) } else { 0 };
            for number in track.end(published).iter().filter(|number| !world.unsure(topic, **number)) {
                let moment = world.published(topic, *number).unwrap_or_else(Instant::now);
                let resumed = lock(&world.ledger).was_away(self.client, moment) == Some(true);
                world.notice_at(world.epoch_at(moment), |noticed| {
                    noticed.messages.lost += 1;
                    noticed.lies += u32::from(resumed);
                });
                world.tell("lost", || format!("{}: {topic} {number}, resumed: {resumed}", self.who.user));
            }
        }
    }
}
