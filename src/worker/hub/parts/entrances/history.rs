//! Random histories of entrances against a master that answers late, and a model that only knows which groups were
//! granted and what was renounced since.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

const ROOMS: [&str; 3] = ["chat:a", "chat:b", "chat:c"];
const SESSIONS: usize = 2;

/// What may happen; numbers pick among the few sessions, rooms and channels.
#[derive(Clone, Debug)]
enum Event {
    Subscribe(usize, Vec<usize>, Vec<ChannelKey>),
    LeaveRoom(usize, usize),
    LeaveChannel(usize, ChannelKey),
    /// The session ends or is suspended; the next wish of its id comes from another one.
    Gone(usize),
    /// The master hears the next step, and lets a session in or not.
    Master(bool),
    /// The worker hears the next answer; a room that it lets a session into may have no number.
    Answer(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..SESSIONS;
    prop_oneof![
        6 => (who.clone(), vec(0..3usize, 0..3), vec(0..3u16, 0..3)).prop_map(|(s, r, o)| Event::Subscribe(s, r, o)),
        4 => (who.clone(), 0..3usize).prop_map(|(s, r)| Event::LeaveRoom(s, r)),
        2 => (who.clone(), 0..3u16).prop_map(|(s, c)| Event::LeaveChannel(s, c)),
        1 => who.prop_map(Event::Gone),
        5 => prop::bool::weighted(0.7).prop_map(Event::Master),
        5 => prop::bool::weighted(0.9).prop_map(Event::Answer),
    ]
}

/// A group that has no answer yet, as the model knows it.
#[derive(Debug)]
struct Pending {
    number: usize,
    session: usize,
    rooms: BTreeSet<usize>,
    others: BTreeSet<ChannelKey>,
}

type Membership = BTreeSet<(usize, usize)>;

#[derive(Debug, Default)]
struct World {
    entrances: Entrances,
    turns: u32,
    numbers: usize,
    now: [u32; SESSIONS],
    /// Of the worker, of the master, and what the granted groups make it be.
    members: Membership,
    known: Membership,
    sure: Membership,
    channels: BTreeSet<(usize, ChannelKey)>,
    sure_channels: BTreeSet<(usize, ChannelKey)>,
    pending: Vec<Pending>,
    /// Steps to the master: a question, or a leave.
    steps: VecDeque<(usize, usize, bool)>,
    answers: VecDeque<(usize, usize, bool)>,
}

fn id(session: usize) -> SessionId {
    SessionId(session as u128)
}

fn room(name: &str) -> usize {
    ROOMS.iter().position(|other| *other == name).unwrap()
}

impl World {
    fn at(&self, session: usize) -> SessionRef {
        SessionRef::invented(session as u32, self.now[session])
    }

    fn carry_out(&mut self, session: usize, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Ask(name) => {
                    let on_its_way = |(s, r, ..): &&(usize, usize, bool)| (*s, *r) == (session, room(&name));
                    let asked = self.steps.iter().filter(on_its_way).filter(|(.., asks)| *asks).count();
                    assert_eq!(asked + self.answers.iter().filter(on_its_way).count(), 0, "asked once");
                    self.steps.push_back((session, room(&name), true));
                }
                Deed::Decline(name) => self.steps.push_back((session, room(&name), false)),
                Deed::Leave(name) => self.leave(session, room(&name)),
                Deed::Grant(group) => {
                    let own = self.answered(session, &group);
                    assert!(own.rooms.iter().all(|r| self.members.contains(&(session, *r))), "{own:?}");
                    assert_eq!(own.others, group.others.iter().copied().collect());
                    self.sure.extend(own.rooms.iter().map(|room| (session, *room)));
                    self.sure_channels.extend(own.others.iter().map(|other| (session, *other)));
                    self.channels.extend(group.others.iter().map(|other| (session, *other)));
                }
                Deed::Refuse(group) => _ = self.answered(session, &group),
            }
        }
    }

    /// Each group is answered once.
    fn answered(&mut self, session: usize, group: &Group) -> Pending {
        let number: usize = group.id.as_ref().unwrap().parse().unwrap();
        let at = self.pending.iter().position(|own| own.number == number).expect("it waits");
        let own = self.pending.remove(at);
        assert_eq!(own.session, session);
        own
    }

    /// A member leaves its room, and the master is told.
    fn leave(&mut self, session: usize, room: usize) {
        if self.members.remove(&(session, room)) {
            self.steps.push_back((session, room, false));
        }
    }

    fn subscribe(&mut self, session: usize, rooms: &[usize], others: &[ChannelKey]) {
        self.numbers += 1;
        let number = self.numbers;
        let (r, o) = (rooms.iter().copied().collect(), others.iter().copied().collect());
        self.pending.push(Pending { number, session, rooms: r, others: o });
        let names = rooms.iter().map(|room| ROOMS[*room].into());
        let group = Group::new(names, others.to_vec(), Some(number.to_string().into()));
        let members = self.members.clone();
        let is_in = |name: &str| members.contains(&(session, room(name)));
        let deeds = self.entrances.want((id(session), self.at(session)), group, is_in);
        self.carry_out(session, deeds);
    }

    fn answer(&mut self, has_number: bool) {
        let Some((session, room, let_in)) = self.answers.pop_front() else { return };
        let (own, name) = (id(session), ROOMS[room]);
        let wants = self.entrances.wants(own, name);
        assert!(!wants || self.entrances.session(own) == Some(self.at(session)), "the one that is here now");
        let joined = let_in && has_number && wants;
        if joined {
            self.members.insert((session, room));
        }
        let deeds = self.entrances.answered((own, name), let_in, joined);
        self.carry_out(session, deeds);
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Subscribe(session, rooms, others) => self.subscribe(*session, rooms, others),
            Event::LeaveRoom(session, room) => {
                let (session, room) = (*session, *room);
                let own = self.pending.iter_mut().filter(|own| own.session == session);
                own.for_each(|own| _ = own.rooms.remove(&room));
                self.sure.remove(&(session, room));
                let deeds = self.entrances.renounce_room(id(session), ROOMS[room]);
                self.leave(session, room);
                self.carry_out(session, deeds);
            }
            Event::LeaveChannel(session, channel) => {
                let own = self.pending.iter_mut().filter(|own| own.session == *session);
                own.for_each(|own| _ = own.others.remove(channel));
                self.sure_channels.remove(&(*session, *channel));
                self.entrances.renounce(id(*session), *channel);
                self.channels.remove(&(*session, *channel));
            }
            Event::Gone(session) => {
                let session = *session;
                self.pending.retain(|own| own.session != session);
                self.entrances.gone(id(session), self.at(session));
                (0..ROOMS.len()).for_each(|room| self.leave(session, room));
                self.sure.retain(|own| own.0 != session);
                self.channels.retain(|own| own.0 != session);
                self.sure_channels.retain(|own| own.0 != session);
                self.turns += 1;
                self.now[session] = self.turns;
            }
            Event::Master(let_in) => {
                let Some((session, room, asks)) = self.steps.pop_front() else { return };
                if asks {
                    self.answers.push_back((session, room, *let_in));
                }
                if asks && *let_in {
                    self.known.insert((session, room));
                } else if !asks {
                    self.known.remove(&(session, room));
                }
            }
            Event::Answer(has_number) => self.answer(*has_number),
        }
        // What waits is what the pending groups want and the session is not subscribed to.
        for session in 0..SESSIONS {
            let own = || self.pending.iter().filter(|own| own.session == session);
            let rooms: BTreeSet<_> = own().flat_map(|own| own.rooms.iter().copied()).collect();
            let asked = rooms.into_iter().filter(|room| !self.members.contains(&(session, *room)));
            assert!(asked.eq(self.entrances.rooms(id(session)).map(room).collect::<BTreeSet<_>>()));
            let others: BTreeSet<_> = own().flat_map(|own| own.others.iter().copied()).collect();
            assert_eq!(others, self.entrances.others(id(session)).collect());
        }
    }

    /// Everything that is on its way arrives.
    fn come_to_rest(&mut self) {
        while !self.steps.is_empty() || !self.answers.is_empty() {
            self.step(&Event::Master(true));
            self.step(&Event::Answer(true));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn worker_and_master_agree_in_the_end_and_every_group_has_one_answer(events in vec(event(), 1..80)) {
        let mut world = World::default();
        for event in &events {
            world.step(event);
        }
        world.come_to_rest();
        prop_assert!(world.pending.is_empty(), "{:?}", world.pending);
        prop_assert_eq!(&world.members, &world.known, "the master knows who is where");
        prop_assert_eq!(&world.members, &world.sure, "the last wish of each session has won");
        prop_assert_eq!(&world.channels, &world.sure_channels);
        prop_assert!(world.entrances.waiting.is_empty(), "nothing is left over");
    }
}

/// The history of fault B2, spelt out.
#[test]
fn subscribe_unsubscribe_subscribe_asks_once_and_nobody_leaves() {
    let mut world = World::default();
    for event in
        [Event::Subscribe(0, vec![0], vec![]), Event::LeaveRoom(0, 0), Event::Subscribe(0, vec![0], vec![])]
    {
        world.step(&event);
    }
    assert_eq!(world.steps, [(0, 0, true)]);
    world.come_to_rest();
    assert_eq!((world.members, world.known), ([(0, 0)].into(), [(0, 0)].into()));
}
