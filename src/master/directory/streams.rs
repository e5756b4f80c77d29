//! Streams of one user: the oldest ends for a newcomer that asks for its place.

use super::Directory;
use super::ceilings::Use;
use super::users::NONE;
use crate::config::LimitsSection;
use crate::model::{Device, Mono};
use crate::protocol::cluster::{Endpoint, Open, Verdict};

impl Directory {
    /// Ends the oldest stream of a user who has as many as there may be, if the new one then finds a place. Returns the
    /// devices that were connected, that of the oldest stream first. `None`: no stream has ended.
    pub fn take_over(
        &mut self,
        open: &Open<'_>,
        limits: &LimitsSection,
        now: Mono,
    ) -> Option<Vec<Option<Device>>> {
        let (who, wanted) = ((open.endpoint, open.user), Use::of(open));
        // A session that is registered has its place.
        let is_over =
            self.find(open.session).is_none() && self.count(who, wanted, limits) == Verdict::StreamLimit;
        if !is_over || self.rate(open.address, limits, now) != Verdict::Accepted {
            return None;
        }
        let mut streams = self.streams_of(open.user);
        streams.sort_unstable_by_key(|at| self.sessions[*at as usize].since);
        // After a reload there may be more than one too many.
        let ends = (streams.len() + 1).saturating_sub(limits.connections_per_user as usize);
        let ends: Vec<_> = streams.iter().take(ends).copied().collect();
        let same_address = |at: &u32| self.sessions[*at as usize].address == open.address;
        if self.has_share(wanted, limits) && !ends.iter().any(same_address) {
            return None;
        }
        let devices = streams.iter().map(|at| self.sessions[*at as usize].device.clone()).collect();
        ends.into_iter().for_each(|at| self.replace(at));
        Some(devices)
    }

    /// Places of a user's streams.
    fn streams_of(&self, user: &str) -> Vec<u32> {
        let found = self.users.find(self.users.hash(user), user);
        let mut next = found.map_or(NONE, |at| self.users.get(at).head);
        let mut streams = Vec::new();
        while let Some(entry) = self.sessions.get(next as usize) {
            if entry.endpoint == Endpoint::Stream {
                streams.push(next);
            }
            next = entry.older;
        }
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ceilings, limits};
    use super::*;
    use crate::master::directory::Relief;
    use crate::model::SessionId;
    use crate::protocol::cluster::Transport;
    use std::net::{IpAddr, Ipv4Addr};

    const NOW: Mono = Mono(1_000_000_000_000);

    fn stream(session: u128, device: Option<&'static str>) -> Open<'static> {
        Open {
            session: SessionId(session),
            user: "alice",
            device,
            endpoint: Endpoint::Stream,
            transport: Transport::Websocket,
            since: i64::try_from(session).unwrap(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tag: 0,
        }
    }

    fn scene() -> (Directory, LimitsSection) {
        let mut directory = Directory::new(ceilings(u32::MAX));
        let limits = LimitsSection { connections_per_user: 2, ..limits() };
        (1..=2).for_each(|worker| directory.worker_born(worker, 1));
        // The older one was moved: it is the newest in the list of the user's sessions.
        for (worker, open) in [(1, stream(1, Some("tv"))), (2, stream(2, None)), (2, stream(1, Some("tv")))] {
            assert_eq!(directory.open(worker, &open, &limits, NOW), Verdict::Accepted);
        }
        // Its first worker has let go of it.
        directory.closed(1, SessionId(1));
        assert_eq!(directory.take_relief(), []);
        (directory, limits)
    }

    fn name(devices: Option<Vec<Option<Device>>>) -> Option<Vec<Option<String>>> {
        Some(devices?.into_iter().map(|device| device.map(|device| device.as_str().to_owned())).collect())
    }

    #[test]
    fn the_oldest_ends_and_all_devices_are_told() {
        let (mut directory, limits) = scene();
        let new = stream(3, Some("phone"));
        assert_eq!(directory.open(1, &stream(9, None), &limits, NOW), Verdict::StreamLimit);
        let devices = directory.take_over(&new, &limits, NOW);
        assert_eq!(name(devices), Some(vec![Some("tv".into()), None]));
        assert_eq!(directory.take_relief(), [Relief::Replaced { worker: 2, session: SessionId(1) }]);
        assert_eq!(directory.open(1, &new, &limits, NOW), Verdict::Accepted);
        // A registered session is announced again by its worker.
        assert_eq!(directory.take_over(&new, &limits, NOW), None);
        assert_eq!(directory.totals().on(Endpoint::Stream), 2);
        // The worker of the one that has ended says so.
        assert!(!directory.closed(2, SessionId(1)));
        assert_eq!(directory.announced(2).map(|(sessions, _)| sessions), Some(1));
    }

    #[test]
    fn after_a_reload_as_many_end_as_are_too_many() {
        let (mut directory, limits) = scene();
        let limits = LimitsSection { connections_per_user: 1, ..limits };
        assert_eq!(directory.take_over(&stream(3, None), &limits, NOW).map(|all| all.len()), Some(2));
        assert_eq!(directory.take_relief().len(), 2);
        assert_eq!(directory.open(1, &stream(3, None), &limits, NOW), Verdict::Accepted);
    }

    #[test]
    fn nothing_ends_where_it_would_not_help() {
        let (mut directory, limits) = scene();
        let other = Open { user: "bob", ..stream(3, None) };
        let main = Open { endpoint: Endpoint::Ws, ..stream(3, None) };
        for open in [other, main] {
            assert_eq!(directory.take_over(&open, &limits, NOW), None);
        }
        let off = LimitsSection { connections_per_user: 0, ..limits.clone() };
        let full = LimitsSection { sessions: 2, ..limits.clone() };
        let user = LimitsSection { sessions_per_user: 2, ..limits };
        for limits in [off, full, user] {
            assert_eq!(directory.take_over(&stream(3, None), &limits, NOW), None);
        }
        assert_eq!(directory.take_relief(), []);
    }
}
