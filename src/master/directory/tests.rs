//! Tests of the directory: limits one by one, and random histories against a model that counts everything anew.

use super::*;
use crate::config::{ByteRate, Share};
use crate::model::Rate;
use crate::protocol::cluster::roster_pages;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) const NOW: Mono = Mono(1_000_000_000_000);

pub(in crate::master) fn limits() -> LimitsSection {
    LimitsSection {
        connections_per_user: 0,
        sessions: 0,
        sessions_per_user: 0,
        sessions_per_address: Share::Most(0),
        connections_per_address: Share::Auto,
        connects_per_address: Rate::OFF,
        channels_per_session: 0,
        messages_per_session: Rate::OFF,
        messages_burst: 0,
        bytes_per_session: ByteRate::Auto,
        bytes_burst: 0,
        quotes_per_user: Rate::OFF,
        quotes_per_poster: Rate::OFF,
    }
}

pub(in crate::master) fn ceilings(connected: u32) -> Ceilings {
    Ceilings { connected, polling: 1000 }
}

pub(super) fn open(session: u128, user: &str) -> Open<'_> {
    Open {
        session: SessionId(session),
        user,
        device: None,
        endpoint: Endpoint::Ws,
        transport: Transport::Websocket,
        address: IpAddr::from([10, 0, 0, 1]),
        since: 0,
        tag: 0,
    }
}

pub(super) fn directory(workers: u32) -> Directory {
    let mut directory = Directory::new(ceilings(u32::MAX));
    for generation in 1..=workers {
        directory.worker_born(generation, u16::try_from(generation).unwrap());
    }
    directory
}

#[test]
fn an_entry_is_as_small_as_promised() {
    assert_eq!(size_of::<Entry>(), 80);
}

#[test]
fn streams_of_one_user_are_limited_on_all_workers_together() {
    let mut directory = directory(2);
    let bounds = LimitsSection { connections_per_user: 2, ..limits() };
    let stream = |session, user| Open { endpoint: Endpoint::Stream, ..open(session, user) };
    let others = (10..20).map(|n| directory.open(1, &open(n, "a"), &bounds, NOW));
    assert!(others.collect::<Vec<_>>().iter().all(|verdict| *verdict == Verdict::Accepted));
    for (worker, session) in [(1, 1), (2, 2)] {
        assert_eq!(directory.open(worker, &stream(session, "a"), &bounds, NOW), Verdict::Accepted);
    }
    assert_eq!(directory.open(1, &stream(3, "a"), &bounds, NOW), Verdict::StreamLimit);
    let peek = |directory: &Directory, on| directory.admission((on, "a", open(1, "").address), &bounds, NOW);
    assert_eq!(peek(&directory, Endpoint::Stream), Verdict::StreamLimit);
    assert_eq!(peek(&directory, Endpoint::Ws), Verdict::Accepted);
    assert_eq!(directory.open(1, &stream(4, "b"), &bounds, NOW), Verdict::Accepted);
    directory.worker_gone(2);
    assert_eq!(directory.open(1, &stream(5, "a"), &bounds, NOW), Verdict::Accepted, "its places are free");
    assert_eq!(directory.open(1, &stream(6, "a"), &bounds, NOW), Verdict::StreamLimit);
    assert!(directory.closed(1, SessionId(1)));
    assert_eq!(directory.open(1, &stream(7, "a"), &bounds, NOW), Verdict::Accepted);
    let roster: Vec<_> = [5, 7].map(|session| stream(session, "a")).into();
    hear_roster(&mut directory, 1, &roster, 1);
    assert_eq!(directory.open(1, &stream(8, "a"), &bounds, NOW), Verdict::StreamLimit);
}

/// A roster in pages of so many sessions.
fn hear_roster(directory: &mut Directory, worker: Generation, roster: &[Open<'_>], most: usize) {
    for page in roster_pages(roster.iter().cloned(), std::iter::empty(), most) {
        directory.roster(worker, &page);
    }
}

/// The ids of all pages of so many places each.
fn listed(directory: &Directory, user: Option<&str>, places: u32) -> Vec<String> {
    let (mut ids, mut from) = (Vec::new(), Some(0));
    while let Some(begin) = from {
        let (text, next) = directory.page(user, begin, places);
        let page: Vec<serde_json::Value> = serde_json::from_str(&format!("[{text}]")).unwrap();
        assert!(page.len() <= places as usize && next.is_none_or(|next| next > begin));
        ids.extend(page.iter().map(|session| session["session_id"].as_str().unwrap().to_owned()));
        from = next;
    }
    ids
}

#[test]
fn lists_of_any_length_go_in_pages_that_fit_into_a_message() {
    const SESSIONS: u32 = 200_000;
    let mut directory = directory(1);
    let names: Vec<_> = (0..SESSIONS).map(|n| format!("{n:0>64}")).collect();
    let all: Vec<_> = (0..).zip(&names).map(|(n, name)| open(n, name)).collect();
    for page in roster_pages(all.iter().cloned(), std::iter::empty(), RosterPage::LENGTH) {
        assert!(postcard::to_allocvec(&page).unwrap().len() < 1 << 20);
        directory.roster(1, &page);
    }
    assert_eq!(directory.counts(1), (SESSIONS, SESSIONS));
    assert!(directory.page(None, 0, PAGE).0.len() < 1 << 20);
    let ids = listed(&directory, None, PAGE);
    assert_eq!(ids.len(), SESSIONS as usize);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), SESSIONS as usize);
}

#[test]
fn sessions_are_found_while_their_roster_is_coming() {
    let mut directory = directory(1);
    let all: Vec<_> = (0..9).map(|session| open(session, "a")).collect();
    hear_roster(&mut directory, 1, &all, 9);
    let mut pages = roster_pages(all[1..].iter().cloned(), std::iter::empty(), 2);
    directory.roster(1, &pages.next().unwrap());
    assert_eq!(directory.counts(1), (9, 1), "no session is gone before the last page");
    pages.for_each(|page| directory.roster(1, &page));
    assert_eq!(directory.counts(1), (8, 1));
}

#[test]
fn each_limit_has_its_verdict() {
    let mut directory = directory(1);
    directory.configure(false, ceilings(5));
    let mut bounds = LimitsSection { sessions_per_user: 2, sessions_per_address: Share::Most(4), ..limits() };
    let at =
        |last: u8, session, user| Open { address: IpAddr::from([10, 0, 0, last]), ..open(session, user) };
    assert_eq!(directory.open(1, &at(1, 1, "a"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &at(1, 2, "a"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &at(1, 3, "a"), &bounds, NOW), Verdict::UserLimit);
    assert_eq!(directory.open(1, &at(1, 4, "b"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &at(1, 5, "b"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &at(1, 6, "c"), &bounds, NOW), Verdict::AddressLimit);
    assert_eq!(directory.open(1, &at(2, 7, "c"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &at(2, 8, "c"), &bounds, NOW), Verdict::Full, "the ceiling");
    bounds.sessions = 6;
    assert_eq!(directory.open(1, &at(2, 9, "c"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &at(2, 10, "d"), &bounds, NOW), Verdict::Full, "the limit");
    assert!(directory.closed(1, SessionId(9)));
    assert_eq!(directory.open(1, &at(2, 11, "d"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(9, &at(2, 12, "d"), &bounds, NOW), Verdict::Full, "an unknown process");
}

#[test]
fn connects_of_an_address_have_a_rate_that_is_forgotten() {
    let mut directory = directory(1);
    let bounds = LimitsSection { connects_per_address: Rate::parse("2/s").unwrap(), ..limits() };
    assert_eq!(directory.open(1, &open(1, "a"), &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &open(2, "a"), &bounds, NOW), Verdict::Accepted);
    let Verdict::ConnectRate(wait) = directory.open(1, &open(3, "a"), &bounds, NOW) else { panic!() };
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
    let other = Open { address: IpAddr::from([10, 0, 0, 2]), ..open(4, "a") };
    assert_eq!(directory.open(1, &other, &bounds, NOW), Verdict::Accepted);
    assert_eq!(directory.open(1, &open(5, "a"), &bounds, NOW.after(wait)), Verdict::Accepted);
    assert_eq!(directory.connects.len(), 2);
    directory.tidy(NOW.after(Duration::from_secs(3)));
    assert!(directory.connects.len() == 0, "forgotten though the sessions are still there");
}

#[test]
fn a_refused_one_counts_for_its_worker_until_it_is_closed() {
    let mut directory = directory(2);
    let bounds = LimitsSection { sessions: 1, ..limits() };
    directory.open(1, &open(1, "a"), &bounds, NOW);
    assert_eq!(directory.open(2, &open(2, "a"), &bounds, NOW), Verdict::Full);
    let mut beat = Beat { sessions: 1, digest: digest(SessionId(2)), ..Beat::default() };
    assert!(directory.agrees(2, &beat) && !directory.agrees(1, &beat) && !directory.agrees(3, &beat));
    assert_eq!(directory.totals().sessions, 1);
    assert!(!directory.closed(2, SessionId(2)), "was never in the directory");
    beat = Beat::default();
    assert!(directory.agrees(2, &beat));
}

#[test]
fn a_late_leave_of_the_old_place_does_not_touch_the_new_one() {
    let mut directory = directory(2);
    directory.open(1, &open(1, "a"), &limits(), NOW);
    let bounds = LimitsSection { sessions: 1, sessions_per_user: 1, ..limits() };
    assert_eq!(directory.open(2, &open(1, "a"), &bounds, NOW), Verdict::Accepted, "moved, not measured");
    assert_eq!(directory.announced(1), Some((1, digest(SessionId(1)))));
    hear_roster(&mut directory, 1, &[open(1, "a")], 9);
    assert!(!directory.closed(1, SessionId(1)));
    assert_eq!(directory.announced(1), Some((0, 0)));
    assert_eq!(directory.session(SessionId(1)).unwrap().generation, 2);
    assert_eq!(directory.worker_gone(1), 0);
    assert_eq!(directory.worker_gone(2), 1);
    assert_eq!(directory.open(2, &open(1, "a"), &limits(), NOW), Verdict::Full, "the dead say nothing");
}

#[test]
fn a_session_without_a_name_is_nobodys() {
    let mut directory = directory(1);
    directory.open(1, &Open { endpoint: Endpoint::Echo, ..open(1, "") }, &limits(), NOW);
    let totals = directory.totals();
    assert_eq!((totals.sessions, totals.users), (1, 0));
    assert_eq!(totals.by_endpoint, Endpoint::ALL.map(|endpoint| u32::from(endpoint == Endpoint::Echo)));
    let json = serde_json::to_string(&directory.session(SessionId(1)).unwrap()).unwrap();
    let expected = r#"{"session_id":"00000000-0000-0000-0000-000000000001","endpoint":"echo","#;
    assert!(json.starts_with(expected), "{json}");
    assert!(json.ends_with(r#""since":"1970-01-01T00:00:00.000Z","worker":1}"#), "{json}");
    assert!(directory.closed(1, SessionId(1)));
}

/// Events; numbers pick among the few workers, sessions, users.
#[derive(Clone, Debug)]
enum Event {
    Born,
    Dies(u32),
    Opens(u32, u8, u8, bool),
    Closed(u32, u8),
    Switch(u8, u32, u32),
    Roster(u32, Vec<(u8, u8)>),
    Configured(bool, u32),
}

fn event() -> impl Strategy<Value = Event> {
    let worker = 1..6u32;
    prop_oneof![
        2 => Just(Event::Born),
        1 => worker.clone().prop_map(Event::Dies),
        20 => (worker.clone(), 0..40u8, 0..8u8, any::<bool>()).prop_map(|(w, s, u, e)| Event::Opens(w, s, u, e)),
        10 => (worker.clone(), 0..40u8).prop_map(|(w, s)| Event::Closed(w, s)),
        6 => (0..40u8, worker.clone(), worker.clone()).prop_map(|(s, from, to)| Event::Switch(s, from, to)),
        1 => (worker, proptest::collection::vec((0..40u8, 0..8u8), 0..10)).prop_map(|(w, r)| Event::Roster(w, r)),
        1 => (any::<bool>(), 6..2 * CEILING).prop_map(|(ranked, ceiling)| Event::Configured(ranked, ceiling)),
    ]
}

/// The same, naively.
#[derive(Default)]
struct Model {
    ceiling: u32,
    born: u32,
    alive: BTreeSet<Generation>,
    sessions: BTreeMap<u8, (Generation, String, Endpoint)>,
    /// With what was announced of those that have moved.
    tombstones: BTreeMap<(Generation, u8), Option<(String, Endpoint)>>,
    ranked: bool,
}

const CEILING: u32 = 12;

/// User 0 has no name.
fn name(user: u8) -> String {
    if user == 0 { String::new() } else { format!("user-{user}") }
}

fn endpoint(echo: bool) -> Endpoint {
    if echo { Endpoint::Echo } else { Endpoint::Ws }
}

impl Model {
    fn opens(&mut self, worker: Generation, session: u8, user: u8, echo: bool) -> Verdict {
        if !self.alive.contains(&worker) {
            return Verdict::Full;
        }
        self.tombstones.remove(&(worker, session));
        let known = self.sessions.get(&session).map(|(owner, ..)| *owner);
        if known.is_some_and(|owner| owner != worker) {
            let (owner, user, endpoint) = self.sessions[&session].clone();
            self.tombstones.insert((owner, session), Some((user, endpoint)));
        }
        let of_user = |(_, name, _): &&(Generation, String, Endpoint)| *name == self::name(user);
        if known.is_none() && self.sessions.len() >= self.ceiling as usize {
            self.tombstones.insert((worker, session), None);
            return Verdict::Full;
        }
        if known.is_none() && user > 0 && self.sessions.values().filter(of_user).count() >= 4 {
            self.tombstones.insert((worker, session), None);
            return Verdict::UserLimit;
        }
        self.sessions.insert(session, (worker, name(user), endpoint(echo)));
        Verdict::Accepted
    }

    fn roster(&mut self, worker: Generation, roster: &[(u8, u8)]) {
        if !self.alive.contains(&worker) {
            return;
        }
        let mut before: BTreeSet<_> = self.sessions.keys().copied().collect();
        self.forget(worker);
        before.retain(|session| !self.sessions.contains_key(session));
        for (session, user) in roster {
            match self.sessions.get(session) {
                None => drop(self.sessions.insert(*session, (worker, name(*user), Endpoint::Ws))),
                Some((owner, ..)) if *owner == worker => {}
                Some(_) => {
                    let announced = Some((name(*user), Endpoint::Ws));
                    self.tombstones.insert((worker, *session), announced);
                }
            }
        }
        before.into_iter().for_each(|session| self.revive(session));
    }

    /// A session has ended: one that had moved away from another worker may still be there.
    fn revive(&mut self, session: u8) {
        let is_it = |(of, moved): &(&(Generation, u8), &Option<_>)| of.1 == session && moved.is_some();
        let other = self.tombstones.iter().rev().find(is_it).map(|(of, _)| *of);
        if let (Some(of), false) = (other, self.sessions.contains_key(&session)) {
            let (user, endpoint) = self.tombstones.remove(&of).flatten().unwrap();
            self.sessions.insert(session, (of.0, user, endpoint));
        }
    }

    fn forget(&mut self, worker: Generation) {
        self.sessions.retain(|_, (owner, ..)| *owner != worker);
        self.tombstones.retain(|(owner, _), _| *owner != worker);
    }

    fn apply(&mut self, event: &Event, directory: &mut Directory) {
        let bounds = LimitsSection { sessions_per_user: 4, ..limits() };
        match event {
            Event::Born => {
                self.born += 1;
                self.alive.insert(self.born);
                // Two generations in one slot, as in a rolling replacement.
                directory.worker_born(self.born, u16::try_from(self.born / 2).unwrap());
            }
            Event::Dies(worker) => {
                let mut gone = std::mem::take(&mut self.sessions);
                self.sessions = gone.extract_if(.., |_, (owner, ..)| owner != worker).collect();
                self.forget(*worker);
                gone.into_keys().for_each(|session| self.revive(session));
                self.alive.remove(worker);
                directory.worker_gone(*worker);
            }
            Event::Opens(worker, session, user, echo) => {
                let name = name(*user);
                let open = Open { endpoint: endpoint(*echo), ..open(u128::from(*session), &name) };
                let expected = self.opens(*worker, *session, *user, *echo);
                assert_eq!(directory.open(*worker, &open, &bounds, NOW), expected);
            }
            Event::Closed(worker, session) => {
                let there = self.sessions.get(session).is_some_and(|(owner, ..)| owner == worker);
                let tombstone = self.tombstones.remove(&(*worker, *session)).is_some();
                assert!(!(there && tombstone));
                if there {
                    self.sessions.remove(session);
                    self.revive(*session);
                }
                assert_eq!(directory.closed(*worker, SessionId(u128::from(*session))), there);
            }
            Event::Switch(session, from, to) => {
                let there = self.sessions.get_mut(session).filter(|(owner, ..)| owner == from);
                let there = there.filter(|_| self.alive.contains(to) && from != to);
                let switched = there.is_some();
                there.into_iter().for_each(|own| own.0 = *to);
                if switched {
                    self.tombstones.remove(&(*to, *session));
                }
                let id = SessionId(u128::from(*session));
                assert_eq!(directory.switch(id, *from, *to), switched);
                let announced = directory.announcement(id).map(|open| open.user.to_owned());
                assert_eq!(announced, self.sessions.get(session).map(|(_, user, _)| user.clone()));
            }
            Event::Roster(worker, roster) => {
                self.roster(*worker, roster);
                let names: Vec<_> = roster.iter().map(|(session, user)| (*session, name(*user))).collect();
                let opens: Vec<_> =
                    names.iter().map(|(session, name)| open(u128::from(*session), name)).collect();
                hear_roster(directory, *worker, &opens, 1 + opens.len() % 3);
            }
            Event::Configured(ranked, ceiling) => {
                (self.ranked, self.ceiling) = (*ranked, *ceiling);
                directory.configure(*ranked, ceilings(*ceiling));
            }
        }
    }

    fn check(&self, directory: &Directory) {
        let users: BTreeSet<_> = self
            .sessions
            .values()
            .map(|(_, user, _)| user.as_str())
            .filter(|user| !user.is_empty())
            .collect();
        let totals = directory.totals();
        assert_eq!((totals.sessions, totals.users), (self.sessions.len(), users.len()));
        let on = |wanted| self.sessions.values().filter(|(.., endpoint)| *endpoint == wanted).count();
        assert_eq!(totals.by_endpoint.map(|n| n as usize), Endpoint::ALL.map(on));
        assert_eq!(totals.by_transport.map(|n| n as usize), [self.sessions.len(), 0, 0]);
        let addresses: usize = directory.addresses.values().map(|held| held.all() as usize).sum();
        assert_eq!(addresses, self.sessions.len());
        for worker in 0..8 {
            self.check_worker(worker, directory);
        }
        let mut order: Vec<_> = users.iter().map(|user| self.check_user(user, directory)).collect();
        order.sort();
        let first: Vec<_> =
            directory.first_users(5).map(|p| (p.sessions, p.user.to_string(), p.workers)).collect();
        let expected: Vec<_> = order.into_iter().map(|(n, user, slots)| (n.0, user, slots)).take(5).collect();
        assert_eq!(first, if self.ranked { expected } else { vec![] });
        assert_eq!(listed(directory, None, 3).len(), self.sessions.len());
    }

    fn check_worker(&self, worker: Generation, directory: &Directory) {
        let there: Vec<_> = self.sessions.iter().filter(|(_, (owner, ..))| *owner == worker).collect();
        let tombstones =
            self.tombstones.keys().filter(|(owner, _)| *owner == worker).map(|(_, session)| session);
        let announced: Vec<_> = there.iter().map(|(session, _)| *session).chain(tombstones).collect();
        let sum = announced.iter().fold(0, |sum, session| sum ^ digest(SessionId(u128::from(**session))));
        let expected = (u32::try_from(announced.len()).unwrap(), sum);
        assert_eq!(directory.announced(worker), self.alive.contains(&worker).then_some(expected));
        let users: BTreeSet<_> =
            there.iter().map(|(_, (_, user, _))| user).filter(|u| !u.is_empty()).collect();
        let counts = directory.counts(worker);
        assert_eq!((counts.0 as usize, counts.1 as usize), (there.len(), users.len()));
    }

    /// The user's line in the statistics, in an order that sorts like them.
    fn check_user(&self, user: &str, directory: &Directory) -> (std::cmp::Reverse<u32>, String, Vec<Slot>) {
        let mut places: BTreeMap<Generation, (u32, u32)> = BTreeMap::new();
        for (owner, _, endpoint) in self.sessions.values().filter(|(_, name, _)| name == user) {
            let place = places.entry(*owner).or_default();
            place.0 += 1;
            place.1 += u32::from(*endpoint == Endpoint::Ws);
        }
        let found: BTreeMap<_, _> = directory
            .places(directory.user_key(user), user)
            .iter()
            .map(|place| (place.worker, (place.sessions, place.reached)))
            .collect();
        assert_eq!(found, places);
        let sessions: u32 = places.values().map(|(sessions, _)| sessions).sum();
        let paged: BTreeSet<_> = listed(directory, Some(user), 2).into_iter().collect();
        let listed: BTreeSet<_> = directory.sessions_of(user).map(|listed| listed.session_id).collect();
        assert_eq!(paged, listed.iter().map(ToString::to_string).collect());
        assert_eq!(listed.len(), sessions as usize);
        assert!(directory.sessions_of(user).all(|listed| listed.user_id == Some(user)));
        let slots: BTreeSet<_> = places.keys().map(|worker| u16::try_from(worker / 2).unwrap()).collect();
        (std::cmp::Reverse(sessions), user.to_owned(), slots.into_iter().collect())
    }
}

proptest! {
    #[test]
    fn counts_and_digests_always_equal_a_naive_model(events in proptest::collection::vec(event(), 1..150)) {
        let (mut model, mut directory) = (Model { ceiling: CEILING, ..Model::default() }, Directory::new(ceilings(CEILING)));
        for event in [Event::Born, Event::Born, Event::Born].iter().chain(&events) {
            model.apply(event, &mut directory);
            model.check(&directory);
        }
        for worker in 0..=model.born {
            model.apply(&Event::Dies(worker), &mut directory);
        }
        directory.tidy(NOW);
        model.check(&directory);
        prop_assert!(directory.sessions.is_empty() && directory.index.is_empty() && directory.addresses.is_empty());
        prop_assert!(directory.workers.is_empty() && directory.users.len() == 0 && directory.totals().sessions == 0);
    }
}
