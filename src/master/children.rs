//! The master's side of its children: links, what is said over them, and what they did not take.

use super::router::{Lost, Order, Publication, Sink};
use crate::model::{LogLimiter, Mono};
use crate::protocol::cluster::{Beat, Generation, NO_RECEIPT, Outcome, Role, Slot, ToFeeder, ToWorker};
use crate::protocol::link::{LinkError, LinkSender};
use crate::protocol::orders::{self, Retained};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use tokio::sync::oneshot;

/// The asker of the master's own questions: no process has this number.
pub(super) const MASTER: Generation = 0;

/// A process and its link.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) role: Role,
    pub(super) pid: u32,
    /// Version of its program, once known.
    pub(super) program: Box<str>,
    pub(super) ready: bool,
    pub(super) beat: Beat,
    /// When it was heard last.
    pub(super) heard: Mono,
    /// Beats in a row that did not agree with the directory.
    pub(super) drift: u8,
    /// Orders that it may not have carried out.
    pub(super) retained: Retained,
    /// The process was a child of the master before.
    pub(super) inherited: bool,
    link: LinkSender,
    drops: Drops,
}

/// Messages that the link of one child did not take.
#[derive(Debug, Default)]
struct Drops {
    count: u64,
    log: LogLimiter<Drop>,
}

/// Why a link did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Drop {
    /// Too much waits in it already.
    Full,
    /// The message is longer than any may be, or cannot be written.
    Unfit,
}

/// What is left of a worker that has ended.
#[derive(Debug)]
pub(super) struct Before {
    /// Its sessions can go on elsewhere.
    pub(super) is_covered: bool,
    pub(super) retained: Retained,
}

/// A message to a child.
pub(super) trait Message: Serialize {
    /// Whether it must not be lost with the child.
    fn is_order(&self) -> bool;
}

impl Message for ToWorker<'_> {
    fn is_order(&self) -> bool {
        orders::order(self).is_some()
    }
}

impl Message for ToFeeder<'_> {
    fn is_order(&self) -> bool {
        false
    }
}

/// Retains an order.
fn retain<M: Message>(retained: &mut Retained, message: &M) {
    match postcard::to_stdvec(message) {
        Ok(encoded) => retained.push(encoded.into()),
        Err(error) => tracing::error!(%error, "an order that cannot be written"),
    }
}

impl Child {
    pub(super) fn new(role: Role, link: LinkSender, pid: u32) -> Self {
        let (program, beat, retained, drops) = Default::default();
        let (ready, heard, drift, inherited) = (false, Mono(0), 0, false);
        Self { role, pid, program, ready, beat, heard, drift, retained, inherited, link, drops }
    }

    /// The process has ended.
    pub(super) fn into_before(self, is_covered: bool) -> Before {
        Before { is_covered, retained: self.retained }
    }

    /// A child of the master before, with its new link.
    pub(super) fn again(role: Role, link: LinkSender, pid: u32) -> Self {
        Self { inherited: true, ..Self::new(role, link, pid) }
    }

    fn is_worker(&self) -> bool {
        self.role.worker().is_some()
    }

    fn say<M: Message>(&mut self, message: &M, with: Vec<OwnedFd>, now: Mono) -> Result<(), Lost> {
        let Err(error) = self.link.send_with(message, with) else {
            if message.is_order() {
                retain(&mut self.retained, message);
            }
            return Ok(());
        };
        let (drop, lost) = match &error {
            // The exit follows, and then somebody adopts the sessions, or nobody has them.
            LinkError::Closed | LinkError::Io(_) if message.is_order() => {
                retain(&mut self.retained, message);
                return Ok(());
            }
            // The exit follows: nobody is left to miss the message.
            LinkError::Closed | LinkError::Io(_) => return Err(Lost::Gone),
            LinkError::Full => (Drop::Full, Lost::Full),
            LinkError::Garbage(_)
            | LinkError::Oversized(_)
            | LinkError::TooManyDescriptors(_)
            | LinkError::MissingDescriptors { .. } => (Drop::Unfit, Lost::Gone),
        };
        self.drops.count += 1;
        if let Some(hushed) = self.drops.log.change(drop, now) {
            let dropped = self.drops.count;
            tracing::warn!(event = "link-dropped", child = %self.role, pid = self.pid, %error, dropped, hushed);
        }
        Err(lost)
    }
}

/// All links, by process, and the master's own questions.
#[derive(Debug, Default)]
pub(super) struct Children {
    by_generation: HashMap<Generation, Child, RandomState>,
    /// Orders to workers that have ended, for whoever adopts their sessions.
    orphans: BTreeMap<Generation, Retained>,
    /// Questions of the master itself that are not answered yet, by their number.
    waiters: HashMap<u64, oneshot::Sender<u32>, RandomState>,
    /// The number of the last of them.
    last: u64,
    /// Messages that links of ended children did not take, by role.
    dropped_before: BTreeMap<Role, u64>,
    /// The moment of this turn of the loop, for the log.
    now: Mono,
}

/// Questions about the children.
impl Children {
    /// No child yet; links did not take so many messages under masters before.
    pub(super) fn after(dropped: &BTreeMap<Role, u64>) -> Self {
        Self { dropped_before: dropped.clone(), ..Self::default() }
    }

    /// A process has been started.
    pub(super) fn insert(&mut self, generation: Generation, child: Child) {
        self.by_generation.insert(generation, child);
    }

    /// A process has ended.
    pub(super) fn remove(&mut self, generation: Generation) -> Option<Child> {
        let child = self.by_generation.remove(&generation)?;
        if child.drops.count > 0 {
            *self.dropped_before.entry(child.role).or_default() += child.drops.count;
        }
        Some(child)
    }

    pub(super) fn get(&self, generation: Generation) -> Option<&Child> {
        self.by_generation.get(&generation)
    }

    pub(super) fn get_mut(&mut self, generation: Generation) -> Option<&mut Child> {
        self.by_generation.get_mut(&generation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.by_generation.values()
    }

    pub(super) fn is_worker(&self, generation: Generation) -> bool {
        self.get(generation).is_some_and(Child::is_worker)
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = Generation> {
        self.by_generation.iter().filter(|(_, child)| child.is_worker()).map(|(generation, _)| *generation)
    }

    /// All of them, and whether they are at work.
    pub(super) fn all(&self) -> impl Iterator<Item = (Generation, Role, bool)> {
        self.by_generation.iter().map(|(generation, child)| (*generation, child.role, child.ready))
    }

    pub(super) fn feeders(&self) -> impl Iterator<Item = Generation> {
        self.by_generation.iter().filter(|(_, child)| !child.is_worker()).map(|(generation, _)| *generation)
    }

    /// The processes that take orders, and those that have ended and whose sessions are to be adopted.
    pub(super) fn ready_workers(&self) -> impl Iterator<Item = Generation> {
        self.ready_with_slots().map(|(generation, _)| generation).chain(self.orphans.keys().copied())
    }

    /// The workers that are at work.
    pub(super) fn ready_with_slots(&self) -> impl Iterator<Item = (Generation, Slot)> {
        let ready = self.by_generation.iter().filter(|(_, child)| child.ready);
        ready.filter_map(|(generation, child)| Some((*generation, child.role.worker()?)))
    }

    /// A worker has ended, and its sessions wait for another one: orders to it are retained.
    pub(super) fn bequeath(&mut self, of: Generation, retained: Retained) {
        self.orphans.insert(of, retained);
    }

    /// A worker of the master before has ended, and its sessions wait for another one. `heard`: it had heard of this
    /// master. Else it counted the orders of the one before, and lacks all of this one.
    pub(super) fn inherit(&mut self, of: Generation, heard: bool) {
        let retained = self.orphans.entry(of).or_default();
        if !heard {
            retained.lacks_all();
        }
    }

    /// Orders to a worker that has ended are not retained any more.
    pub(super) fn forget_orphan(&mut self, of: Generation) -> Option<Retained> {
        self.orphans.remove(&of)
    }

    /// Messages that links did not take since the daemon's start, by role.
    pub(super) fn dropped(&self) -> BTreeMap<Role, u64> {
        let mut all = self.dropped_before.clone();
        for child in self.iter().filter(|child| child.drops.count > 0) {
            *all.entry(child.role).or_default() += child.drops.count;
        }
        all
    }
}

/// Sending. A message that a link does not take is counted and logged here: where the result is not used,
/// nothing else can be done.
impl Children {
    /// Says something to one of them.
    pub(super) fn tell<M: Message>(&mut self, to: Generation, message: &M) -> Result<(), Lost> {
        self.tell_with(to, message, Vec::new())
    }

    /// Says something with descriptors beside it.
    pub(super) fn tell_with<M: Message>(
        &mut self,
        to: Generation,
        message: &M,
        with: Vec<OwnedFd>,
    ) -> Result<(), Lost> {
        match (self.by_generation.get_mut(&to), self.orphans.get_mut(&to)) {
            (Some(child), _) => child.say(message, with, self.now),
            (None, Some(retained)) if message.is_order() => {
                retain(retained, message);
                Ok(())
            }
            (None, _) => Err(Lost::Gone),
        }
    }

    /// Says something to all workers.
    pub(super) fn tell_workers(&mut self, message: &ToWorker<'_>) {
        for child in self.by_generation.values_mut().filter(|child| child.is_worker()) {
            let _ = child.say(message, Vec::new(), self.now);
        }
        if message.is_order() {
            self.orphans.values_mut().for_each(|retained| retain(retained, message));
        }
    }

    /// Says something to all feeders: at work, and on their way in or out.
    pub(super) fn tell_feeders(&mut self, message: &ToFeeder<'_>) {
        for child in self.by_generation.values_mut().filter(|child| !child.is_worker()) {
            let _ = child.say(message, Vec::new(), self.now);
        }
    }

    /// Asks the feeder that is at work.
    pub(super) fn ask_feeder(&mut self, message: &ToFeeder<'_>) -> Result<(), Lost> {
        let mut all = self.by_generation.values_mut();
        let feeder = all.find(|child| !child.is_worker() && child.ready).ok_or(Lost::Gone)?;
        feeder.say(message, Vec::new(), self.now)
    }

    /// Gives a number for a message of the master's own, and where the count of its subscribers comes.
    pub(super) fn expect(&mut self) -> (u64, oneshot::Receiver<u32>) {
        self.last += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiters.insert(self.last, sender);
        (self.last, receiver)
    }

    /// A turn of the loop begins. Logs what was dropped and not logged at its moment.
    pub(super) fn turn(&mut self, now: Mono) {
        self.now = now;
        for child in self.by_generation.values_mut() {
            if let Some((why, hushed)) = child.drops.log.wake(now) {
                let dropped = child.drops.count;
                tracing::warn!(event = "link-dropped", child = %child.role, pid = child.pid, ?why, dropped, hushed);
            }
        }
    }
}

impl Sink for Children {
    fn push(&mut self, to: Generation, ticket: u64, order: &Order<'_>) -> Result<(), Lost> {
        let Order { id, user, symbol, frame, deadline, .. } = *order;
        self.tell(to, &ToWorker::Push { ticket, id, user, symbol, frame, deadline })
    }

    fn publish(&mut self, to: Generation, ticket: u64, publication: &Publication<'_>) -> Result<(), Lost> {
        let Publication { channel, frame, skip, of, .. } = *publication;
        self.tell(to, &ToWorker::Publish { ticket, channel, frame, skip, of })
    }

    fn receipt(&mut self, to: Generation, request: u64, outcome: Outcome) {
        let _ = self.tell(to, &ToWorker::Receipt { request, outcome });
    }

    fn publish_receipt(&mut self, to: Generation, request: u64, sessions: u32) {
        if request == NO_RECEIPT {
            return;
        }
        if to == MASTER {
            if let Some(waiter) = self.waiters.remove(&request) {
                let _ = waiter.send(sessions);
            }
            return;
        }
        let _ = self.tell(to, &ToWorker::PublishReceipt { request, sessions });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::link::link;
    use std::time::Duration;

    #[tokio::test]
    async fn what_a_link_does_not_take_is_counted_also_after_the_end_of_its_process() {
        let (mut children, now) = (Children::default(), Mono(1_000_000_000_000));
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let (sender, _receiver, _writer) = link(ours);
        let worker = Role::Worker(1);
        children.insert(7, Child::new(worker, sender, 1));
        children.turn(now);
        let long = "x".repeat(20 << 20);
        // Nobody writes: 64 MiB wait, then nothing more is taken.
        let told: Vec<_> = (0..6).map(|_| children.tell(7, &ToWorker::Stats(&long))).collect();
        assert_eq!(told[..4], [Ok(()); 4]);
        assert_eq!(told[4..], [Err(Lost::Full); 2]);
        children.receipt(7, 1, Outcome::NotConnected);
        assert_eq!(children.dropped(), BTreeMap::from([(worker, 3)]));
        children.turn(now.after(Duration::from_secs(60)));
        children.receipt(8, 1, Outcome::NotConnected);
        assert!(children.remove(7).is_some());
        assert_eq!(
            children.dropped(),
            BTreeMap::from([(worker, 3)]),
            "to one that is no more, nothing is lost"
        );
    }

    #[tokio::test]
    async fn a_message_longer_than_any_may_be_is_counted() {
        let mut children = Children::default();
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let (sender, _receiver, _writer) = link(ours);
        children.insert(7, Child::new(Role::Worker(1), sender, 1));
        let long = "x".repeat(33 << 20);
        assert_eq!(children.tell(7, &ToWorker::Stats(&long)), Err(Lost::Gone));
        assert_eq!(children.dropped(), BTreeMap::from([(Role::Worker(1), 1)]));
    }
}
