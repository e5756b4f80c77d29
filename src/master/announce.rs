//! What the master tells the sessions on `/broadcast`: who comes and goes, and its heartbeat.

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
        if self.next_heartbeat() <= now {
            self.heartbeat = now;
            let text = self.heartbeat_text(total, now, time);
            self.broadcast(&text, total, now);
        }
    }

    /// When something will be due.
    pub(super) fn next_announcement(&self) -> Mono {
        let heartbeat = self.next_heartbeat();
        self.directory.moves.next().map_or(heartbeat, |news| news.min(heartbeat))
    }

    fn next_heartbeat(&self) -> Mono {
        self.heartbeat.after(self.config.broadcast.heartbeat)
    }

    fn heartbeat_text(&self, total: u32, now: Mono, time: Wall) -> String {
        let children: u64 = self.children.0.values().map(|child| child.beat.counters.rss).sum();
        let memory = children + process::usage().rss;
        client::heartbeat(total, memory, now.since(self.started).as_secs(), time)
    }

    fn broadcast(&mut self, text: &str, total: u32, now: Mono) {
        // One that stops has said goodbye to each already.
        if total == 0 || self.stopping {
            return;
        }
        self.say(NO_RECEIPT, BROADCAST, &frame::text(text), now);
    }
}
