//! A session on its way to another process, or to its own future: everything that makes it, and no socket.
//!
//! Encoded it begins with the number of its form. A program reads all forms from [`OLDEST`] to [`NEWEST`] and refuses
//! any other; it writes the oldest one that can say what is to be said, so that the program before it can read that.
//! Moments are those of the machine's own clocks: a session does not leave its machine this way.

use super::{Framing, Identity, Origin, Outbox, Places, Replay, Session};
use crate::model::{Gcra, Mono};
use crate::ws::Decoder;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The oldest form that is read.
const OLDEST: u32 = 1;
/// The newest form that is read. A new one gets a recorded value in the tests, and code that makes it of the one
/// before.
const NEWEST: u32 = 3;
/// The newest form of a session without a pass.
const WITHOUT_PASS: u32 = 2;

/// All of a session. What is in it in the order of its fields is form 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    identity: Identity,
    framing: Framing,
    decoder: Decoder,
    last_in: Mono,
    bucket: Gcra,
    outbox: Option<Box<Outbox>>,
    replay: Option<Replay>,
    origin: Option<Box<Origin>>,
    places: Places,
    connection: Connection,
    /// Form 2 has this behind the others.
    #[serde(skip)]
    more: More,
}

/// What form 2 can say beside form 1: what goes with a connection that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// How often the session's process has changed.
    pub moves: u32,
    /// The rate of the client's bytes.
    pub bytes: Gcra,
    /// When it was greeted on its connection.
    pub begun: Mono,
    /// Its client has come back to it before.
    pub resumed: bool,
    /// The client has shut down its side of the connection.
    pub said_all: bool,
    /// A client that polls has come back with a cursor.
    pub taken_up: bool,
    /// When answers are due that were put off.
    pub pongs: Vec<Mono>,
    /// The pass of the session's token, as its worker encodes it. Form 3 has it behind the others.
    #[serde(skip)]
    pub pass: Option<Vec<u8>>,
}

/// Progress of a session's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// A connection of its own, over which so many bytes have gone.
    Wire {
        /// As [`Replay::left`] counts.
        sent: u64,
    },
    Poll {
        /// Frames that are not numbered and wait for the next poll.
        notices: Vec<Notice>,
    },
    /// No connection.
    Away {
        /// The last numbered message that the client is known to have; `None`: it missed messages that are no longer
        /// kept.
        has: Option<u32>,
        /// When it was suspended.
        since: Mono,
    },
}

/// A frame that is not numbered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice(#[serde(with = "super::octets")] pub Bytes);

/// An encoded session that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// Another program has written it.
    Version(u32),
    /// The bytes make no session.
    Malformed,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => {
                write!(f, "a session of form {found}: this program reads {OLDEST} to {NEWEST}")
            }
            Self::Malformed => f.write_str("an encoded session that makes no sense"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl Session {
    /// The session as a value. What its outbox notes of states is in `places` ([`Session::places`]).
    #[must_use]
    pub fn freeze(self, places: Places, connection: Connection) -> Snapshot {
        let Self {
            identity,
            framing,
            decoder,
            last_in,
            bucket,
            // A session that is elsewhere begins with its burst, like a new one.
            bytes: _,
            mut outbox,
            replay,
            origin,
            subscriptions: _,
            moves,
        } = self;
        outbox.iter_mut().for_each(|outbox| outbox.forget_states());
        let more = More { moves, ..More::default() };
        Snapshot {
            identity,
            framing,
            decoder,
            last_in,
            bucket,
            outbox,
            replay,
            origin,
            places,
            connection,
            more,
        }
    }
}

impl Snapshot {
    /// The oldest and the newest form that is read.
    pub const FORMS: (u32, u32) = (OLDEST, NEWEST);

    /// The same with what goes along when its connection moves, too.
    #[must_use]
    pub fn with(mut self, more: More) -> Self {
        self.more = more;
        self
    }

    #[must_use]
    pub fn more(&self) -> &More {
        &self.more
    }

    /// The session, on no channel yet, and what it had beside its own values.
    #[must_use]
    pub fn thaw(self) -> (Session, Places, Connection) {
        let Self {
            identity,
            framing,
            decoder,
            last_in,
            bucket,
            outbox,
            replay,
            origin,
            places,
            connection,
            more,
        } = self;
        let mut session = Session::new(identity, framing, replay, last_in);
        (session.decoder, session.bucket, session.outbox, session.origin) = (decoder, bucket, outbox, origin);
        (session.moves, session.bytes) = (more.moves, more.bytes);
        (session, places, connection)
    }

    /// Encodes the snapshot.
    ///
    /// # Errors
    /// None that can be: the format has a form for all of it.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let encoded = match &self.more {
            more if *more == More::default() => postcard::to_stdvec(&(OLDEST, self)),
            more @ More { pass: None, .. } => postcard::to_stdvec(&(WITHOUT_PASS, self, more)),
            more @ More { pass, .. } => postcard::to_stdvec(&(NEWEST, self, more, pass)),
        };
        encoded.map_err(|_| SnapshotError::Malformed)
    }

    /// Decodes a snapshot.
    ///
    /// # Errors
    /// Another program's form, or bytes that no session can have led to.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (form, rest) = postcard::take_from_bytes(bytes).map_err(|_| SnapshotError::Malformed)?;
        if !(OLDEST..=NEWEST).contains(&form) {
            return Err(SnapshotError::Version(form));
        }
        let (mut snapshot, mut rest) =
            postcard::take_from_bytes::<Self>(rest).map_err(|_| SnapshotError::Malformed)?;
        if form > OLDEST {
            (snapshot.more, rest) = postcard::take_from_bytes(rest).map_err(|_| SnapshotError::Malformed)?;
        }
        if form > WITHOUT_PASS {
            (snapshot.more.pass, rest) =
                postcard::take_from_bytes(rest).map_err(|_| SnapshotError::Malformed)?;
        }
        if rest.is_empty() && snapshot.is_sound() { Ok(snapshot) } else { Err(SnapshotError::Malformed) }
    }

    /// Whether the session has a connection of its own, whose socket goes with the value.
    #[must_use]
    pub fn has_wire(&self) -> bool {
        matches!(self.connection, Connection::Wire { .. })
    }

    fn is_sound(&self) -> bool {
        self.decoder.is_sound()
            && self.outbox.as_ref().is_none_or(|outbox| outbox.is_sound())
            && self.replay.as_ref().is_none_or(Replay::is_sound)
    }
}

#[cfg(test)]
mod tests;
