//! The process that adopts what the dead worker left, and what its clients have in the end.

use super::*;
use crate::model::UserId;
use crate::protocol::cluster::{Endpoint, Skip, ToWorker, Transport};
use crate::protocol::orders::order;
use crate::session::cells::Cell;
use crate::worker::hub::parts::adoption::{Adoption, Fate, Known, Order};
use std::time::Duration;

impl World {
    /// The message that the master sent as an order.
    fn message<'a>(&self, number: Number, frame: &'a [u8], user: &'a str) -> ToWorker<'a> {
        let (id_, symbol, deadline) = (crate::model::RequestId(1), "BTC-USD", Mono(u64::MAX));
        match self.sent[number as usize - 1].1 {
            Event::Push(_) => ToWorker::Push { ticket: number, id: id_, user, symbol, frame, deadline },
            Event::Publish(channel) => {
                ToWorker::Publish { ticket: number, channel: CHANNELS[channel], frame, skip: None, of: None }
            }
            Event::PublishBut(channel, key) => {
                let skip = Some(Skip { key: 99, session: id(key) });
                ToWorker::Publish { ticket: number, channel: CHANNELS[channel], frame, skip, of: None }
            }
            Event::Kick(key) => ToWorker::Kick { session: id(key), code: 4006 },
            _ => unreachable!(),
        }
    }

    /// Another process adopts what is left. Returns the sessions that go on.
    pub(super) fn adopt(&mut self) -> Vec<u32> {
        let file = self.cells().descriptor().try_clone_to_owned().unwrap();
        let cells = Cells::from_descriptor(file).unwrap();
        let mut adoption = Adoption::new(7);
        for key in 0..SESSIONS {
            let known = Known {
                user: UserId::new(&user(key)).unwrap(),
                device: None,
                endpoint: Endpoint::Ws,
                transport: Transport::Websocket,
                address: [127, 0, 0, 1].into(),
                since: 0,
                tag: 0,
            };
            adoption.expect(id(key), known);
        }
        for (number, frame) in self.retained.iter() {
            let user = match self.sent[number as usize - 1].1 {
                Event::Push(key) => user(key),
                _ => String::new(),
            };
            let message = self.message(number, frame, &user);
            assert!(order(&message).is_some());
            adoption.order(number, &message);
        }
        adoption.end(self.retained.before(), Duration::ZERO);
        let mut on = vec![];
        for cell in (0..SESSIONS).filter_map(|key| cells.read(key)) {
            if adoption.fate(&cell, Mono(0)) == Fate::GoesOn {
                let names = cells.set(cell.facts.set).unwrap();
                self.bring(&adoption, &cell, &postcard::from_bytes::<Vec<String>>(&names).unwrap());
                on.push(cell.key);
            }
            adoption.met(&cell.facts.id);
        }
        on
    }

    /// Brings a session up to date.
    fn bring(&mut self, adoption: &Adoption, cell: &Cell, names: &[String]) {
        let client = &mut self.clients[cell.key as usize];
        let user = user(cell.key);
        for order in adoption.owed(cell.order) {
            let frame = match order {
                Order::Push { user: whose, frame, .. } if **whose == *user => frame,
                Order::Publish { channel, frame, skip, .. }
                    if names.iter().any(|name| **name == **channel) && *skip != Some(id(cell.key)) =>
                {
                    frame
                }
                Order::Kick { session, .. } if *session == id(cell.key) => {
                    client.owed.clone_from(&client.got);
                    return;
                }
                _ => continue,
            };
            client.got.push(Number::from_le_bytes(frame[..].try_into().unwrap()));
        }
        // What the dead worker never heard is owed, too.
        let kicked = |event: &Event| matches!(event, Event::Kick(key) if *key == cell.key);
        for (number, event) in &self.sent[self.heard..] {
            match event {
                event if kicked(event) => break,
                Event::Push(key) if key / 2 == cell.key / 2 => client.owed.push(*number),
                Event::Publish(channel) if client.on.contains(channel) => client.owed.push(*number),
                Event::PublishBut(channel, but) if client.on.contains(channel) && *but != cell.key => {
                    client.owed.push(*number);
                }
                _ => {}
            }
        }
    }

    fn channel_of(&self, number: Number) -> Option<usize> {
        match self.sent[number as usize - 1].1 {
            Event::Publish(channel) | Event::PublishBut(channel, _) => Some(channel),
            _ => None,
        }
    }

    /// Each once, and those of one channel in order.
    pub(super) fn check(&self, key: u32) {
        let client = &self.clients[key as usize];
        assert!(!client.torn, "half of a frame, and it goes on");
        assert!(client.said.is_written(self.written), "what it said is lost, and it goes on");
        for channel in [None, Some(0), Some(1), Some(2)] {
            let of = |all: &[Number]| {
                all.iter().copied().filter(|n| self.channel_of(*n) == channel).collect::<Vec<_>>()
            };
            let mut owed = of(&client.owed);
            owed.dedup();
            assert_eq!(of(&client.got), owed, "session {key}, channel {channel:?}");
        }
    }
}
