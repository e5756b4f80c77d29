//! Channels that have something to send to members that have not seen it, in the order of their turns. Pure but for the
//! bell that wakes the walking task.

use crate::session::ChannelKey;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// The channels to be walked.
#[derive(Debug, Default)]
pub(in crate::worker) struct Walks {
    queue: VecDeque<ChannelKey>,
    /// By channel: whether it stands in the queue and has not been removed since.
    stands: Vec<bool>,
    bell: Arc<Notify>,
}

impl Walks {
    /// A channel has something to send.
    pub fn mark(&mut self, channel: ChannelKey) {
        self.push(channel);
        self.bell.notify_one();
    }

    /// A channel that had its turn has more to send. The walking task is awake.
    pub fn go_on(&mut self, channel: ChannelKey) {
        self.push(channel);
    }

    fn push(&mut self, channel: ChannelKey) {
        let at = usize::from(channel);
        if at >= self.stands.len() {
            self.stands.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.stands[at], true) {
            self.queue.push_back(channel);
        }
    }

    /// A channel is no more. Its place in the queue is passed by.
    pub fn forget(&mut self, channel: ChannelKey) {
        if let Some(stands) = self.stands.get_mut(usize::from(channel)) {
            *stands = false;
        }
    }

    /// How many turns a round has.
    pub fn round(&self) -> usize {
        self.queue.len()
    }

    /// The channel whose turn it is; `None`: it was removed, or there is none.
    pub fn next(&mut self) -> Option<ChannelKey> {
        let channel = self.queue.pop_front()?;
        std::mem::take(self.stands.get_mut(usize::from(channel))?).then_some(channel)
    }

    /// Whether no channel has anything to send.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Rings when a channel has something to send.
    pub(in crate::worker) fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Event {
        Mark(ChannelKey),
        Forget(ChannelKey),
        /// A round in which channels of these numbers have more afterwards.
        Round(BTreeSet<ChannelKey>),
    }

    fn event() -> impl Strategy<Value = Event> {
        let channel = 0..6u16;
        prop_oneof![
            5 => channel.clone().prop_map(Event::Mark),
            2 => channel.clone().prop_map(Event::Forget),
            2 => vec(channel, 0..4).prop_map(|more| Event::Round(more.into_iter().collect())),
        ]
    }

    proptest! {
        #[test]
        fn a_round_has_each_marked_channel_once_and_no_other(events in vec(event(), 1..60)) {
            let (mut walks, mut marked) = (Walks::default(), BTreeSet::new());
            for event in events {
                match event {
                    Event::Mark(channel) => {
                        walks.mark(channel);
                        marked.insert(channel);
                    }
                    Event::Forget(channel) => {
                        walks.forget(channel);
                        marked.remove(&channel);
                    }
                    Event::Round(more) => {
                        let turns: Vec<_> = (0..walks.round()).filter_map(|_| walks.next()).collect();
                        let had: BTreeSet<_> = turns.iter().copied().collect();
                        prop_assert_eq!(had.len(), turns.len());
                        prop_assert_eq!(&had, &marked);
                        prop_assert!(walks.is_empty());
                        marked = &had & &more;
                        marked.iter().for_each(|channel| walks.go_on(*channel));
                    }
                }
                prop_assert!(marked.is_empty() || !walks.is_empty());
            }
        }
    }

    #[test]
    fn channels_have_their_turns_in_the_order_of_their_marks() {
        let mut walks = Walks::default();
        [5, 2, 9, 2].into_iter().for_each(|channel| walks.mark(channel));
        walks.forget(2);
        walks.mark(2);
        assert_eq!(
            (0..walks.round()).map(|_| walks.next()).collect::<Vec<_>>(),
            [Some(5), Some(2), Some(9), None]
        );
    }
}
