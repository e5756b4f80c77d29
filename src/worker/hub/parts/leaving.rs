//! Sessions that this worker hands over to others, in batches. Pure: the hub carries what is decided here.
//!
//! A batch is *asked* for: its sessions are not read, everything else goes on. With the master's word they belong to the
//! other worker: their values are *sent*, and kept here until that worker has them, or has ended. One batch is under
//! way at a time, so that each session is silent for a moment only.

#[cfg(test)]
mod histories;

use super::meanwhile::Meanwhile;
use crate::model::{Mono, SessionId};
use crate::protocol::cluster::{BATCH, Generation, Moved, Which};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// An order ends when no session of it could be moved for so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Orders that wait; more are refused.
const ORDERS: usize = 1024;

/// An order of the master that is not done.
#[derive(Debug)]
struct Order {
    number: u64,
    to: Generation,
    which: Which,
    moved: Moved,
    /// When a session was last moved.
    progress: Mono,
}

/// The work that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub to: Generation,
    /// The only session that is meant.
    pub only: Option<SessionId>,
    /// Most sessions to hand over.
    pub most: usize,
    /// The worker is to be empty.
    pub all: bool,
}

/// The end of an order, for the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub order: u64,
    pub moved: Moved,
}

#[derive(Debug)]
enum Stage<K> {
    Asked(BTreeSet<SessionId>),
    Sent { kept: Vec<(SessionId, K)>, gone: Vec<SessionId>, meanwhile: Meanwhile },
}

/// The batch under way.
#[derive(Debug)]
struct Batch<K> {
    number: u32,
    to: Generation,
    /// When its sessions were last read.
    stopped: Mono,
    stage: Stage<K>,
}

/// The master's word on a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Handed {
    pub to: Generation,
    pub stopped: Mono,
    /// Sessions to be sent.
    pub taken: Vec<SessionId>,
    /// Sessions that stay.
    pub back: Vec<SessionId>,
}

/// A batch that has arrived.
#[derive(Debug)]
pub struct Settled<K> {
    /// Values that live on there.
    pub held: Vec<K>,
    /// Values that live on there without the connection, which is closed here.
    pub refused: Vec<K>,
    /// How long their clients were not read.
    pub silence: Duration,
}

/// A batch whose sessions go on here: its target has ended.
#[derive(Debug)]
pub struct Back<K> {
    pub batch: u32,
    pub kept: Vec<(SessionId, K)>,
    /// Sessions that have ended before: the master does not know yet.
    pub gone: Vec<SessionId>,
    pub meanwhile: Meanwhile,
}

/// Orders, and the batch under way; `K` is what is kept of a session.
#[derive(Debug)]
pub struct Leaving<K> {
    orders: VecDeque<Order>,
    batch: Option<Batch<K>>,
    last: u32,
    /// When a batch last arrived.
    arrived: Mono,
    /// A target has ended before its order was done: the master may name another one.
    hopes: bool,
}

impl<K> Default for Leaving<K> {
    fn default() -> Self {
        Self { orders: VecDeque::new(), batch: None, last: 0, arrived: Mono(0), hopes: false }
    }
}

impl<K> Leaving<K> {
    /// Takes an order. Some: it is refused, because too many wait.
    pub fn order(&mut self, number: u64, to: Generation, which: Which, now: Mono) -> Option<Done> {
        if self.orders.len() >= ORDERS {
            return Some(Done { order: number, moved: Moved::default() });
        }
        self.hopes = false;
        self.orders.push_back(Order { number, to, which, moved: Moved::default(), progress: now });
        None
    }

    /// Whether no session is to leave, or on its way, and no further order is expected.
    pub fn is_idle(&self) -> bool {
        self.orders.is_empty() && self.batch.is_none() && !self.hopes
    }

    /// When sessions last arrived at another worker.
    pub fn last_arrival(&self) -> Mono {
        self.arrived
    }

    /// Whether sessions are on their way.
    pub fn is_under_way(&self) -> bool {
        self.batch.is_some()
    }

    /// What is next; `None`: nothing, or a batch is under way.
    pub fn task(&self) -> Option<Task> {
        let order = self.orders.front().filter(|_| self.batch.is_none())?;
        let (only, most) = match order.which {
            Which::All => (None, BATCH),
            Which::Count(count) => (None, (count as usize).min(BATCH)),
            Which::One(session) => (Some(session), 1),
        };
        Some(Task { to: order.to, only, most, all: order.which == Which::All })
    }

    /// These sessions are to leave; returns the number of their batch. With none the order may be over: `rest` are those
    /// that it means and that cannot be moved at the moment. While the worker `drains`, more may come.
    pub fn begin(
        &mut self,
        sessions: Vec<SessionId>,
        (rest, drains): (usize, bool),
        now: Mono,
    ) -> Result<u32, Option<Done>> {
        let Some(order) = self.orders.front_mut() else { return Err(None) };
        if sessions.is_empty() {
            let lasts = drains && order.which == Which::All;
            let over = !lasts && (rest == 0 || now.since(order.progress) >= PATIENCE);
            order.moved.left = u32::try_from(rest).unwrap_or(u32::MAX);
            return Err(if over { self.end() } else { None });
        }
        // Of the sessions of one id each is moved.
        order.moved.left =
            if let Which::One(_) = order.which { u32::try_from(rest).unwrap_or(u32::MAX) } else { 0 };
        self.last = self.last.wrapping_add(1);
        let stage = Stage::Asked(sessions.into_iter().collect());
        self.batch = Some(Batch { number: self.last, to: order.to, stopped: now, stage });
        Ok(self.last)
    }

    /// Ends the first order.
    fn end(&mut self) -> Option<Done> {
        self.orders.pop_front().map(|Order { number, moved, .. }| Done { order: number, moved })
    }

    /// The master's word on a batch: those taken belong to the other worker; `None`: that worker takes none.
    pub fn handed(&mut self, number: u32, taken: Option<&[SessionId]>) -> Option<Handed> {
        let batch = self.batch.as_mut().filter(|batch| batch.number == number)?;
        let Stage::Asked(asked) = &mut batch.stage else { return None };
        let (to, stopped, asked) = (batch.to, batch.stopped, std::mem::take(asked));
        let (taken, back): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|session| taken.is_some_and(|taken| taken.contains(session)));
        if taken.is_empty() {
            self.batch = None;
        } else {
            batch.stage = Stage::Sent { kept: Vec::new(), gone: Vec::new(), meanwhile: Meanwhile::default() };
        }
        Some(Handed { to, stopped, taken, back })
    }

    /// The values that were sent are kept; `ended` are those that ended before.
    pub fn keep(&mut self, values: Vec<(SessionId, K)>, ended: Vec<SessionId>) {
        if let Some(Batch { stage: Stage::Sent { kept, gone, .. }, .. }) = &mut self.batch {
            (*kept, *gone) = (values, ended);
        }
    }

    /// Where to note what comes for values that were sent.
    pub fn meanwhile(&mut self) -> Option<&mut Meanwhile> {
        match &mut self.batch.as_mut()?.stage {
            Stage::Sent { meanwhile, .. } => Some(meanwhile),
            Stage::Asked(_) => None,
        }
    }

    /// The other worker has the batch.
    pub fn arrived(
        &mut self,
        number: u32,
        refused: &[SessionId],
        now: Mono,
    ) -> Option<(Settled<K>, Option<Done>)> {
        let is_it =
            |batch: &&mut Batch<K>| batch.number == number && matches!(batch.stage, Stage::Sent { .. });
        self.batch.as_mut().filter(is_it)?;
        let Batch { to, stopped, stage: Stage::Sent { kept, .. }, .. } = self.batch.take()? else {
            return None;
        };
        self.arrived = now;
        let silence = now.since(stopped);
        let (refused, held): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(id, _)| refused.contains(id));
        let values = |all: Vec<(SessionId, K)>| all.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        let settled = Settled { held: values(held), refused: values(refused), silence };
        let done = self.count(to, &settled, now);
        Some((settled, done))
    }

    fn count(&mut self, to: Generation, settled: &Settled<K>, now: Mono) -> Option<Done> {
        let order = self.orders.front_mut().filter(|order| order.to == to)?;
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (held, closed) = (short(settled.held.len()), short(settled.refused.len()));
        order.progress = now;
        order.moved.held += held;
        order.moved.closed += closed;
        order.moved.silence = order.moved.silence.max(settled.silence);
        let over = match &mut order.which {
            Which::All => false,
            Which::Count(count) => {
                *count = count.saturating_sub(held + closed);
                *count == 0
            }
            Which::One(_) => order.moved.left == 0,
        };
        if over { self.end() } else { None }
    }

    /// A process has ended. Its orders are over; a batch that was sent to it goes on here.
    pub fn target_gone(&mut self, target: Generation) -> (Option<Back<K>>, Vec<Done>) {
        let is_sent = |batch: &mut Batch<K>| batch.to == target && matches!(batch.stage, Stage::Sent { .. });
        let back = self.batch.take_if(is_sent).and_then(Self::back);
        (back, self.drop_orders(target))
    }

    /// A worker takes no sessions: its orders are over.
    pub fn drop_orders(&mut self, target: Generation) -> Vec<Done> {
        let all = std::mem::take(&mut self.orders).into_iter();
        let (gone, rest): (Vec<_>, Vec<_>) = all.partition(|order| order.to == target);
        self.orders = rest.into();
        self.hopes |= self.orders.is_empty() && !gone.is_empty();
        let done = gone.into_iter().map(|Order { number, moved, .. }| Done {
            order: number,
            moved: Moved { target_gone: true, ..moved },
        });
        done.collect()
    }

    /// The master is gone, and with it its orders; another one gives new ones. Returns the batch that it was asked for in
    /// vain: its number.
    pub fn master_lost(&mut self) -> Option<u32> {
        self.hopes |= !self.orders.is_empty();
        self.orders.clear();
        let asked = |batch: &&Batch<K>| matches!(batch.stage, Stage::Asked(_));
        self.batch.as_ref().filter(asked).map(|batch| batch.number)
    }

    /// The batch that was sent, and to whom.
    pub fn sent(&self) -> Option<(u32, Generation)> {
        let sent = |batch: &&Batch<K>| matches!(batch.stage, Stage::Sent { .. });
        self.batch.as_ref().filter(sent).map(|batch| (batch.number, batch.to))
    }

    /// The values that were sent.
    pub fn kept(&self) -> impl Iterator<Item = &K> {
        let kept = self.batch.iter().filter_map(|batch| match &batch.stage {
            Stage::Sent { kept, .. } => Some(kept),
            Stage::Asked(_) => None,
        });
        kept.flatten().map(|(_, value)| value)
    }

    /// A batch that was sent has not come, and goes on here.
    pub fn came_to_nothing(&mut self, number: u32) -> Option<Back<K>> {
        let is_it =
            |batch: &mut Batch<K>| batch.number == number && matches!(batch.stage, Stage::Sent { .. });
        self.batch.take_if(is_it).and_then(Self::back)
    }

    fn back(batch: Batch<K>) -> Option<Back<K>> {
        match batch.stage {
            Stage::Sent { kept, gone, meanwhile } => {
                Some(Back { batch: batch.number, kept, gone, meanwhile })
            }
            Stage::Asked(_) => None,
        }
    }

    /// No further session leaves: `left` are those that stay.
    pub fn stop(&mut self, left: usize) -> Vec<Done> {
        self.hopes = false;
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let orders = std::mem::take(&mut self.orders).into_iter();
        let done =
            orders.map(|Order { number, moved, .. }| Done { order: number, moved: Moved { left, ..moved } });
        done.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_order_of_a_count_is_over_when_so_many_have_gone() {
        let mut leaving = Leaving::default();
        assert_eq!(leaving.task(), None);
        leaving.order(9, 5, Which::Count(2), Mono(0));
        assert_eq!(leaving.task(), Some(Task { to: 5, only: None, most: 2, all: false }));
        let batch = leaving.begin(vec![A, B], (0, false), Mono(10)).unwrap();
        assert_eq!(leaving.task(), None, "one at a time");
        let handed = leaving.handed(batch, Some(&[A])).unwrap();
        assert_eq!(handed, Handed { to: 5, stopped: Mono(10), taken: vec![A], back: vec![B] });
        leaving.keep(vec![(A, "a")], vec![]);
        let (settled, done) = leaving.arrived(batch, &[], Mono(30)).unwrap();
        assert_eq!((settled.held, settled.silence, done), (vec!["a"], Duration::from_nanos(20), None));
        assert_eq!(leaving.begin(vec![], (1, false), Mono(SECOND)), Err(None), "it may be movable soon");
        let batch = leaving.begin(vec![B], (0, false), Mono(SECOND)).unwrap();
        leaving.handed(batch, Some(&[B])).unwrap();
        leaving.keep(vec![(B, "b")], vec![]);
        let (settled, done) = leaving.arrived(batch, &[B], Mono(SECOND + 9)).unwrap();
        assert_eq!(settled.refused, ["b"]);
        let silence = Duration::from_nanos(20);
        let moved = Moved { held: 1, closed: 1, left: 0, silence, target_gone: false };
        assert_eq!(done, Some(Done { order: 9, moved }));
        assert!(leaving.is_idle());
    }

    #[test]
    fn an_order_for_one_session_moves_its_suspended_twin_and_then_itself() {
        let mut leaving = Leaving::default();
        leaving.order(1, 5, Which::One(A), Mono(0));
        let mut done = None;
        for rest in [1, 0] {
            assert_eq!(done, None);
            let batch = leaving.begin(vec![A], (rest, false), Mono(0)).unwrap();
            leaving.handed(batch, Some(&[A])).unwrap();
            leaving.keep(vec![(A, "a")], vec![]);
            done = leaving.arrived(batch, &[], Mono(1)).unwrap().1;
        }
        let moved = Moved { held: 2, silence: Duration::from_nanos(1), ..Moved::default() };
        assert_eq!(done, Some(Done { order: 1, moved }));
    }

    #[test]
    fn what_cannot_be_moved_is_given_up_after_a_while() {
        let mut leaving = Leaving::<()>::default();
        leaving.order(1, 5, Which::All, Mono(0));
        assert_eq!(leaving.begin(vec![], (3, false), Mono(SECOND)), Err(None));
        let moved = Moved { left: 3, ..Moved::default() };
        assert_eq!(leaving.begin(vec![], (3, false), Mono(2 * SECOND)), Err(Some(Done { order: 1, moved })));
        leaving.order(2, 5, Which::One(A), Mono(0));
        assert_eq!(
            leaving.begin(vec![], (0, false), Mono(1)),
            Err(Some(Done { order: 2, moved: Moved::default() }))
        );
    }

    #[test]
    fn the_end_of_a_target_ends_its_orders_and_gives_back_what_was_sent() {
        let mut leaving = Leaving::default();
        leaving.order(1, 5, Which::All, Mono(0));
        leaving.order(2, 6, Which::All, Mono(0));
        let batch = leaving.begin(vec![A], (0, false), Mono(0)).unwrap();
        let (back, done) = leaving.target_gone(5);
        assert!(back.is_none() && done.len() == 1, "the master's word is still to come");
        assert!(done[0].moved.target_gone);
        leaving.handed(batch, Some(&[A])).unwrap();
        leaving.keep(vec![(A, "a")], vec![]);
        let back = leaving.target_gone(5).0.unwrap();
        assert_eq!((back.batch, back.kept), (batch, vec![(A, "a")]));
        assert_eq!(leaving.task().map(|task| task.to), Some(6));
        assert!(leaving.arrived(batch, &[], Mono(1)).is_none());
    }
}
