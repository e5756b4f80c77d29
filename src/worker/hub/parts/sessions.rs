//! The table of this worker's sessions. A session is *present* from its announcement until it ends; a suspended one is
//! *away*. All indices are kept here, so they cannot disagree with the table.

use super::session::{Away, Link, Session};
use crate::model::{SessionId, give_back, is_roomy};
use crate::protocol::cluster;
use crate::session::{Key, Origin, Users};
use foldhash::quality::RandomState;
use hashbrown::{HashMap, HashTable};
use slab::Slab;

/// Names one session between its opening, suspension and end. Places are used again, turns are not: the reference to a
/// session that has ended, or was suspended since, finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    key: Key,
    turn: u32,
}

impl SessionRef {
    #[cfg(test)]
    pub fn invented(key: Key, turn: u32) -> Self {
        Self { key, turn }
    }

    /// The place in the table, for lists that lose the session before it leaves its place.
    pub fn key(self) -> Key {
        self.key
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Boxed: a place costs little after its session has gone.
    slab: Slab<Box<Session>>,
    /// Sessions and suspensions so far, from which turns are made.
    turns: u32,
    /// Present sessions by user: orders to deliver name a user.
    users: Users,
    /// All sessions by id: the master names sessions so. Only places: the ids are in the sessions. A copy has the id of
    /// its original, which may be here, too.
    ids: HashTable<Key>,
    /// Copies whose clients are not known to have heard of them, by the numbers of the questions that they answer.
    copies: HashMap<u64, SessionRef, RandomState>,
    /// How many are suspended.
    away: usize,
    /// How many of the present ones are set aside.
    aside: usize,
    /// Of the present sessions, as the master computes it too.
    digest: u64,
}

impl Sessions {
    /// Adds a session.
    pub fn insert(&mut self, mut session: Session) -> SessionRef {
        debug_assert!(!session.is_away() && session.origin.is_none(), "a session begins present");
        self.turns = self.turns.wrapping_add(1);
        let key = Key::try_from(self.slab.vacant_key()).unwrap_or(Key::MAX);
        session.turn = self.turns;
        let (id, at) = (session.id(), SessionRef { key, turn: self.turns });
        let user = self.users.insert(session.user(), key);
        session.identity.intern(user);
        self.slab.insert(Box::new(session));
        self.digest ^= cluster::digest(id);
        let Self { ids, slab, .. } = self;
        ids.insert_unique(cluster::digest(id), key, |key| cluster::digest(slab[*key as usize].id()));
        at
    }

    /// The session, unless it has ended or was suspended since.
    pub fn get(&self, at: SessionRef) -> Option<&Session> {
        self.slab.get(at.key as usize).map(|session| &**session).filter(|session| session.turn == at.turn)
    }

    /// The session, unless it has ended or was suspended since.
    pub fn get_mut(&mut self, at: SessionRef) -> Option<&mut Session> {
        self.slab
            .get_mut(at.key as usize)
            .map(|session| &mut **session)
            .filter(|session| session.turn == at.turn)
    }

    pub fn contains(&self, at: SessionRef) -> bool {
        self.get(at).is_some()
    }

    /// The session that has a place now.
    pub fn at(&self, key: Key) -> Option<SessionRef> {
        self.slab.get(key as usize).map(|session| SessionRef { key, turn: session.turn })
    }

    /// The session at a place, if it still has that id. Unlike a reference, this outlives a suspension.
    pub fn known(&self, key: Key, id: SessionId) -> Option<SessionRef> {
        let session = self.slab.get(key as usize).filter(|session| session.id() == id)?;
        Some(SessionRef { key, turn: session.turn })
    }

    /// The present session of that id.
    pub fn find(&self, id: SessionId) -> Option<SessionRef> {
        self.all_of(id).find(|(_, session)| !session.is_away()).map(|(at, _)| at)
    }

    /// The sessions of that id: a copy, and what it is a copy of.
    pub fn all_of(&self, id: SessionId) -> impl Iterator<Item = (SessionRef, &Session)> {
        let places = self.ids.iter_hash(cluster::digest(id)).filter_map(|key| self.at(*key));
        let all = places.filter_map(|at| Some((at, self.get(at)?)));
        all.filter(move |(_, session)| session.id() == id)
    }

    /// The present sessions of a user.
    pub fn of(&self, user: &str) -> impl Iterator<Item = SessionRef> {
        self.users.of(user).iter().filter_map(|key| self.at(*key))
    }

    /// All sessions, those that are away among them.
    pub fn iter(&self) -> impl Iterator<Item = (SessionRef, &Session)> {
        self.slab.iter().filter_map(|(key, session)| {
            Some((SessionRef { key: Key::try_from(key).ok()?, turn: session.turn }, &**session))
        })
    }

    /// All sessions, those that are away among them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slab.iter_mut().map(|(_, session)| &mut **session)
    }

    /// The present sessions that this worker announces.
    pub fn own(&self) -> impl Iterator<Item = (SessionRef, &Session)> {
        self.present().filter(|(_, session)| !session.aside)
    }

    /// The present sessions.
    pub fn present(&self) -> impl Iterator<Item = (SessionRef, &Session)> {
        self.iter().filter(|(_, session)| !session.is_away())
    }

    /// A present session loses its connection and gets a new reference. `None`: it is gone, or away already.
    pub fn suspend(&mut self, at: SessionRef, away: Box<Away>) -> Option<SessionRef> {
        let turn = self.turns.wrapping_add(1);
        let session = self.get_mut(at).filter(|session| !session.is_away())?;
        session.turn = turn;
        session.link = Link::Away(away);
        self.turns = turn;
        self.away += 1;
        let renamed = SessionRef { key: at.key, turn };
        self.withdraw(renamed);
        let origin = self.slab.get(at.key as usize).and_then(|session| session.origin.as_ref());
        let copy = origin.and_then(|origin| self.copies.get_mut(&origin.lease.request));
        if let Some(copy) = copy.filter(|copy| **copy == at) {
            *copy = renamed;
        }
        Some(renamed)
    }

    /// Takes a session out of the table.
    pub fn remove(&mut self, at: SessionRef) -> Option<Session> {
        if self.get(at)?.is_away() {
            self.away -= 1;
        } else {
            self.withdraw(at);
        }
        self.take_origin(at);
        let session = self.slab.try_remove(at.key as usize)?;
        if let Ok(entry) = self.ids.find_entry(cluster::digest(session.id()), |key| *key == at.key) {
            entry.remove();
        }
        Some(*session)
    }

    /// Gives memory back after many sessions have gone.
    pub fn tidy(&mut self) {
        let Self { slab, users, ids, copies, .. } = self;
        users.tidy();
        give_back(copies);
        if is_roomy(ids.capacity(), slab.len()) {
            ids.shrink_to(slab.len() * 2, |key| cluster::digest(slab[*key as usize].id()));
            slab.shrink_to_fit();
        }
    }

    /// A session is present no more: what counts the present ones forgets it.
    fn withdraw(&mut self, at: SessionRef) {
        let Some(session) = self.slab.get_mut(at.key as usize) else { return };
        self.users.remove(session.user(), at.key);
        if std::mem::take(&mut session.aside) {
            self.aside -= 1;
        } else {
            self.digest ^= cluster::digest(session.id());
        }
    }

    /// Sets a session aside: it is to belong to another worker, and this one does not announce it any more. False: it
    /// is aside already.
    pub fn set_aside(&mut self, at: SessionRef) -> bool {
        let Some(session) = self.get_mut(at).filter(|session| !session.aside) else { return false };
        session.aside = true;
        let (id, away) = (session.id(), session.is_away());
        if !away {
            self.aside += 1;
            self.digest ^= cluster::digest(id);
        }
        true
    }

    /// A session that was set aside stays. False: it was not.
    pub fn put_back(&mut self, at: SessionRef) -> bool {
        let Some(session) = self.get_mut(at).filter(|session| session.aside) else { return false };
        session.aside = false;
        let (id, away) = (session.id(), session.is_away());
        if !away {
            self.aside -= 1;
            self.digest ^= cluster::digest(id);
        }
        true
    }

    /// How many are present and announced.
    pub fn announced(&self) -> usize {
        self.population() - self.aside
    }

    /// A session is a copy of another one, of which its client may not have heard.
    pub fn set_origin(&mut self, at: SessionRef, origin: Origin) {
        self.take_origin(at);
        if let Some(session) = self.get_mut(at) {
            session.origin = Some(Box::new(origin));
            self.copies.insert(origin.lease.request, at);
        }
    }

    /// A session is nobody's copy any more; returns what it was a copy of.
    pub fn take_origin(&mut self, at: SessionRef) -> Option<Origin> {
        let origin = *self.get_mut(at)?.origin.take()?;
        if self.copies.get(&origin.lease.request) == Some(&at) {
            self.copies.remove(&origin.lease.request);
        }
        Some(origin)
    }

    /// The copy that answered that question.
    pub fn copy_of(&self, request: u64) -> Option<SessionRef> {
        self.copies.get(&request).copied()
    }

    /// How many are present.
    pub fn population(&self) -> usize {
        self.slab.len() - self.away
    }

    /// How many users have a present session.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The digest of the present sessions' ids.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Request;
    use super::*;
    use crate::model::{Mono, UserId};
    use crate::protocol::cluster::Endpoint;
    use crate::protocol::peer::Lease;
    use crate::session::Framing;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn session(user: u8, before: Option<&crate::session::Session>) -> Session {
        let user = UserId::new(&format!("u{user}")).unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (device, endpoint, stream) = (None, Endpoint::Ws, None);
        let (framing, permit) = (Framing::Websocket, None);
        let takes_over = false;
        let request =
            Request { user, device, endpoint, stream, address, framing, permit, takes_over, pass: None };
        Session::new(request, before, None, Mono(0))
    }

    /// What may happen; the numbers pick users, sessions and questions.
    #[derive(Clone, Debug)]
    enum Event {
        Insert(u8),
        /// A copy with the id of another session.
        Twin(usize),
        Suspend(usize),
        Remove(usize),
        Copy(usize, u64),
        Settle(usize),
        Aside(usize),
        Back(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0..3u8).prop_map(Event::Insert),
            2 => any::<usize>().prop_map(Event::Twin),
            2 => any::<usize>().prop_map(Event::Suspend),
            2 => any::<usize>().prop_map(Event::Remove),
            2 => (any::<usize>(), 0..3u64).prop_map(|(at, request)| Event::Copy(at, request)),
            1 => any::<usize>().prop_map(Event::Settle),
            1 => any::<usize>().prop_map(Event::Aside),
            1 => any::<usize>().prop_map(Event::Back),
        ]
    }

    /// A session as the model knows it.
    #[derive(Clone, Copy, Debug)]
    struct Known {
        at: SessionRef,
        id: SessionId,
        user: u8,
        away: bool,
        aside: bool,
        /// The question, and whether no other copy answered it since.
        origin: Option<(u64, bool)>,
    }

    fn origin(request: u64) -> Origin {
        Origin { home: 1, lease: Lease { holder: 2, request } }
    }

    fn step(table: &mut Sessions, known: &mut Vec<Known>, old: &mut Vec<SessionRef>, event: &Event) {
        let pick = |n: usize, known: &[Known]| n.checked_rem(known.len());
        match *event {
            Event::Insert(user) => {
                let session = session(user, None);
                let id = session.id();
                known.push(Known {
                    at: table.insert(session),
                    id,
                    user,
                    away: false,
                    aside: false,
                    origin: None,
                });
            }
            Event::Twin(n) => {
                let Some(own) = pick(n, known).map(|n| known[n]) else { return };
                let before = crate::session::Session::clone(table.get(own.at).unwrap());
                let at = table.insert(session(own.user, Some(&before)));
                known.push(Known { at, away: false, aside: false, origin: None, ..own });
            }
            Event::Suspend(n) => {
                let Some(own) = pick(n, known).map(|n| &mut known[n]) else { return };
                let renamed = table.suspend(own.at, Box::default());
                assert_eq!(renamed.is_none(), own.away, "once is enough");
                if let Some(renamed) = renamed {
                    old.push(std::mem::replace(&mut own.at, renamed));
                    (own.away, own.aside) = (true, false);
                }
            }
            Event::Remove(n) => {
                let Some(own) = pick(n, known).map(|n| known.swap_remove(n)) else { return };
                assert_eq!(table.remove(own.at).map(|session| session.id()), Some(own.id));
                old.push(own.at);
            }
            Event::Copy(n, request) => {
                let Some(n) = pick(n, known) else { return };
                let before = known.iter_mut().filter_map(|own| own.origin.as_mut());
                before.filter(|origin| origin.0 == request).for_each(|origin| origin.1 = false);
                table.set_origin(known[n].at, origin(request));
                known[n].origin = Some((request, true));
            }
            Event::Aside(n) => {
                let Some(own) = pick(n, known).map(|n| &mut known[n]) else { return };
                assert_eq!(table.set_aside(own.at), !std::mem::replace(&mut own.aside, true));
            }
            Event::Back(n) => {
                let Some(own) = pick(n, known).map(|n| &mut known[n]) else { return };
                assert_eq!(table.put_back(own.at), std::mem::take(&mut own.aside));
            }
            Event::Settle(n) => {
                let Some(own) = pick(n, known).map(|n| &mut known[n]) else { return };
                assert_eq!(table.take_origin(own.at), own.origin.take().map(|(request, _)| origin(request)));
            }
        }
    }

    fn check(table: &Sessions, known: &[Known], old: &[SessionRef]) {
        let present: Vec<_> = known.iter().filter(|own| !own.away).collect();
        assert_eq!((table.population(), table.away), (present.len(), known.len() - present.len()));
        let announced = || present.iter().filter(|own| !own.aside);
        assert_eq!(table.digest(), announced().fold(0, |all, own| all ^ cluster::digest(own.id)));
        assert_eq!((table.announced(), table.own().count()), (announced().count(), announced().count()));
        assert_eq!((table.iter().count(), table.present().count()), (known.len(), present.len()));
        for own in known {
            assert_eq!(table.get(own.at).map(Session::id), Some(own.id));
            assert_eq!((table.at(own.at.key), table.known(own.at.key, own.id)), (Some(own.at), Some(own.at)));
            let twins = || known.iter().filter(|other| other.id == own.id);
            assert_eq!(table.all_of(own.id).count(), twins().count());
            assert!(table.all_of(own.id).all(|(at, _)| twins().any(|other| other.at == at)));
            let found = table.find(own.id);
            assert_eq!(found.is_some(), twins().any(|other| !other.away));
            assert!(found.is_none_or(|at| twins().any(|other| other.at == at && !other.away)));
        }
        for at in old {
            assert!(!table.contains(*at), "a reference outlives nothing");
        }
        for user in 0..3 {
            let mut own: Vec<_> = table.of(&format!("u{user}")).collect();
            own.sort_by_key(|at| at.turn);
            let mut theirs: Vec<_> = present.iter().filter(|it| it.user == user).map(|it| it.at).collect();
            theirs.sort_by_key(|at| at.turn);
            assert_eq!(own, theirs);
        }
        for request in 0..3 {
            let newest = known.iter().find(|own| own.origin == Some((request, true)));
            assert_eq!(table.copy_of(request), newest.map(|own| own.at));
        }
    }

    proptest! {
        #[test]
        fn the_indices_agree_with_the_table(events in proptest::collection::vec(event(), 1..60)) {
            let (mut table, mut known, mut old) = (Sessions::default(), vec![], vec![]);
            for event in &events {
                step(&mut table, &mut known, &mut old, event);
                check(&table, &known, &old);
            }
        }
    }
}
