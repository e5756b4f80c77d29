//! Messages of the master to sessions on `/broadcast`: comings and goings, and the heartbeat.

use super::core::Master;
use crate::model::{Mono, Wall};
use crate::os::{clock, process};
use crate::protocol::client::{self, ServerType};
use crate::protocol::cluster::{BROADCAST, Endpoint, NO_RECEIPT};
use crate::ws::frame;

impl Master {
    /// Tells what is due.
    pub(super) fn announce(&mut self, now: Mono) {
        let (total, time) = (self.directory.totals().on(Endpoint::Broadcast), clock::wall());
        let news: Vec<_> = self.directory.moves.due(now).collect();
        for news in news {
            let kind = if news.came { ServerType::ClientConnected } else { ServerType::ClientDisconnected };
            self.broadcast(&client::moved(kind, news.count, &news.clients, total, time), total, now);
        }
        if self.announcer.beats(now) {
            let text = self.heartbeat_text(total, now, time);
            self.broadcast(&text, total, now);
        }
    }

    /// The moment of the next message.
    pub(super) fn next_announcement(&self) -> Mono {
        let heartbeat = self.announcer.next_beat();
        self.directory.moves.next().map_or(heartbeat, |news| news.min(heartbeat))
    }

    fn heartbeat_text(&self, total: u32, now: Mono, time: Wall) -> String {
        let children: u64 = self.children.iter().map(|child| child.beat.counters.rss).sum();
        let memory = children + process::usage().rss;
        client::heartbeat(total, memory, self.service.uptime(now).as_secs(), time)
    }

    fn broadcast(&mut self, text: &str, total: u32, now: Mono) {
        // A daemon that stops has sent its sessions away already.
        if total == 0 || self.service.is_stopping() {
            return;
        }
        self.say(NO_RECEIPT, BROADCAST, &frame::text(text), now);
    }
}
