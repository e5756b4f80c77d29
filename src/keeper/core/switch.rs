//! The end of all processes at once, after which another program takes over, or the daemon ends and leaves everything
//! with systemd.

use super::{Deed, Ending, GOING, Keeper, Who};
use crate::keeper::turn::{Next, Turn};
use crate::model::Mono;
use crate::os::descriptors::Share;
use crate::protocol::keeper::{End, packed_by};
use std::time::Duration;

/// What a master leaves to the next one beside the packs.
const LEFT: [&str; 2] = ["legacy", "journal"];

impl<D: Share> Keeper<D> {
    /// Another program takes over.
    pub(super) fn switch(&mut self, image: D, within: Duration, now: Mono) {
        if self.ending.is_none() && self.turn.is_none() {
            self.images.switch(image, within, false);
            self.turn(Next::Master, now);
        }
    }

    /// Another program takes over from living processes.
    pub(super) fn succeed(&mut self, image: D, within: Duration) {
        if self.ending.is_none() && self.turn.is_none() && self.stop.is_none() {
            self.images.switch(image, within, true);
            self.deeds.push(Deed::Kill(Who::Master(self.master)));
        }
    }

    /// The program that was to take over gives way to the one before.
    pub(super) fn give_back(&mut self) {
        if self.images.succeeds() && self.images.fall_back() {
            self.deeds.push(Deed::Kill(Who::Master(self.master)));
        }
    }

    /// Everything is left with systemd.
    pub(super) fn store(&mut self, now: Mono) {
        if self.ending.is_none() && self.turn.is_none() {
            self.turn(Next::Store, now);
        }
    }

    fn turn(&mut self, next: Next, now: Mono) {
        self.turn = Some(Turn { next, until: now.after(GOING) });
        let kill = |generation: &_| Deed::Kill(Who::Child(*generation));
        self.deeds.extend(self.children.keys().map(kill));
        if self.reign.lives() {
            self.deeds.push(Deed::Kill(Who::Master(self.master)));
        }
        self.look_at_turn(now);
    }

    pub(super) fn turn_deadline(&self) -> Option<Mono> {
        self.turn.map(|turn| turn.until)
    }

    pub(super) fn tick_turn(&mut self, now: Mono) {
        if self.turn_deadline().is_some_and(|until| until <= now) {
            self.end_turn(now);
        }
        if self.turn.is_none() && self.images.is_late(now) && self.reign.lives() {
            self.deeds.push(Deed::Complain("the new program does not get ready in time".to_owned()));
            if self.images.succeeds() { self.give_back() } else { self.fall_back(now) }
        }
    }

    /// The master has ended. True: all processes go, and no other one is started before they have.
    pub(super) fn turns(&mut self, end: End, now: Mono) -> bool {
        let goes_on = self.ending.is_none() && self.stop.is_none();
        let fails = self.images.is_starting() && goes_on;
        let succeeds = self.images.succeeds() && goes_on && (fails || self.images.is_ordered());
        if self.turn.is_none() && !fails && !succeeds {
            return false;
        }
        self.reign.replaced(end, now);
        if self.turn.is_none() && succeeds {
            if fails {
                self.images.fall_back();
            }
            self.reign.hurry(now);
            return true;
        }
        if self.turn.is_none() {
            self.fall_back(now);
        }
        self.look_at_turn(now);
        true
    }

    /// The newest program has failed: the one before is in use again.
    fn fall_back(&mut self, now: Mono) {
        if self.images.fall_back() {
            self.turn(Next::Master, now);
        }
    }

    /// Whether all have gone by now.
    pub(super) fn look_at_turn(&mut self, now: Mono) {
        if self.turn.is_some() && self.children.is_empty() && !self.reign.lives() {
            self.end_turn(now);
        }
    }

    fn end_turn(&mut self, now: Mono) {
        match self.turn.take().map(|turn| turn.next) {
            Some(Next::Master) => self.reign.hurry(now),
            Some(Next::Store) => {
                let is_left = |name: &str| packed_by(name).is_some() || LEFT.contains(&name);
                let held = self.held.all().filter(|(name, _)| is_left(name));
                let mut all: Vec<_> = held.map(|(name, file)| (String::from(name), file)).collect();
                let sockets = self.vault.sockets();
                all.extend(sockets.map(|(of, key, socket)| (format!("session/{of}/{key}"), socket)));
                self.deeds.push(Deed::Store(all));
                self.reign.over();
                self.ending = Some(Ending { status: 0, until: Some(now) });
                self.end_now();
            }
            None => {}
        }
    }
}
