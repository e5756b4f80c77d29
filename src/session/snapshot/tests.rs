//! A session that was frozen and thawed does what it would have done: for any input, and however much its socket takes.

use super::*;
use crate::model::{Device, Rate, RequestId, SessionId, Symbol, UserId};
use crate::protocol::cluster::Endpoint;
use crate::protocol::peer::Lease;
use crate::session::{Answer, Bounds, Channels, Kind, Label, Outbox, Step};
use crate::ws::frame;
use proptest::prelude::*;
use std::io::IoSlice;
use std::time::Duration;

const BOUNDS: Bounds = Bounds { messages: 5, bytes: 400 };
const NAMES: [&str; 4] = ["news", "more", "stats", "presence"];

#[derive(Clone, Debug)]
enum Act {
    Input(Vec<u8>),
    Speak,
    Answer(usize),
    Publish(usize, u8),
    Walk,
    /// The socket takes so many bytes more.
    Room(usize),
    Confirm(u32),
    Wait(u64),
}

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [7, 0, 251, 66];
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Inputs of a client, cut anywhere.
fn input() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![
        4 => ("[a-zž€]{0,30}", any::<bool>()).prop_map(|(text, fin)| {
            if fin {
                return client_frame(0x81, text.as_bytes());
            }
            let (head, tail) = text.as_bytes().split_at(text.len() / 2);
            [client_frame(0x01, head), client_frame(0x89, b"ping"), client_frame(0x80, tail)].concat()
        }),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| client_frame(0x82, &bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    (prop::collection::vec(part, 0..4), prop::collection::vec(any::<prop::sample::Index>(), 0..4)).prop_map(
        |(parts, cuts)| {
            let bytes = parts.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
        },
    )
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => input().prop_map(|all| all.into_iter().map(Act::Input).collect()),
        2 => Just(vec![Act::Speak]),
        4 => (1usize..90).prop_map(|len| vec![Act::Answer(len)]),
        4 => (0usize..4, any::<u8>()).prop_map(|(channel, n)| vec![Act::Publish(channel, n)]),
        3 => Just(vec![Act::Walk]),
        4 => (0usize..120).prop_map(|room| vec![Act::Room(room)]),
        1 => (0u32..9).prop_map(|number| vec![Act::Confirm(number)]),
        1 => (0u64..900).prop_map(|ms| vec![Act::Wait(ms)]),
    ];
    prop::collection::vec(act, 0..20).prop_map(|acts| acts.concat())
}

/// A session with a socket, and a worker's channels.
struct Rig {
    session: Session,
    channels: Channels,
    now: Mono,
    sent: u64,
    room: usize,
    out: Vec<u8>,
    heard: Vec<String>,
}

fn session() -> Session {
    let id = SessionId(0x0198_0000_0000_7000_8000_0000_0000_0001);
    let (user, address) = (UserId::new("alice").unwrap(), [192, 0, 2, 7].into());
    let mut identity = Identity::new(id, user, Endpoint::Ws, address, 1_796_000_000_000);
    identity.device = Some(Device::new("phone").unwrap());
    let mut session = Session::new(identity, Framing::Websocket, Some(Replay::new(0x1234)), Mono(1));
    session.origin = Some(Box::new(Origin { home: 2, lease: Lease { holder: 3, request: 7 } }));
    session
}

impl Rig {
    fn new(channels: &[&str]) -> Self {
        let kind = |name: &&str| match *name {
            "stats" => Kind::Stats,
            "presence" => Kind::Presence,
            _ => Kind::Messages { anyone: true },
        };
        let channels = Channels::new(channels.iter().map(|name| ((*name).to_owned(), kind(name))));
        let (out, heard) = (Vec::new(), Vec::new());
        Self { session: session(), channels, now: Mono(1), sent: 0, room: 0, out, heard }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.sent += bytes.len() as u64;
        self.room -= bytes.len();
    }

    fn write(&mut self, bytes: Bytes, label: Label) {
        if let Some(outbox) = &mut self.session.outbox {
            return outbox.push(bytes, label);
        }
        let n = self.room.min(bytes.len());
        self.put(&bytes[..n]);
        if n == bytes.len() {
            self.session.replay.iter_mut().for_each(|replay| replay.left(label.number, self.sent));
        } else {
            let mut outbox = Outbox::new(self.now);
            outbox.begin(bytes, n, label);
            self.session.outbox = Some(Box::new(outbox));
        }
    }

    fn numbered(&mut self, frames: &[Bytes], answer: Option<Answer>) {
        let mut number = 0;
        for frame in frames {
            let replay = self.session.replay.as_mut().unwrap();
            number = replay.push(frame.clone(), answer.clone().map(Box::new), self.now, BOUNDS);
        }
        self.write(Bytes::from(frames.concat()), Label { number, answer: answer.map(Box::new) });
    }

    fn state(&self, channel: u16) -> Bytes {
        Bytes::copy_from_slice(self.channels.get(channel).frames())
    }

    fn flush(&mut self) {
        loop {
            let Some(outbox) = &mut self.session.outbox else { return };
            for channel in outbox.take_states() {
                let frame = Bytes::copy_from_slice(self.channels.get(channel).frames());
                outbox.push(frame, Label::default());
            }
            if outbox.is_empty() {
                self.session.outbox = None;
                return;
            }
            let mut slices = [IoSlice::new(&[]); 3];
            let count = outbox.slices(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            let n = self.room.min(bytes.len());
            if n == 0 {
                return;
            }
            self.put(&bytes[..n]);
            let Session { outbox: Some(outbox), replay: Some(replay), .. } = &mut self.session else {
                panic!()
            };
            outbox.wrote(n, self.now, |label, behind| replay.left(label.number, self.sent - behind as u64));
        }
    }

    fn step(&mut self, channel: u16, step: &Step) {
        if self.channels.get(channel).kind.is_state() {
            return match &mut self.session.outbox {
                Some(outbox) => _ = outbox.push_state(channel),
                None => self.write(self.state(channel), Label::default()),
            };
        }
        let frames = self.channels.get_mut(channel).take();
        let each: Vec<_> = frames.messages(step).cloned().collect();
        self.channels.get_mut(channel).put_back(frames);
        self.numbered(&each, None);
    }

    fn walk(&mut self) {
        for name in NAMES {
            let Some(channel) = self.channels.find(name) else { continue };
            while let Some(step) = self.channels.get_mut(channel).step() {
                self.step(channel, &step);
            }
        }
    }

    /// In the order of the names, whatever their keys are.
    fn catch_up(&mut self) {
        for name in NAMES {
            let of = |sub: &&crate::session::Subscription| &*self.channels.get(sub.channel).name == name;
            let Some(sub) = self.session.subscriptions.iter().find(of).copied() else { continue };
            if !self.channels.get(sub.channel).kind.is_state()
                && let Some(step) = self.channels.get_mut(sub.channel).catch_up(sub)
            {
                self.step(sub.channel, &step);
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Input(bytes) => {
                let mut bytes = bytes.clone();
                let mut events = self.session.decoder.feed(&mut bytes, 100);
                while let Some(event) = events.next() {
                    self.heard.push(format!("{event:?}"));
                }
                self.session.last_in = self.now;
            }
            Act::Speak => {
                let rate = Rate { count: 2, per: Duration::from_secs(1) };
                let admitted = self.session.bucket.take(rate, 2, self.now);
                self.heard.push(format!("{admitted:?}"));
            }
            Act::Answer(len) => {
                let symbol = Symbol::new("BTC-USD").unwrap();
                let answer = Answer { ticket: 0, id: RequestId(*len as u128), symbol, made: self.now };
                self.numbered(&[frame::text("a".repeat(*len))], Some(answer));
            }
            Act::Publish(channel, n) => {
                let Some(key) = self.channels.find(NAMES[*channel]) else { return };
                let (text, now) = (frame::text(format!("{} {n}", NAMES[*channel])), self.now);
                let channel = self.channels.get_mut(key);
                if channel.kind.is_state() {
                    channel.set(&text, now, true);
                } else {
                    channel.publish(&text);
                }
            }
            Act::Walk => {
                self.catch_up();
                self.walk();
            }
            Act::Room(more) => {
                self.room += more;
                self.flush();
            }
            Act::Confirm(number) => self.session.replay.iter_mut().for_each(|replay| replay.confirm(*number)),
            Act::Wait(ms) => self.now = self.now.after(Duration::from_millis(*ms)),
        }
    }

    fn freeze(&self) -> Snapshot {
        let places = self.session.places(&self.channels, vec!["chat:x".into()]);
        self.session.clone().freeze(places, Connection::Wire { sent: self.sent })
    }

    /// The rig as it goes on in another process.
    fn elsewhere(&mut self, names: &[&str]) -> Self {
        self.catch_up();
        let snapshot = self.freeze();
        let read = Snapshot::decode(&snapshot.encode().unwrap()).unwrap();
        assert_eq!(read, snapshot);
        let (session, places, connection) = read.thaw();
        let Connection::Wire { sent } = connection else { panic!("{connection:?}") };
        let mut rig = Self { session, sent, room: self.room, now: self.now, ..Self::new(names) };
        for name in NAMES {
            let (Some(theirs), Some(own)) = (self.channels.find(name), rig.channels.find(name)) else {
                continue;
            };
            let theirs = self.channels.get(theirs);
            if theirs.kind.is_state() {
                let (frame, made) = (theirs.frames().to_vec(), theirs.made);
                rig.channels.get_mut(own).set(&frame, made, true);
            }
        }
        rig.settle_in(&places);
        (rig.out, rig.heard) = (self.out.clone(), self.heard.clone());
        rig
    }

    /// Makes the session a member of the channels that it was on, and notes the states that it was owed.
    fn settle_in(&mut self, places: &Places) {
        for name in &places.channels {
            let channel = self.channels.find(name).unwrap();
            self.session.subscriptions.push(self.channels.join(channel, 9));
        }
        for name in &places.owed {
            let channel = self.channels.find(name).unwrap();
            self.session.outbox.get_or_insert_with(|| Box::new(Outbox::new(self.now))).push_state(channel);
        }
    }

    /// Sends all that waits. What it sent of messages, and the last of each state.
    fn end(&mut self) -> (Vec<Vec<u8>>, Vec<Option<Vec<u8>>>) {
        self.act(&Act::Walk);
        self.act(&Act::Room(1 << 20));
        let frames: Vec<_> = frame::split(&self.out).map(|(_, payload)| payload.to_vec()).collect();
        assert_eq!(
            frames.iter().map(|payload| frame::text(payload_text(payload)).len()).sum::<usize>(),
            self.out.len()
        );
        let is_of = |name: &str, payload: &[u8]| payload.starts_with(name.as_bytes());
        let last = |name| frames.iter().rev().find(|payload| is_of(name, payload)).cloned();
        let states = NAMES[2..].iter().map(|name| last(*name)).collect();
        let is_state = |payload: &Vec<u8>| NAMES[2..].iter().any(|name| is_of(name, payload));
        (frames.iter().filter(|payload| !is_state(payload)).cloned().collect(), states)
    }
}

fn payload_text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).unwrap()
}

proptest! {
    #[test]
    fn a_thawed_session_does_what_the_frozen_one_would_have_done(
        states: bool, before in acts(), after in acts(),
    ) {
        let names = if states { &NAMES[..] } else { &NAMES[..2] };
        let mut rig = Rig::new(names);
        for name in names {
            let channel = rig.channels.find(name).unwrap();
            let own = rig.channels.join(channel, 5);
            rig.session.subscriptions.push(own);
        }
        before.iter().for_each(|act| rig.act(act));
        // The other process numbers the channels differently.
        let turned: Vec<_> = names.iter().rev().copied().collect();
        let mut other = rig.elsewhere(&turned);
        for act in &after {
            rig.act(act);
            other.act(act);
            prop_assert_eq!(&rig.heard, &other.heard);
            if !states {
                prop_assert_eq!((rig.sent, &rig.out), (other.sent, &other.out));
                let (mut one, mut two) = (rig.session.clone(), other.session.clone());
                (one.subscriptions, two.subscriptions) = (Vec::new(), Vec::new());
                prop_assert_eq!(one, two);
            }
        }
        prop_assert_eq!(rig.end(), other.end());
        let replay = |rig: &Rig| {
            let replay = rig.session.replay.as_ref().unwrap();
            (replay.last(), replay.confirmed(), replay.within(rig.sent))
        };
        prop_assert_eq!(replay(&rig), replay(&other));
    }

    #[test]
    fn what_comes_from_elsewhere_cannot_harm(
        before in acts(), at: prop::sample::Index, byte: u8, after in acts(),
    ) {
        let mut rig = Rig::new(&NAMES);
        before.iter().for_each(|act| rig.act(act));
        let mut bytes = rig.freeze().encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(snapshot) = Snapshot::decode(&bytes) {
            let (session, _, _) = snapshot.thaw();
            let mut rig = Rig { session, ..Rig::new(&NAMES) };
            after.iter().filter(|act| matches!(act, Act::Input(_) | Act::Room(_))).for_each(|act| rig.act(act));
        }
    }
}

/// The session of the recorded value: something of everything.
fn recorded() -> Snapshot {
    let mut rig = Rig::new(&NAMES);
    for name in ["news", "stats"] {
        let channel = rig.channels.find(name).unwrap();
        let own = rig.channels.join(channel, 5);
        rig.session.subscriptions.push(own);
    }
    rig.now = Mono(5_000_000_000);
    for act in [
        Act::Room(7),
        Act::Answer(3),
        Act::Publish(0, 1),
        Act::Walk,
        Act::Publish(2, 2),
        Act::Speak,
        Act::Input(client_frame(0x01, "ž".as_bytes().split_at(1).0)),
        Act::Input(client_frame(0x89, b"ping")[..8].to_vec()),
    ] {
        rig.act(&act);
    }
    rig.freeze()
}

/// Form 1 of [`recorded`], as the first program that had it wrote it.
const FORM_1: &str = include_str!("form-1.hex");

#[test]
fn form_1_is_still_read_and_written() {
    let digits: String = FORM_1.split_whitespace().collect();
    let again: String = recorded().encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(again, digits, "what form 1 can say is said in form 1");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    assert_eq!(Snapshot::decode(&bytes), Ok(recorded()));
}

/// The session of form 2: the same on a connection that has moved.
fn moved() -> Snapshot {
    let mut bytes = Gcra::default();
    let rate = Rate { count: 10, per: Duration::from_secs(1) };
    bytes.take_many(7, rate, 10, Mono(5_000_000_000)).unwrap();
    let (begun, pongs) = (Mono(4_000_000_000), vec![Mono(6_000_000_000)]);
    let (resumed, said_all, taken_up, pass) = (true, false, true, None);
    recorded().with(More { moves: 3, bytes, begun, resumed, said_all, taken_up, pongs, pass })
}

#[test]
fn form_3_has_a_pass_and_no_other_has() {
    for session in [recorded(), moved()] {
        let pass = Some(vec![1, 2, 3]);
        let session = session.clone().with(More { pass, ..session.more });
        let bytes = session.encode().unwrap();
        assert_eq!(bytes[0], 3);
        assert_eq!(Snapshot::decode(&bytes), Ok(session));
        assert!(Snapshot::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}

/// Form 2 of [`moved`], as the first program that had it wrote it.
const FORM_2: &str = include_str!("form-2.hex");

#[test]
fn form_2_is_still_read_and_written() {
    let digits: String = FORM_2.split_whitespace().collect();
    let again: String = moved().encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(again, digits);
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    assert_eq!(Snapshot::decode(&bytes), Ok(moved()));
    let (session, ..) = moved().thaw();
    assert_eq!((session.moves, session.bytes), (3, moved().more().bytes));
}

#[test]
fn another_programs_form_is_refused_by_its_number() {
    let mut bytes = recorded().encode().unwrap();
    assert_eq!(Snapshot::decode(&bytes[..bytes.len() - 1]), Err(SnapshotError::Malformed));
    bytes[0] = 7;
    let error = Snapshot::decode(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "a session of form 7: this program reads 1 to 3");
    bytes[0] = 0;
    assert_eq!(Snapshot::decode(&bytes), Err(SnapshotError::Version(0)));
    assert_eq!(Snapshot::decode(&[]), Err(SnapshotError::Malformed));
}

#[test]
fn an_idle_session_is_small() {
    let rig = Rig::new(&NAMES);
    assert!(rig.freeze().encode().unwrap().len() < 120);
}
