//! Random histories of the rooms against a model that looks at everything each time.

use super::tests::{LIMITS, NOW, user};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Events; numbers pick among the few rooms, workers, sessions.
#[derive(Clone, Debug)]
enum Event {
    Enter(usize, Generation, u8),
    Away(usize, Generation, u8),
    Leave(usize, Generation, u8),
    Switch(usize, (u8, bool), Generation, Generation),
    Gone(Generation),
    Publish(usize, usize),
    Limits(usize, usize, usize),
    /// Milliseconds pass, and what is due is told.
    Time(u64),
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn event() -> impl Strategy<Value = Event> {
    let who = || (0..NAMES.len(), 1..4u32, 0..6u8);
    prop_oneof![
        10 => who().prop_map(|(r, w, s)| Event::Enter(r, w, s)),
        4 => who().prop_map(|(r, w, s)| Event::Away(r, w, s)),
        8 => who().prop_map(|(r, w, s)| Event::Leave(r, w, s)),
        4 => (who(), any::<bool>(), 1..4u32)
            .prop_map(|((r, from, s), away, to)| Event::Switch(r, (s, away), from, to)),
        2 => (1..4u32).prop_map(Event::Gone),
        10 => (0..NAMES.len(), 0..9usize).prop_map(|(r, bytes)| Event::Publish(r, bytes)),
        1 => (0..5usize, 1..6usize, 0..40usize).prop_map(|(h, r, b)| Event::Limits(h, r, b)),
        6 => (0..700u64).prop_map(Event::Time),
    ]
}

/// Two sessions are of one user.
fn owner(session: u8) -> UserId {
    user(&format!("u{}", session / 2))
}

/// Two sessions of two users are of one address; 0 is nobody's.
fn address(session: u8) -> u8 {
    session % 3 + 1
}

fn ip(address: u8) -> IpAddr {
    if address == 0 { NOBODY } else { [192, 0, 2, address].into() }
}

/// A room, naively.
#[derive(Clone, Debug)]
struct Naive {
    name: &'static str,
    /// The address that made it, and the session.
    owner: u8,
    maker: u8,
    /// Session, worker, whether it is present.
    members: Vec<(u8, Generation, bool)>,
    history: Vec<(u64, Vec<u8>)>,
    used: u64,
    told: Option<Mono>,
    /// Since when there is something to tell.
    changed: Option<Mono>,
}

impl Naive {
    fn present(&self) -> Vec<(u8, Generation)> {
        self.members.iter().filter(|it| it.2).map(|it| (it.0, it.1)).collect()
    }

    fn workers(&self, present: bool) -> Vec<Generation> {
        let there: BTreeSet<_> = self.members.iter().filter(|it| it.2 || !present).map(|it| it.1).collect();
        there.into_iter().collect()
    }

    fn due(&self) -> Option<Mono> {
        Some(self.changed?.max(self.told.map_or(Mono(0), |told| told.after(PAUSE))))
    }

    fn presence(&self) -> Presence {
        let mut first = BTreeMap::<UserId, u32>::new();
        self.present().iter().for_each(|(session, _)| *first.entry(owner(*session)).or_default() += 1);
        Presence {
            room: self.name.into(),
            users: first.len(),
            sessions: self.present().len(),
            first: first.into_iter().collect(),
            workers: self.workers(true),
        }
    }
}

#[derive(Debug)]
struct Model {
    limits: Limits,
    rooms: Vec<Naive>,
    clock: u64,
    now: Mono,
}

impl Model {
    fn get(&mut self, name: &str) -> Option<&mut Naive> {
        self.rooms.iter_mut().find(|room| room.name == name)
    }

    fn of(&self, owner: u8) -> impl Iterator<Item = &Naive> {
        self.rooms.iter().filter(move |room| room.owner == owner)
    }

    /// The room of an owner that gives way: an idle one before others, the one used longest ago.
    fn first_of(&self, owner: u8) -> Option<(bool, u64)> {
        self.of(owner).map(|room| (!room.present().is_empty(), room.used)).min()
    }

    fn remove(&mut self, used: u64) {
        self.rooms.retain(|room| room.used != used);
    }

    /// A room gives way to one that this owner makes.
    fn evict_for(&mut self, (maker, session): (u8, u8)) -> bool {
        let own = self.of(maker).count();
        let most = (0..4).map(|owner| self.of(owner).count()).max().unwrap_or(0);
        let has_most = own >= most;
        let tops =
            (0..4).filter(|owner| if has_most { *owner == maker } else { self.of(*owner).count() == most });
        let all = tops.filter_map(|owner| self.first_of(owner).map(|(busy, used)| (busy, used, owner)));
        let top = all.min();
        let idle = top.filter(|(busy, ..)| !busy).map(|(_, used, _)| used);
        let absent = |owner: &u8| self.of(*owner).all(|room| room.present().is_empty());
        let half = (own + 1) * 2 <= self.limits.rooms;
        let absent = self.first_idle(absent).filter(|_| half);
        let least = if has_most { self.made(maker, session).count() + 1 } else { 0 };
        let busy = top.filter(|_| maker != 0).and_then(|(.., owner)| self.busiest(owner, least));
        let Some(used) = idle.or(absent).or(busy) else { return false };
        let lost = self.rooms.iter().find(|room| room.used == used).map(|room| room.owner).unwrap();
        let fair = lost == maker || self.of(lost).count() > own;
        assert!(fair || (half && absent == Some(used)), "nobody who is there loses to one that has more");
        self.remove(used);
        true
    }

    /// Last uses of the rooms of an owner that a session made and somebody is in.
    fn made(&self, owner: u8, session: u8) -> impl Iterator<Item = u64> {
        let busy = self.of(owner).filter(move |room| room.maker == session && !room.present().is_empty());
        busy.map(|room| room.used)
    }

    /// The busy room, used longest ago, of the session that made most of an owner's, more than so many.
    fn busiest(&self, owner: u8, least: usize) -> Option<u64> {
        let makers = (0..6).filter_map(|session| {
            Some((self.made(owner, session).count(), self.made(owner, session).min()?))
        });
        let most = makers.max_by_key(|(count, used)| (*count, std::cmp::Reverse(*used)));
        most.filter(|(count, _)| *count > least).map(|(_, used)| used)
    }

    /// The idle room of the owner of such that has most, the one used longest ago.
    fn first_idle(&self, is_such: impl Fn(&u8) -> bool) -> Option<u64> {
        let idle = (0..4).filter(is_such).filter_map(|owner| match self.first_of(owner)? {
            (true, _) => None,
            (false, used) => Some((std::cmp::Reverse(self.of(owner).count()), used)),
        });
        idle.min().map(|(_, used)| used)
    }

    /// A room gives way because there may be fewer: nobody is present in it.
    fn evict(&mut self) -> bool {
        let idle = self.first_idle(|_| true);
        idle.into_iter().for_each(|used| self.remove(used));
        idle.is_some()
    }

    /// The room of most bytes of the owner of most.
    fn heaviest(&self) -> &'static str {
        let bytes = |room: &Naive| room.history.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let all = (0..4).map(|owner| (self.of(owner).map(bytes).sum::<usize>(), owner));
        let most = all.filter(|(_, owner)| self.of(*owner).next().is_some()).max();
        let (_, owner) = most.unwrap();
        self.of(owner).map(|room| (bytes(room), room.name)).max().unwrap().1
    }

    fn provide(&mut self, name: &'static str, (owner, maker): (u8, u8)) -> bool {
        if self.get(name).is_some() {
            return true;
        }
        let (rooms, most) = (self.rooms.len(), self.limits.rooms);
        if rooms > most || (rooms == most && !self.evict_for((owner, maker))) {
            return false;
        }
        let (members, history) = (vec![], vec![]);
        self.rooms.push(Naive { name, owner, maker, members, history, used: 0, told: None, changed: None });
        true
    }

    /// Changes the members of a room, if that is a change.
    fn members(&mut self, name: &str, used: bool, change: impl FnOnce(&mut Vec<(u8, Generation, bool)>)) {
        self.clock += 1;
        let (clock, now) = (self.clock, self.now);
        let Some(room) = self.get(name) else { return };
        let sorted =
            |room: &Naive| (BTreeSet::from_iter(room.members.clone()), BTreeSet::from_iter(room.present()));
        let before = sorted(room);
        change(&mut room.members);
        let after = sorted(room);
        if before.0 != after.0 && used {
            room.used = clock;
        }
        if before.1 != after.1 {
            room.changed = room.changed.or(Some(now));
        }
        if after.1.is_empty() {
            room.changed = None;
        }
    }

    /// Applies each limit.
    fn fit(&mut self) {
        let Limits { history, bytes, .. } = self.limits;
        for room in &mut self.rooms {
            room.history.drain(..room.history.len().saturating_sub(history));
        }
        self.rooms.retain(|room| !room.members.is_empty() || !room.history.is_empty());
        while self.rooms.len() > self.limits.rooms && self.evict() {}
        while self.counts().bytes > bytes {
            let heaviest = self.heaviest();
            self.get(heaviest).unwrap().history.remove(0);
            self.rooms.retain(|room| !room.members.is_empty() || !room.history.is_empty());
        }
        self.rooms.retain(|room| !room.members.is_empty() || !room.history.is_empty());
    }

    fn publish(&mut self, name: &'static str, message: &[u8]) -> Entry {
        let keep = self.limits.history > 0 && message.len() <= self.limits.bytes;
        if keep && !self.provide(name, (0, 0)) {
            return Entry::Full;
        }
        self.clock += 1;
        let clock = self.clock;
        if let Some(room) = self.get(name) {
            room.used = clock;
            room.history.extend(keep.then(|| (clock, message.to_vec())));
        }
        Entry::Accepted
    }

    fn due(&mut self) -> Vec<Presence> {
        let now = self.now;
        let due = self.rooms.iter_mut().filter(|room| room.due().is_some_and(|at| at <= now));
        let mut told: Vec<_> = due
            .map(|room| {
                let at = room.due();
                room.changed = None;
                room.told = Some(now);
                (at, room.presence())
            })
            .collect();
        told.sort_by(|(a, x), (b, y)| (a, &x.room).cmp(&(b, &y.room)));
        told.into_iter().map(|(_, presence)| presence).collect()
    }

    fn counts(&self) -> Counts {
        let sizes = || self.rooms.iter().flat_map(|room| room.history.iter().map(|(_, bytes)| bytes.len()));
        Counts { rooms: self.rooms.len(), messages: sizes().count(), bytes: sizes().sum() }
    }
}

/// Lets it happen in both.
fn step(rooms: &mut Rooms, model: &mut Model, event: &Event) -> Result<(), TestCaseError> {
    let now = model.now;
    match *event {
        Event::Enter(room, worker, session) => {
            let name = NAMES[room];
            let (user, of) = (owner(session), address(session));
            let who = Visitor { session: SessionId(session.into()), user: &user, address: ip(of) };
            let entry = rooms.enter(name, worker, who, now);
            prop_assert_eq!(entry == Entry::Accepted, model.provide(name, (of, session)));
            model.members(name, true, |members| {
                members.retain(|it| it.0 != session);
                members.push((session, worker, true));
            });
        }
        Event::Away(room, worker, session) => {
            rooms.away(NAMES[room], worker, SessionId(session.into()), now);
            model.members(NAMES[room], true, |members| {
                members.iter_mut().filter(|it| (it.0, it.1) == (session, worker)).for_each(|it| it.2 = false);
            });
        }
        Event::Leave(room, worker, session) => {
            rooms.leave(NAMES[room], worker, SessionId(session.into()), now);
            model.members(NAMES[room], true, |members| {
                members.retain(|it| (it.0, it.1) != (session, worker));
            });
        }
        Event::Switch(room, (session, away), from, to) => {
            rooms.switch(NAMES[room], (SessionId(session.into()), away), from, to);
            let members = model.get(NAMES[room]).into_iter().flat_map(|room| &mut room.members);
            members.filter(|it| (it.0, it.1) == (session, from) && !(away && it.2)).for_each(|it| it.1 = to);
        }
        Event::Gone(worker) => {
            rooms.worker_gone(worker, now);
            for name in NAMES {
                model.members(name, false, |members| members.retain(|it| it.1 != worker));
            }
        }
        Event::Publish(room, size) => {
            let message = vec![u8::try_from(model.clock % 251).unwrap(); size];
            prop_assert_eq!(rooms.publish(NAMES[room], &message), model.publish(NAMES[room], &message));
        }
        Event::Limits(history, most, bytes) => {
            model.limits = Limits { history, rooms: most, bytes };
            rooms.configure(model.limits);
        }
        Event::Time(ms) => {
            model.now = now.after(Duration::from_millis(ms));
            let told: Vec<_> = rooms.due(model.now).collect();
            prop_assert_eq!(told, model.due());
        }
    }
    model.fit();
    Ok(())
}

/// All that can be seen is the same, and nothing is kept beside it.
fn same(rooms: &Rooms, model: &mut Model) -> Result<(), TestCaseError> {
    let counts = rooms.counts();
    prop_assert_eq!(counts, model.counts());
    prop_assert!(counts.bytes <= model.limits.bytes);
    prop_assert!(counts.messages <= model.limits.history * counts.rooms);
    let crowded = model.rooms.iter().filter(|room| !room.present().is_empty()).count();
    prop_assert!(counts.rooms <= model.limits.rooms.max(crowded));
    for name in NAMES {
        let history: Vec<_> = rooms.history(name).map(<[u8]>::to_vec).collect();
        let workers: Vec<_> = rooms.rooms.get(name).into_iter().flat_map(Room::workers).collect();
        let room = model.get(name);
        let said = room.iter().flat_map(|room| room.history.iter().map(|(_, bytes)| bytes.clone()));
        prop_assert_eq!(history, said.collect::<Vec<_>>());
        prop_assert_eq!(workers, room.map_or(vec![], |room| room.workers(false)));
    }
    prop_assert_eq!(rooms.next(), model.rooms.iter().filter_map(Naive::due).min());
    let count = |holds: fn(&Naive) -> bool| model.rooms.iter().filter(|room| holds(room)).count();
    prop_assert_eq!(rooms.owners.counts(), (count(|room| room.present().is_empty()), counts.rooms));
    prop_assert_eq!(rooms.owed.len(), count(|room| room.changed.is_some()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn rooms_are_what_a_model_says(events in proptest::collection::vec(event(), 1..120)) {
        let limits = Limits { rooms: 3, bytes: 30, ..LIMITS };
        let mut rooms = Rooms::new(limits);
        let mut model = Model { limits, rooms: vec![], clock: 0, now: NOW };
        for event in events {
            step(&mut rooms, &mut model, &event)?;
            same(&rooms, &mut model)?;
        }
        // Changes are told within a second.
        step(&mut rooms, &mut model, &Event::Time(1000))?;
        prop_assert_eq!(rooms.next(), None);
        // All leave, and nothing is kept: nothing is left.
        (1..4).for_each(|worker| rooms.worker_gone(worker, model.now));
        rooms.configure(Limits { history: 0, ..limits });
        prop_assert_eq!(rooms.counts(), Counts::default());
        prop_assert!(rooms.owners.counts() == (0, 0) && rooms.owed.is_empty());
    }
}
