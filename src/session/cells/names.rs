//! Who sessions are, in their cells: for a master that takes the place of one that died with the worker.

use super::{CELL, Cells, Facts, NAMES, TOP};
use crate::model::SessionId;
use crate::protocol::cluster::{Endpoint, Open, TokenName};
use crate::session::{Framing, Key};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ADDRESS: usize = NAMES;
const SINCE_AND_SIZES: usize = NAMES + 1;
const TEXT: usize = NAMES + 2;
/// Bytes of names that fit into a cell; longer ones stand in the set of channels.
const SHORT: usize = (CELL - TEXT) * 8;

/// The channels of a session, and its stream, as they are written for the process after.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Set {
    pub channels: Vec<Box<str>>,
    pub stream: Option<Box<str>>,
    /// User and device, if they are too long for the cell.
    pub names: Option<(Box<str>, Option<Box<str>>)>,
    /// How it was admitted, as the worker encodes it, without what its token says of it alone.
    pub pass: Option<Vec<u8>>,
}

/// User and device of a session, if they are too long for its cell.
#[must_use]
pub fn long_names(user: &str, device: Option<&str>) -> Option<(Box<str>, Option<Box<str>>)> {
    let is_long = user.len() + device.map_or(0, str::len) > SHORT;
    is_long.then(|| (user.into(), device.map(Box::from)))
}

/// A session by its names, as its cell has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub key: Key,
    pub id: SessionId,
    user: Box<str>,
    device: Option<Box<str>>,
    endpoint: Endpoint,
    framing: Framing,
    address: IpAddr,
    since: i64,
    tag: u32,
}

impl Named {
    /// The announcement that the worker made.
    #[must_use]
    pub fn open(&self) -> Open<'_> {
        Open {
            session: self.id,
            user: &self.user,
            device: self.device.as_deref(),
            endpoint: self.endpoint,
            transport: self.framing.transport(),
            address: self.address,
            since: self.since,
            tag: self.tag,
        }
    }
}

impl Cells {
    /// Writes who a session is. Its word must say that something is under way. Long names stand in its set.
    pub fn set_names(&self, key: Key, open: &Open<'_>) {
        let (at, device) = (Self::cell(key), open.device.unwrap_or_default());
        let is_short = long_names(open.user, open.device).is_none();
        let (user, device) = if is_short { (open.user, device) } else { ("", "") };
        let (address, is_v6) = match open.address {
            IpAddr::V4(address) => (u64::from(address.to_bits()), 0),
            // It is cut to these bits.
            IpAddr::V6(address) => ((address.to_bits() >> 64) as u64, 1),
        };
        let sizes = (user.len() as u64) << 6 | device.len() as u64;
        let sizes = sizes << 4 | (open.endpoint as u64) << 1 | is_v6;
        self.store(at + ADDRESS, address);
        self.store(at + SINCE_AND_SIZES, (open.since as u64) << 16 | sizes);
        let mut text = [0; SHORT];
        text[..user.len()].copy_from_slice(user.as_bytes());
        text[user.len()..user.len() + device.len()].copy_from_slice(device.as_bytes());
        for (place, bytes) in text.as_chunks().0.iter().enumerate() {
            self.store(at + TEXT + place, u64::from_le_bytes(*bytes));
        }
        if self.load(TOP) <= u64::from(key) {
            self.store(TOP, u64::from(key) + 1);
        }
    }

    /// All sessions, whatever is under way with them.
    pub fn all(&self) -> impl Iterator<Item = Named> {
        let top = u32::try_from(self.load(TOP).min(self.places() as u64)).unwrap_or(0);
        (0..top).filter_map(|key| self.named(key))
    }

    fn named(&self, key: Key) -> Option<Named> {
        let Facts { id, replay, set, framing, .. } = self.read(key)?.facts;
        let at = Self::cell(key);
        let (address, both) = (self.load(at + ADDRESS), self.load(at + SINCE_AND_SIZES));
        let address = match both & 1 {
            0 => IpAddr::from(Ipv4Addr::from_bits(address as u32)),
            _ => IpAddr::from(Ipv6Addr::from_bits(u128::from(address) << 64)),
        };
        let endpoint = *Endpoint::ALL.get((both >> 1 & 7) as usize)?;
        let (long, short) = ((both >> 10 & 63) as usize, (both >> 4 & 63) as usize);
        let text: Vec<u8> =
            (0..CELL - TEXT).flat_map(|place| self.load(at + TEXT + place).to_le_bytes()).collect();
        let part =
            |from: usize, to: usize| text.get(from..to).and_then(|part| std::str::from_utf8(part).ok());
        let (user, device) = match long {
            0 => postcard::from_bytes::<Set>(&self.set(set)?).ok()?.names?,
            _ => (
                part(0, long)?.into(),
                part(long, long + short).filter(|text| !text.is_empty()).map(Box::from),
            ),
        };
        let tag = replay.map_or(0, |(secret, _)| TokenName::new(id, secret).tag);
        let since = both as i64 >> 16;
        Some(Named { key, id, user, device, endpoint, framing, address, since, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mono;
    use crate::session::Body;
    use crate::session::cells::{HELD, Sets};

    #[test]
    fn all_sessions_are_known_by_their_names_also_by_long_ones() {
        let (cells, mut sets) = (Cells::new(9, 3).unwrap(), Sets::default());
        let long = "u".repeat(128);
        let addresses: [IpAddr; 2] = ["203.0.113.7".parse().unwrap(), "2001:db8:1:2::".parse().unwrap()];
        let users = ["a", &long[..SHORT], &long[..SHORT + 1], &long, "b"];
        let mut opens = Vec::new();
        for (n, user) in users.into_iter().enumerate() {
            let device = [None, Some("d")][n % 2].filter(|_| user.len() != SHORT);
            let framing = [Framing::Websocket, Framing::Events(Body::Chunked)][n % 2];
            let (key, id, since) = (n as Key + 2, SessionId(n as u128), i64::try_from(n).unwrap() - 1);
            let secret = (5u128 << 100) | (0xffff_fff0 + n as u128);
            let names = long_names(user, device);
            let set = postcard::to_stdvec(&Set { names, ..Set::default() }).unwrap();
            let set = sets.intern(&cells, &set).unwrap();
            let replay = Some((secret, 1));
            cells.set_word(key, HELD | 1 << 48);
            cells.set_facts(key, &Facts { id, replay, set, spoke: 1, framing, moves: 0, adopted: Mono(0) });
            let (tag, transport, endpoint) =
                (TokenName::new(id, secret).tag, framing.transport(), Endpoint::ALL[n]);
            let address = addresses[n % 2];
            let open = Open { session: id, user, device, endpoint, transport, address, since, tag };
            cells.set_names(key, &open);
            opens.push(open);
        }
        let theirs = Cells::from_descriptor(cells.descriptor().try_clone_to_owned().unwrap()).unwrap();
        let all: Vec<_> = theirs.all().collect();
        assert_eq!(all.iter().map(Named::open).collect::<Vec<_>>(), opens);
        cells.set_word(3, 0);
        assert_eq!(theirs.all().map(|named| named.key).collect::<Vec<_>>(), [2, 4, 5, 6]);
        assert_eq!((theirs.slot(), theirs.renewed()), (3, Mono(0)));
        cells.set_renewed(Mono(9));
        assert_eq!(theirs.renewed(), Mono(9));
    }
}
