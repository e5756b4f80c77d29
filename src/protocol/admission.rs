//! Sessions, as a worker announces them to the master, and what the master decides.

use super::endpoint::{Endpoint, Transport};
use super::relay::TokenName;
use crate::model::SessionId;
use serde::{Deserialize, Serialize};
use std::iter::Peekable;
use std::net::IpAddr;
use std::time::Duration;

/// The announcement of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open<'a> {
    /// The session's id, made by the worker.
    pub session: SessionId,
    pub user: &'a str,
    /// The client's name of its device.
    pub device: Option<&'a str>,
    pub endpoint: Endpoint,
    pub transport: Transport,
    /// The client's address, IPv6 cut to its /64.
    pub address: IpAddr,
    /// Begin of the session, in milliseconds since 1970.
    pub since: i64,
    /// The tag of its [`TokenName`]; 0 if it has no token.
    pub tag: u32,
}

/// The master's answer to an [`Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The session is in the directory.
    Accepted,
    /// `limits.sessions`: the cluster is full.
    Full,
    /// `limits.sessions_per_user`.
    UserLimit,
    /// `limits.sessions_per_address`.
    AddressLimit,
    /// `limits.connects_per_address`; the client may try again after this time.
    ConnectRate(Duration),
    /// `limits.connections_per_user`: streams.
    StreamLimit,
}

/// A page of what a worker holds: a list of all would not fit into a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPage<'a> {
    /// Whether the list begins here.
    pub first: bool,
    /// Whether the list ends here.
    pub last: bool,
    /// The sessions of this page.
    #[serde(borrow)]
    pub sessions: Vec<Open<'a>>,
    /// Tokens of suspended and of ended sessions that the worker remembers.
    pub away: Vec<TokenName>,
}

impl RosterPage<'_> {
    /// Sessions and tokens of one page: some 300 KiB if all names are of the greatest length.
    pub const LENGTH: usize = 1024;
}

/// The pages of a roster, each of at most `most` sessions and tokens. An empty roster has one page.
pub fn roster_pages<'a>(
    sessions: impl Iterator<Item = Open<'a>>,
    away: impl Iterator<Item = TokenName>,
    most: usize,
) -> impl Iterator<Item = RosterPage<'a>> {
    Pages { sessions: sessions.peekable(), away: away.peekable(), most: most.max(1), begun: false }
}

struct Pages<I: Iterator, A: Iterator> {
    sessions: Peekable<I>,
    away: Peekable<A>,
    most: usize,
    begun: bool,
}

impl<'a, I: Iterator<Item = Open<'a>>, A: Iterator<Item = TokenName>> Pages<I, A> {
    fn is_over(&mut self) -> bool {
        self.sessions.peek().is_none() && self.away.peek().is_none()
    }
}

impl<'a, I: Iterator<Item = Open<'a>>, A: Iterator<Item = TokenName>> Iterator for Pages<I, A> {
    type Item = RosterPage<'a>;

    fn next(&mut self) -> Option<RosterPage<'a>> {
        if self.begun && self.is_over() {
            return None;
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let sessions: Vec<_> = self.sessions.by_ref().take(self.most).collect();
        let away = self.away.by_ref().take(self.most - sessions.len()).collect();
        Some(RosterPage { first, last: self.is_over(), sessions, away })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(session: u128) -> Open<'static> {
        Open {
            session: SessionId(session),
            user: "a",
            device: None,
            endpoint: Endpoint::Ws,
            transport: Transport::Websocket,
            address: [127, 0, 0, 1].into(),
            since: 0,
            tag: 0,
        }
    }

    proptest! {
        #[test]
        fn pages_are_the_list_and_say_where_it_begins_and_ends(
            count in 0u128..50, away in 0u128..50, most in 0usize..9,
        ) {
            let all: Vec<_> = (0..count).map(open).collect();
            let away: Vec<_> = (0..away).map(|n| TokenName { session: SessionId(n), tag: 7 }).collect();
            let pages: Vec<_> = roster_pages(all.iter().cloned(), away.iter().copied(), most).collect();
            prop_assert!(pages.iter().all(|page| page.sessions.len() + page.away.len() <= most.max(1)));
            prop_assert_eq!(pages.iter().flat_map(|page| page.sessions.clone()).collect::<Vec<_>>(), all);
            prop_assert_eq!(pages.iter().flat_map(|page| page.away.clone()).collect::<Vec<_>>(), away);
            let (end, last) = (pages.len() - 1, pages.iter().position(|page| page.last));
            prop_assert_eq!((pages.iter().rposition(|page| page.first), last), (Some(0), Some(end)));
        }
    }
}
