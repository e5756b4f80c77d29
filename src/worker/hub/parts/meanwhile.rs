//! What comes for sessions while they are on their way from one worker to another, in order. Pure.

use crate::model::{Mono, RequestId, SessionId};
use crate::protocol::cluster::Generation;
use crate::ws::frame;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Bytes that are kept for the sessions of one batch. Past that messages are lost, and sessions on their channels are told
/// of a gap.
const KEPT: usize = 8 << 20;
/// Bytes of an entry beside its frame.
const ENTRY: usize = 128;

/// An order to deliver, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPush {
    pub ticket: u64,
    pub id: RequestId,
    pub user: Box<str>,
    pub symbol: Box<str>,
    pub frame: Bytes,
    pub deadline: Mono,
}

/// One thing that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A message to a channel.
    Message { channel: Box<str>, frame: Bytes },
    /// Who is in a room, by the name of the channel that carries it.
    Presence { channel: Box<str>, frame: Bytes },
    /// An answer to a POST, for the sessions of a user.
    Push(HeldPush),
    /// An administrator ends a session, with this code.
    Kick(SessionId, u16),
    /// A session ends for another one.
    GiveWay(SessionId),
    /// Another worker asks for a session.
    Asked { from: Generation, payload: Bytes },
}

/// What came, the oldest first.
#[derive(Debug, Default)]
pub struct Meanwhile {
    came: Vec<Came>,
    bytes: usize,
    /// Channels of which messages are lost.
    lost: BTreeSet<Box<str>>,
}

impl Meanwhile {
    /// Messages to a channel.
    pub fn published(&mut self, channel: &str, frames: &[u8]) {
        for (frame, _) in frame::split(frames) {
            if self.takes(frame.len()) {
                let frame = Bytes::copy_from_slice(frame);
                self.came.push(Came::Message { channel: channel.into(), frame });
            } else {
                self.lost.insert(channel.into());
            }
        }
    }

    /// Presence in a room: only the newest counts.
    pub fn presence(&mut self, channel: &str, frame: &Bytes) {
        let is_it = |came: &Came| matches!(came, Came::Presence { channel: of, .. } if **of == *channel);
        self.came.retain(|came| !is_it(came));
        self.came.push(Came::Presence { channel: channel.into(), frame: frame.clone() });
    }

    /// An order to deliver. False: there is no room for it.
    pub fn push(&mut self, push: HeldPush) -> bool {
        let takes = self.takes(push.frame.len());
        if takes {
            self.came.push(Came::Push(push));
        }
        takes
    }

    /// An order about one session. There are few: each session ends once.
    pub fn order(&mut self, order: Came) {
        if !self.came.contains(&order) {
            self.came.push(order);
        }
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.bytes + bytes + ENTRY <= KEPT;
        if takes {
            self.bytes += bytes + ENTRY;
        }
        takes
    }

    /// All of it.
    pub fn came(&self) -> &[Came] {
        &self.came
    }

    /// Whether messages of a channel are lost.
    pub fn has_lost(&self, channel: &str) -> bool {
        self.lost.contains(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_a_gap_of_its_channel_alone() {
        let mut meanwhile = Meanwhile::default();
        let large = frame::text("x".repeat(KEPT / 2));
        for channel in ["news", "olds", "news"] {
            meanwhile.published(channel, &large);
        }
        assert_eq!(
            (meanwhile.came().len(), meanwhile.has_lost("news"), meanwhile.has_lost("olds")),
            (1, true, true)
        );
        meanwhile.published("small", &frame::text("x"));
        assert!(!meanwhile.has_lost("small"));
        let push = |bytes| HeldPush {
            ticket: 1,
            id: RequestId(1),
            user: "u".into(),
            symbol: "s".into(),
            frame: Bytes::from(vec![0; bytes]),
            deadline: Mono(1),
        };
        assert!(!meanwhile.push(push(KEPT)) && meanwhile.push(push(1)));
        meanwhile.order(Came::Kick(SessionId(1), 4006));
        meanwhile.order(Came::Kick(SessionId(1), 4006));
        assert_eq!(meanwhile.came().len(), 4);
    }

    #[test]
    fn of_presence_the_newest_counts() {
        let mut meanwhile = Meanwhile::default();
        for text in ["1", "2"] {
            meanwhile.presence("chat:a#", &frame::text(text));
        }
        let newest = Came::Presence { channel: "chat:a#".into(), frame: frame::text("2") };
        assert_eq!(meanwhile.came(), [newest]);
    }
}
