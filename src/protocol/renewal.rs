//! What a child tells a master that takes the place of another, and the link over which it does.

use super::cluster::{BatchId, Generation};
use super::link::{Batch, LinkReceiver, LinkSender, LinkWriter};
use crate::model::{Quote, SessionId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for the end of a link in whose place there is another already: its master is dead, or must not be
/// heard any more.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The knowledge of a worker that was welcomed by a master before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// [`fingerprint`] of its configuration.
    pub config: u64,
    /// The newest prices: a master must not number lower.
    pub quotes: Vec<Quote>,
    /// The number of the newest line of each channel.
    pub lines: Vec<(Box<str>, u64)>,
    /// Sessions on their way from or to it.
    pub moves: MovesAgain,
    /// Dead workers whose sessions it adopts, or has adopted a moment ago.
    pub adopts: Vec<Generation>,
}

/// Batches of sessions that were on their way between workers when their master died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovesAgain {
    /// The own batch that was sent: it is not known whether it came.
    pub sent: Option<Sent>,
    /// Batches that were announced and have not come.
    pub expected: Vec<BatchId>,
    /// The last batch of each worker that has come, and of which sessions the connections did not.
    pub came: Vec<(BatchId, Vec<SessionId>)>,
}

/// A batch of sessions that is the source's again if it has not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub number: u32,
    pub to: Generation,
    /// Its sessions: a [`RosterPage`](super::cluster::RosterPage), encoded.
    pub page: Vec<u8>,
}

/// Tells two texts apart. The same for all processes of one program.
#[must_use]
pub fn fingerprint(text: &str) -> u64 {
    let fold = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// A link, whose writer is not run yet.
pub type NewLink = (LinkSender, LinkReceiver, LinkWriter);

/// The links of a child to one master after another.
#[derive(Debug)]
pub struct MasterLink {
    links: mpsc::Receiver<NewLink>,
    /// What is read now.
    present: Option<Present>,
    /// The link that takes its place, and until when the present one is read.
    next: Option<(NewLink, Instant)>,
}

#[derive(Debug)]
struct Present {
    receiver: LinkReceiver,
    _writing: AbortOnDropHandle<()>,
}

/// Something that a link brings.
#[derive(Debug)]
pub enum Heard {
    /// There is another master. What is said goes there from now on.
    Master(LinkSender),
    /// The master said something.
    Batch(Batch),
    /// The master is gone.
    Lost,
    /// There will be no other.
    End,
}

impl MasterLink {
    /// Begins with the first of `links`.
    #[must_use]
    pub fn new(links: mpsc::Receiver<NewLink>) -> Self {
        Self { links, present: None, next: None }
    }

    /// Waits for what comes next. Cancel-safe. A link is read to its end before the next one is.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(present) = &mut self.present else { return self.begin().await };
            let heard = match &self.next {
                Some((_, until)) => timeout_at(*until, present.receiver.receive()).await.ok(),
                None => tokio::select! {
                    biased;
                    heard = present.receiver.receive() => Some(heard),
                    Some(link) = self.links.recv() => {
                        self.next = Some((link, Instant::now() + LAST_WORDS));
                        continue;
                    }
                },
            };
            if let Some(Ok(batch)) = heard {
                return Heard::Batch(batch);
            }
            self.present = None;
            return Heard::Lost;
        }
    }

    async fn begin(&mut self) -> Heard {
        let (sender, receiver, writer) = match self.next.take() {
            Some((link, _)) => link,
            None => match self.links.recv().await {
                Some(link) => link,
                None => return Heard::End,
            },
        };
        let writing = AbortOnDropHandle::new(tokio::spawn(writer.run()));
        self.present = Some(Present { receiver, _writing: writing });
        Heard::Master(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::link::link;
    use tokio::net::UnixStream;

    fn number(heard: Heard) -> Option<u64> {
        match heard {
            Heard::Batch(mut batch) => batch.next::<u64>().and_then(Result::ok),
            Heard::Master(sender) => {
                sender.send(&7u64).unwrap();
                None
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_link_is_read_to_its_end_before_the_next_one() {
        let (give, links) = mpsc::channel(1);
        let mut own = MasterLink::new(links);
        let ((first, theirs), (second, theirs_2)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        give.send(link(theirs)).await.unwrap();
        assert_eq!(number(own.next().await), None);
        let (old, mut hears_old, writer) = link(first);
        let writing = tokio::spawn(writer.run());
        assert_eq!(hears_old.receive().await.unwrap().next::<u64>().unwrap().unwrap(), 7);
        old.send(&1u64).unwrap();
        assert_eq!(number(own.next().await), Some(1));
        old.send(&2u64).unwrap();
        while old.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        writing.abort();
        let _ = writing.await;
        drop((old, hears_old));
        give.send(link(theirs_2)).await.unwrap();
        assert_eq!(number(own.next().await), Some(2), "the last words");
        assert!(matches!(own.next().await, Heard::Lost));
        assert_eq!(number(own.next().await), None);
        let (_new, mut hears_new, _) = link(second);
        assert_eq!(hears_new.receive().await.unwrap().next::<u64>().unwrap().unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_that_hangs_is_not_waited_for() {
        let (give, links) = mpsc::channel(1);
        let mut own = MasterLink::new(links);
        let ((_first, theirs), (_second, theirs_2)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        give.send(link(theirs)).await.unwrap();
        assert!(matches!(own.next().await, Heard::Master(_)));
        give.send(link(theirs_2)).await.unwrap();
        assert!(matches!(own.next().await, Heard::Lost));
        assert!(matches!(own.next().await, Heard::Master(_)));
        drop(give);
    }

    #[tokio::test]
    async fn without_another_link_there_is_an_end() {
        let (give, links) = mpsc::channel(1);
        let mut own = MasterLink::new(links);
        give.send(link(UnixStream::pair().unwrap().1)).await.unwrap();
        drop(give);
        assert!(matches!(own.next().await, Heard::Master(_)));
        assert!(matches!(own.next().await, Heard::Lost));
        assert!(matches!(own.next().await, Heard::End));
    }
}
