//! Packs on their way back into sessions: which sockets are asked for, and what is counted. Pure: `D` is a socket.

use crate::model::{Boot, Mono};
use crate::protocol::cluster::Generation;
use crate::session::{Key, Pack, Packed, Snapshot};
use std::collections::BTreeMap;
use std::time::Duration;

/// Sessions of an older pack are closed, and their clients come back by themselves.
const OLDEST: Duration = Duration::from_secs(10);

/// Longest time in which nobody is let in. No key: more than all sessions of a machine take to come.
const CLOSED: Duration = Duration::from_secs(10);

/// Set in the numbers of these questions for sockets, and in no other's.
const FIRST: u64 = 1 << 63;

/// The part of a pack that this worker unpacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The worker that packed.
    pub of: Generation,
    pub part: u32,
    pub parts: u32,
}

/// What has become of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub held: u32,
    pub closed: u32,
}

/// A socket that has come.
#[derive(Debug, PartialEq)]
pub enum Came<D> {
    /// Of a session that goes on.
    Session(Box<Snapshot>, D),
    /// Of a session that was with nobody for too long: its client is told to come back.
    Late(Box<Snapshot>, D),
    /// Of a session that cannot be read.
    Stranger(D),
}

#[derive(Debug)]
struct Open {
    part: Part,
    /// When it was packed; `None`: nothing of it can be read.
    at: Option<Boot>,
    /// Sessions that wait for their sockets.
    values: BTreeMap<Key, Box<Snapshot>>,
    is_late: bool,
    counts: Counts,
}

/// What is to be done first with a part of a pack.
#[derive(Debug, PartialEq)]
pub struct Begun {
    /// Sessions without a connection of their own, which can go on at once.
    pub alone: Vec<Snapshot>,
    /// The sockets to be asked for.
    pub keys: Vec<Key>,
}

/// All that is being unpacked, by the number of the question for its sockets.
#[derive(Debug, Default)]
pub struct Unpacking {
    open: BTreeMap<u64, Open>,
    last: u64,
    /// Until when nobody is let in at the latest: whoever comes may ask for a session that is still on its way.
    closed_until: Option<Mono>,
}

impl Unpacking {
    /// Nobody is let in before the sessions of all workers have come.
    pub fn keep_out(&mut self, now: Mono) {
        self.closed_until = Some(now.after(CLOSED));
    }

    /// All have come.
    pub fn let_in(&mut self) {
        self.closed_until = None;
    }

    /// Whether nobody is let in yet.
    pub fn keeps_out(&self, now: Mono) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }

    /// The number of the next question for sockets.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        FIRST | self.last
    }

    /// Whether a question is one of these.
    pub fn asked(request: u64) -> bool {
        request & FIRST != 0
    }

    /// Begins with a part of a pack.
    pub fn begin(&mut self, request: u64, part: Part, bytes: &[u8], now: Boot) -> Begun {
        let pack = Pack::read(bytes);
        let is_late = pack.at.is_some_and(|at| now.since(at) > OLDEST);
        let (values, counts) = (BTreeMap::new(), Counts::default());
        let mut open = Open { part, at: pack.at, values, is_late, counts };
        let mut begun = Begun { alone: Vec::new(), keys: Vec::new() };
        if part.part == 0 {
            open.counts.closed += pack.lost;
        }
        let is_own = |record: &&Packed<'_>| record.key % part.parts.max(1) == part.part;
        for record in pack.records.iter().filter(is_own) {
            let read = record.session.map(Snapshot::decode);
            if let Some(Err(error)) = &read {
                tracing::warn!(event = "session-unreadable", of = part.of, %error);
            }
            let Some(Ok(snapshot)) = read else {
                // Its socket is asked for all the same: it is closed then.
                open.counts.closed += 1;
                begun.keys.push(record.key);
                continue;
            };
            if snapshot.has_wire() {
                begun.keys.push(record.key);
                open.values.insert(record.key, Box::new(snapshot));
            } else {
                begun.alone.push(snapshot);
            }
        }
        self.open.insert(request, open);
        begun
    }

    /// How long the sessions of a pack have been with nobody.
    pub fn silence(&self, request: u64, now: Boot) -> Duration {
        let at = self.open.get(&request).and_then(|open| open.at);
        at.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// A socket has come. `None`: nobody has asked.
    pub fn came<D>(&mut self, request: u64, key: Key, socket: D) -> Option<Came<D>> {
        let open = self.open.get_mut(&request)?;
        Some(match open.values.remove(&key) {
            Some(value) if open.is_late => Came::Late(value, socket),
            Some(value) => Came::Session(value, socket),
            None => Came::Stranger(socket),
        })
    }

    /// So many sessions go on, or cannot.
    pub fn settled(&mut self, request: u64, sessions: usize, go_on: bool) {
        if let Some(Open { counts, .. }) = self.open.get_mut(&request) {
            let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
            *if go_on { &mut counts.held } else { &mut counts.closed } += sessions;
        }
    }

    /// No more sockets come. Sessions without theirs are gone.
    pub fn over(&mut self, request: u64, now: Boot) -> Option<(Part, Counts, Duration)> {
        let Open { part, at, values, is_late: _, mut counts } = self.open.remove(&request)?;
        counts.closed += u32::try_from(values.len()).unwrap_or(u32::MAX);
        Some((part, counts, at.map_or(Duration::ZERO, |at| now.since(at))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SessionId, UserId};
    use crate::protocol::cluster::Endpoint;
    use crate::session::{Connection, Framing, Identity, Packing, Places, Session};

    const AT: Boot = Boot(5_000_000_000);
    const SOON: Boot = Boot(5_200_000_000);

    fn snapshot(id: u128, connection: Connection) -> Snapshot {
        let (user, address) = (UserId::new("alice").unwrap(), [192, 0, 2, 7].into());
        let identity = Identity::new(SessionId(id), user, Endpoint::Ws, address, 0);
        Session::new(identity, Framing::Websocket, None, Mono(1)).freeze(Places::default(), connection)
    }

    /// Four sessions with sockets at the keys 0 to 3, one without at 4.
    fn pack() -> Vec<u8> {
        let mut packing = Packing::new(AT);
        for key in 0..4u32 {
            let session = snapshot(key.into(), Connection::Wire { sent: 9 }).encode().unwrap();
            packing.add(key, &session).unwrap();
        }
        let away = snapshot(4, Connection::Away { has: Some(1), since: Mono(0) });
        packing.add(4, &away.encode().unwrap()).unwrap();
        packing.bytes()
    }

    const WHOLE: Part = Part { of: 3, part: 0, parts: 1 };

    #[test]
    fn each_session_goes_on_with_its_own_socket() {
        let mut unpacking = Unpacking::default();
        let begun = unpacking.begin(7, WHOLE, &pack(), SOON);
        assert_eq!((begun.keys, begun.alone.len()), (vec![0, 1, 2, 3], 1));
        for key in [2, 0, 1] {
            let Some(Came::Session(value, socket)) = unpacking.came(7, key, key) else { panic!("{key}") };
            assert_eq!((value.thaw().0.identity.id().0, socket), (key.into(), key));
            unpacking.settled(7, 1, key != 1);
        }
        assert!(matches!(unpacking.came(7, 2, 'x'), Some(Came::Stranger('x'))), "once");
        let counts = Counts { held: 2, closed: 2 };
        assert_eq!(unpacking.over(7, SOON), Some((WHOLE, counts, Duration::from_millis(200))));
        assert_eq!((unpacking.came(7, 3, 'x'), unpacking.over(7, SOON)), (None, None));
    }

    #[test]
    fn all_parts_together_are_the_whole() {
        let (mut unpacking, bytes) = (Unpacking::default(), pack());
        let begun =
            [0, 1].map(|part| unpacking.begin(part.into(), Part { of: 3, part, parts: 2 }, &bytes, SOON));
        assert_eq!(begun.each_ref().map(|it| it.keys.clone()), [vec![0, 2], vec![1, 3]]);
        assert_eq!(begun.map(|it| it.alone.len()), [1, 0]);
    }

    #[test]
    fn what_comes_late_is_told_to_come_back() {
        let mut unpacking = Unpacking::default();
        unpacking.begin(7, WHOLE, &pack(), Boot(AT.0 + 10_000_000_001));
        assert!(matches!(unpacking.came(7, 0, 'x'), Some(Came::Late(_, 'x'))));
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_its_socket_closed() {
        let (mut unpacking, mut bytes) = (Unpacking::default(), pack());
        // In the body of the first record, and in the head of the second.
        bytes[45] ^= 1;
        let second = bytes.windows(3).skip(1).position(|three| three == b"BCP").unwrap() + 1;
        bytes[second + 5] ^= 1;
        let begun = unpacking.begin(7, WHOLE, &bytes, SOON);
        assert_eq!(begun.keys, [0, 2, 3]);
        assert!(matches!(unpacking.came(7, 0, 'x'), Some(Came::Stranger('x'))));
        assert_eq!(unpacking.over(7, SOON).unwrap().1, Counts { held: 0, closed: 4 });
        unpacking.begin(8, WHOLE, b"nothing", SOON);
        assert_eq!(unpacking.over(8, SOON).unwrap().2, Duration::ZERO);
    }

    #[test]
    fn nobody_is_let_in_until_all_have_come_or_it_takes_too_long() {
        let mut unpacking = Unpacking::default();
        assert!(!unpacking.keeps_out(Mono(5)));
        unpacking.keep_out(Mono(5));
        assert!(unpacking.keeps_out(Mono(6)) && !unpacking.keeps_out(Mono(5).after(CLOSED)));
        unpacking.let_in();
        assert!(!unpacking.keeps_out(Mono(6)));
    }
}
