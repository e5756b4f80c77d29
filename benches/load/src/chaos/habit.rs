//! Sorts of clients, and what each of them does.

use crate::decoder::Transport;
use crate::line::Door;
use btc_cluster_client::frame::{TEXT, masked, message};
use std::time::Duration;

/// What a client is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Main(Transport),
    /// `/stream1`
    Stream,
    Chat,
    Echo,
}

impl Sort {
    pub(crate) fn is_main(self) -> bool {
        matches!(self, Self::Main(_))
    }

    pub(crate) fn door(self) -> Door {
        match self {
            Self::Main(transport) => Door::Main(transport),
            Self::Stream => Door::Other("/stream1"),
            Self::Chat => Door::Other("/chat"),
            Self::Echo => Door::Other("/echo"),
        }
    }
}

/// Shares of the sorts, in percent.
const SORTS: [(u32, Sort); 6] = [
    (70, Sort::Main(Transport::Ws)),
    (12, Sort::Main(Transport::Sse)),
    (5, Sort::Main(Transport::Poll)),
    (5, Sort::Stream),
    (4, Sort::Chat),
    (4, Sort::Echo),
];

/// The sort of a client: each hundred has the same mixture, well stirred.
pub(crate) fn sort(client: u32) -> Sort {
    let mut number = client * 37 % 100;
    for (share, sort) in SORTS {
        match number.checked_sub(share) {
            Some(rest) => number = rest,
            None => return sort,
        }
    }
    SORTS[0].1
}

/// The bytes of a question.
type Bytes = fn(Sort, u32) -> Vec<u8>;

/// What a client does next.
pub(crate) enum Act {
    /// A speaker's next message.
    Speak,
    Ask(Bytes),
    /// A question whose second part comes later; the length of the first, of so many bytes.
    Half(Bytes, fn(usize) -> usize, Duration),
    /// It does not read for so long.
    Deaf(Duration),
}

/// What a client does, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Habit {
    pub(crate) sort: Sort,
    /// It hears every price: its silence counts.
    pub(crate) probe: bool,
    pub(crate) speaker: bool,
    /// Mean time between two cuts by itself.
    pub(crate) cut: Option<Duration>,
    /// Mean time without a connection after a cut.
    pub(crate) away: Duration,
    /// Mean time between two acts.
    pub(crate) act: Option<Duration>,
}

impl Habit {
    pub(crate) fn next(&self) -> Act {
        if self.speaker {
            return Act::Speak;
        }
        let time = Duration::from_millis(fastrand::u64(50..1500));
        match (fastrand::u8(0..100), self.sort) {
            (0..60, _) => Act::Ask(|sort, number| message(TEXT, text(sort, number).as_bytes())),
            (60..75, _) => Act::Half(
                |sort, number| message(TEXT, text(sort, number).as_bytes()),
                |len| fastrand::usize(1..len),
                time,
            ),
            (75..85, _) => Act::Half(parts, |len| fastrand::usize(1..len), time),
            _ if self.probe => Act::Ask(|sort, number| message(TEXT, text(sort, number).as_bytes())),
            _ => Act::Deaf(time),
        }
    }
}

/// A question.
fn text(sort: Sort, number: u32) -> String {
    match (sort, number % 3) {
        (Sort::Echo, _) => number.to_string(),
        (_, 0) => format!(r#"{{"type":"ping","id":{number}}}"#),
        (_, _) => format!(r#"{{"type":"echo","data":{{"n":{number}}},"id":{number}}}"#),
    }
}

/// A question as a message of two frames.
fn parts(sort: Sort, number: u32) -> Vec<u8> {
    let text = text(sort, number);
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    let mut bytes = masked(TEXT, [1, 2, 3, 4], first);
    bytes.extend(masked(0x80, [5, 6, 7, 8], second));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use btc_cluster_client::frame::frames;

    #[test]
    fn sorts_have_their_shares() {
        for (share, of) in SORTS {
            assert_eq!((0..100).filter(|client| sort(*client) == of).count(), share as usize, "{of:?}");
        }
    }

    #[test]
    fn a_question_in_parts_is_whole() {
        let mut opcodes = vec![];
        let bytes = parts(Sort::Main(Transport::Ws), 4);
        assert_eq!(bytes[0], TEXT);
        // A server's frames have no mask: the reader of these takes it for payload, and the length is short by it.
        frames(&bytes, |opcode, _| opcodes.push(opcode));
        assert_eq!(opcodes.first(), Some(&TEXT));
        assert_eq!((text(Sort::Echo, 7), text(Sort::Echo, 0)), ("7".to_owned(), "0".to_owned()));
    }
}
