//! Many sessions of all kinds that come and go: places, each taken by one client after another.

use crate::decoder::Transport;
use crate::guest;
use crate::habit::{Habit, life};
use crate::line::Who;
use crate::losses::Losses;
use crate::member::{Member, Record};
use crate::stage::Stage;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// At the end all leave within this time.
const LEAVING: Duration = Duration::from_secs(5);

/// Kinds of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Main(Transport),
    Other(&'static str),
}

/// Shares of the kinds, in percent.
const KINDS: [(u8, Kind); 10] = [
    (22, Kind::Main(Transport::Ws)),
    (20, Kind::Main(Transport::Sse)),
    (20, Kind::Main(Transport::Poll)),
    (4, Kind::Other("/stream1")),
    (4, Kind::Other("/stream2")),
    (4, Kind::Other("/stream3")),
    (4, Kind::Other("/stream4")),
    (6, Kind::Other("/broadcast")),
    (6, Kind::Other("/chat")),
    (10, Kind::Other("/command")),
];

/// Places that one client after another takes.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) stage: Rc<Stage>,
    pub(crate) habit: Habit,
    /// Mean lifetime of a session.
    pub(crate) lifetime: Duration,
    /// Rooms that half of the main sessions are in, one each; 0: no rooms.
    pub(crate) rooms: u32,
    /// When places stop being taken.
    pub(crate) end: Instant,
    /// Handshakes at the same time.
    pub(crate) turns: Arc<Semaphore>,
    /// Clients so far.
    pub(crate) born: Cell<u32>,
    /// Records of living clients.
    pub(crate) alive: RefCell<BTreeMap<u32, Rc<RefCell<Record>>>>,
    /// By transport, of those that have left.
    pub(crate) losses: RefCell<BTreeMap<&'static str, Losses>>,
}

impl Crowd {
    /// Takes all places; they are empty when it ends.
    pub(crate) async fn live(self: Rc<Self>, places: u32) {
        let mut tasks = JoinSet::new();
        for place in 0..places {
            tasks.spawn_local(self.clone().place(place));
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn place(self: Rc<Self>, place: u32) {
        while Instant::now() < self.end {
            let Ok(turn) = self.turns.clone().acquire_owned().await else { return };
            let index = self.born.replace(self.born.get() + 1);
            let kind = pick(fastrand::u8(0..100));
            let user = format!("mix-{index}");
            let last = self.end + LEAVING.mul_f64(fastrand::f64());
            let leave = last.min(Instant::now() + life(self.lifetime));
            match kind {
                Kind::Other(path) => {
                    let who = Rc::new(Who { index, user, channels: String::new() });
                    guest::live(self.stage.clone(), who, path, leave, turn).await;
                }
                Kind::Main(transport) => {
                    let who = Rc::new(Who { index, user, channels: self.channels() });
                    self.stage.present.borrow_mut()[place as usize] = Some(who.clone());
                    let (member, record) = Member::new(&self.stage, who, transport, &self.habit, Some(turn));
                    self.alive.borrow_mut().insert(index, record.clone());
                    member.live(Some(leave)).await;
                    self.stage.present.borrow_mut()[place as usize] = None;
                    self.alive.borrow_mut().remove(&index);
                    // A client that left is not absent.
                    let mut record = record.borrow_mut();
                    record.connected = Some(Instant::now());
                    let mut losses = self.losses.borrow_mut();
                    losses.entry(transport.as_str()).or_default().add(&self.stage, &mut record, false);
                }
            }
        }
    }

    fn channels(&self) -> String {
        let mut channels = self.stage.ports.channel.clone();
        if self.rooms > 0 && fastrand::bool() {
            channels.push_str(&format!(",{}", room(fastrand::u32(0..self.rooms))));
        }
        channels.push_str(["", ",stats", ",price:BTC-USD@1s", ""][fastrand::usize(0..4)]);
        channels
    }

    /// Main sessions that have a connection.
    pub(crate) fn connected(&self) -> usize {
        self.alive.borrow().values().filter(|record| record.borrow().connected.is_some()).count()
    }
}

/// The channel of a room.
pub(crate) fn room(number: u32) -> String {
    format!("chat:load-{number}")
}

/// The kind of who has drawn that number below 100.
fn pick(mut number: u8) -> Kind {
    for (share, kind) in KINDS {
        match number.checked_sub(share) {
            Some(rest) => number = rest,
            None => return kind,
        }
    }
    KINDS[0].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_shares() {
        for (share, kind) in KINDS {
            let drawn = (0..100).filter(|number| pick(*number) == kind).count();
            assert_eq!(drawn, usize::from(share), "{kind:?}");
        }
    }
}
