//! What sessions say, and what of it is on its way.

use super::*;

impl World {
    pub(super) fn says(&mut self, key: u32) {
        self.clients[key as usize].said = self.said;
        self.cover.says(key, self.said);
    }

    /// The kernel takes so much of what was said.
    pub(super) fn wrote(&mut self, master: u64, keeper: u64) {
        self.written.master = self.said.master.min(self.written.master + master);
        self.written.keeper = self.said.keeper.min(self.written.keeper + keeper);
        self.cells().burn();
        let all = self.cover.wrote(self.written);
        self.settle();
        self.looked = self.written;
        assert_eq!(all, self.clients.iter().all(|client| client.said.is_written(self.written)));
    }

    /// What the master has not got is said to the next one.
    fn renew(&mut self) {
        self.said.master = 25;
        for client in &mut self.clients {
            let lost = !client.said.is_written(self.written);
            client.said.master = if lost { 25 } else { 0 };
        }
        (self.written.master, self.looked.master) = (0, 0);
        self.cover.says_again(self.said.master);
    }

    pub(super) fn talk(&mut self, event: &Event) {
        match *event {
            Event::Ask(key) => self.read(key, |w| {
                w.own[key as usize].as_mut().unwrap().asked = true;
                w.said.master += 10;
            }),
            Event::Answer(key) => {
                if let Some(own) = &mut self.own[key as usize] {
                    own.asked = false;
                    self.cover.touch(key, BUSY);
                }
                self.settle();
            }
            Event::Say(key) => self.read(key, |w| w.said.master += 10),
            Event::Write(master, keeper) => self.wrote(master, keeper),
            Event::Renew => self.renew(),
            _ => unreachable!(),
        }
    }

    /// The sessions that are clean, once the worker has looked what is written.
    pub(super) fn idle(&self) -> Vec<u32> {
        let is_idle = |key: u32| self.own[key as usize].as_ref().is_some_and(is_idle);
        let is_said = |key: u32| self.clients[key as usize].said.is_written(self.looked);
        (0..SESSIONS).filter(|key| is_idle(*key) && is_said(*key)).collect()
    }
}
