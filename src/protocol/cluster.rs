//! The language of the processes of one cluster. What is hot is borrowed: a frame goes from one link's read buffer to
//! another link's write buffer without an allocation between.
//!
//! New variants of an enum go to its end, and [`VERSION`] grows when the meaning of a variant changes.

pub use super::admission::{Open, RosterPage, Verdict, roster_pages};
pub use super::beat::{BEAT, Beat, Counters, digest, send_beats};
pub use super::door::{Door, Port};
pub use super::endpoint::{BROADCAST, Endpoint, Transport};
pub use super::feeder::{FromFeeder, KeySet, Mark, ToFeeder};
pub use super::handover::{Handover, Handovers, Silences};
pub use super::left::Left;
pub use super::moves::{BATCH, BatchId, Leaver, Moved, Which};
pub use super::question::{Answer, Exposition, Question};
pub use super::relay::{Notice, To, TokenName};
pub use super::renewal::{Again, MovesAgain, Sent, fingerprint};
pub use super::role::{Generation, Hello, Role, Slot};

use crate::model::{Candles, Mono, Quote, RequestId, SessionId, Symbol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The version of this language.
pub const VERSION: u32 = 8;

/// The number of a request that wants no receipt.
pub const NO_RECEIPT: u64 = 0;

/// The session that sent a message and does not get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// Place in the worker's table; means nothing in another worker.
    pub key: u32,
    pub session: SessionId,
}

/// The name under which other clients know a session: the id that its client gave, else the session's. In limits a
/// client without an id goes by its address, which other clients must not see.
#[must_use]
pub fn client_name(user: &str, address: IpAddr, session: SessionId) -> String {
    if user == address.to_string() { session.to_string() } else { user.to_owned() }
}

/// The result of an order to deliver at one worker, in sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The kernel has taken the whole frame.
    pub delivered: u32,
    /// The session's queue was full.
    pub slow: u32,
    /// The frame still waited at the deadline: the result is unknown.
    pub waiting: u32,
}

/// The result of a [`ToMaster::Deliver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// At least one session has it.
    Delivered {
        /// Sessions that have it.
        sessions: u32,
        /// Sessions of which it is unknown.
        unconfirmed: u32,
    },
    /// The user has no session.
    NotConnected,
    /// All queues were full.
    Slow,
    /// No session is known to have it, and of some it is unknown.
    Unknown,
    /// The user is connected, but the frame was empty: there is no price.
    NoPrice,
    /// `limits.quotes_per_user`; the client may ask again after this time.
    Limited(Duration),
    /// `limits.quotes_per_poster`, as before.
    PosterLimited(Duration),
}

/// From a worker to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToMaster<'a> {
    /// The first message.
    Hello(Hello),
    /// The worker accepts connections.
    Ready,
    /// A sign of life, each second.
    Beat(Box<Beat>),
    /// Announces a session; answered by [`ToWorker::Opened`].
    #[serde(borrow)]
    Open(Open<'a>),
    /// A session has ended. Also sent for a session that was refused.
    Closed(SessionId),
    /// Delivers a frame to a user; answered by [`ToWorker::Receipt`] by `deadline`.
    Deliver {
        /// The worker's number for it.
        request: u64,
        /// The number that the client sees.
        id: RequestId,
        user: &'a str,
        /// The quoted symbol.
        symbol: &'a str,
        /// The whole WebSocket frame; empty when there is no price.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// Time at which the request is given up.
        deadline: Mono,
        /// The address of the client that posts it; IPv6 cut to its /64.
        poster: IpAddr,
    },
    /// The result of a [`ToWorker::Push`].
    Delivered {
        /// The master's number for it.
        ticket: u64,
        /// Sessions by result.
        tally: Tally,
    },
    /// Publishes a frame on a channel; answered by [`ToWorker::PublishReceipt`].
    Publish {
        /// The worker's number for it.
        request: u64,
        channel: &'a str,
        /// The whole WebSocket frame.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// Time at which the request is given up.
        deadline: Mono,
        /// The session that does not get it.
        skip: Option<Skip>,
    },
    /// The result of a [`ToWorker::Publish`].
    Published {
        /// The master's number for it.
        ticket: u64,
        /// Subscribers at this worker.
        sessions: u32,
    },
    /// Asks; answered by [`ToWorker::Answer`].
    Ask {
        /// The worker's number for it.
        request: u64,
        question: Question<'a>,
    },
    /// A page of the worker's sessions. All pages together answer [`ToWorker::Resync`]; no other message of that worker
    /// is between two of them.
    Roster(RosterPage<'a>),
    /// No session is left after [`ToWorker::Drain`] or [`ToWorker::Stop`]; the process ends.
    Drained,
    /// Passes a message on to another worker, unread, as [`ToWorker::Relayed`].
    Relay {
        to: To,
        /// Notice of the master to the sender.
        notice: Notice,
        /// A [`super::peer::Peer`].
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    },
    /// A step of a session in a chat room; [`Step::Enter`] is answered by [`ToWorker::Entered`].
    Room {
        /// The channel of the room, `chat:NAME`.
        room: &'a str,
        session: SessionId,
        step: Step<'a>,
    },
    /// The client of a polling session has come back with its cursor.
    TakenUp(SessionId),
    /// The worker keeps a suspended session with that token, or remembers how the session ended: whoever brings the
    /// token is to ask here. Said before [`ToMaster::Closed`], so that the token always leads somewhere.
    Away(TokenName),
    /// It keeps and remembers nothing of that token any more.
    Gone(TokenName),
    /// Wants to hand sessions over; answered by [`ToWorker::Handed`]. From here on they are not in the worker's beats.
    Hand {
        /// The worker's number for the batch.
        batch: u32,
        to: Generation,
        #[serde(borrow)]
        sessions: Vec<Leaver<'a>>,
    },
    /// The sessions of a batch are here; passed on as [`ToWorker::Arrived`].
    Arrived {
        batch: BatchId,
        /// Those that came without a usable connection.
        refused: Vec<SessionId>,
        /// Those that did not come: they have ended.
        gone: Vec<SessionId>,
    },
    /// The target of a batch has ended: its sessions are in the worker's beats again.
    TakenBack {
        /// The worker's number for the batch.
        batch: u32,
        /// Those that have ended meanwhile.
        gone: Vec<SessionId>,
    },
    /// The end of a [`ToWorker::Offload`].
    Offloaded {
        /// The master's number for it.
        order: u64,
        moved: Moved,
    },
    /// All orders up to this one ([`super::orders`]) have been handed to everybody they concern.
    Done { order: u64 },
    /// The sessions of a dead worker were adopted, or have ended.
    Adopted {
        of: Generation,
        /// What became of them.
        results: Handovers,
        /// The longest time in which one that goes on heard nothing.
        silence: Duration,
    },
    /// Follows [`ToMaster::Hello`] on every link but the first, which has another master at its end. `None`: the worker
    /// was never welcomed. Its sessions, their rooms and [`ToMaster::Told`] follow.
    Again(Option<Box<Again>>),
    /// All is told that a master which takes the place of another must know.
    Told,
    /// The answer to [`ToWorker::Pack`]: the process ends. One descriptor: the pack.
    Packed {
        /// Sessions in the pack.
        sessions: u32,
        /// Sessions that could not be packed.
        closed: u32,
    },
    /// The end of a [`ToWorker::Unpack`], with its numbers.
    Unpacked {
        of: Generation,
        part: u32,
        parts: u32,
        /// Sessions that go on here.
        held: u32,
        closed: u32,
        /// The longest time in which one of them was with nobody.
        silence: Duration,
    },
    /// The answer to [`ToWorker::Hold`].
    Held,
    /// As [`ToMaster::Open`], of a stream: if its user has as many as there may be, the oldest ends for it
    /// ([`ToWorker::TookOver`]).
    #[serde(borrow)]
    OpenOver(Open<'a>),
    /// Ends of revoked tokens that were shown, as `access/tokens/revocations.rs` writes them.
    Learnt(#[serde(with = "serde_bytes")] &'a [u8]),
    /// A token names a key that is unknown: the feeder is to fetch keys. Answered by [`ToWorker::Keys`].
    WantKeys,
}

/// A session's step in a chat room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step<'a> {
    /// Enters, or comes back.
    Enter {
        /// The worker's number for it; [`NO_RECEIPT`] if it does not want the history.
        request: u64,
        /// The user of the session.
        user: &'a str,
    },
    /// Is suspended: not present, but collecting.
    Away,
    Leave,
}

/// From the master to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker<'a> {
    /// The first message. Its descriptors are the listening sockets, in the order of `listeners`, and the board of
    /// [`crate::os::board`].
    Welcome {
        /// The worker's slot.
        slot: Slot,
        /// The worker's number.
        generation: Generation,
        /// The configuration as JSON.
        config: &'a str,
        /// The door of each socket.
        listeners: Vec<Door>,
        /// The newest price of each symbol.
        quotes: Vec<Quote>,
        /// Nobody is let in before [`ToWorker::LetIn`]: sessions of the processes before are still on their way.
        waits: bool,
        /// As [`ToWorker::Tls`].
        #[serde(with = "serde_bytes")]
        tls: &'a [u8],
        /// As [`ToWorker::Revoked`].
        #[serde(with = "serde_bytes")]
        revoked: &'a [u8],
        /// As [`ToWorker::Keys`]; empty: there are none.
        #[serde(with = "serde_bytes")]
        keys: &'a [u8],
    },
    /// Keys were fetched, or could not be. With news, as `access/tokens/kept.rs` writes it; empty: nothing has changed.
    Keys(#[serde(with = "serde_bytes")] &'a [u8]),
    /// What is said of these tokens and users from now on, as `access/tokens/revocations.rs` writes them.
    Revoked(#[serde(with = "serde_bytes")] &'a [u8]),
    /// What each handshake of TLS needs from now on, as `net/tls/given.rs` writes it; empty: there is no TLS.
    Tls(#[serde(with = "serde_bytes")] &'a [u8]),
    /// All sessions of the processes before are there: new connections are accepted.
    LetIn,
    /// The answer to an `Open`.
    Opened {
        /// The announced session.
        session: SessionId,
        /// The master's decision.
        verdict: Verdict,
    },
    /// Delivers a frame to a user's sessions; answered by [`ToMaster::Delivered`].
    Push {
        /// The master's number for it.
        ticket: u64,
        /// The number that the client sees.
        id: RequestId,
        user: &'a str,
        /// The quoted symbol.
        symbol: &'a str,
        /// The whole WebSocket frame.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// Time after which the worker drops the order.
        deadline: Mono,
    },
    /// The answer to a `Deliver`.
    Receipt {
        /// The worker's number.
        request: u64,
        outcome: Outcome,
    },
    /// Sends a frame to a channel's subscribers; answered by [`ToMaster::Published`].
    Publish {
        /// The master's number for it.
        ticket: u64,
        channel: &'a str,
        /// The whole WebSocket frame.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// The session that does not get it.
        skip: Option<Skip>,
        /// The worker that published it and its number there, which grows; one that is not greater is a repetition.
        /// `None`: the master's own.
        of: Option<(Generation, u64)>,
    },
    /// The answer to a `Publish`.
    PublishReceipt {
        /// The worker's number.
        request: u64,
        /// Subscribers in the cluster.
        sessions: u32,
    },
    /// A new price, or the same with another state.
    Quote(Quote),
    /// The statistics message as JSON, for the subscribers of `stats`.
    Stats(&'a str),
    /// The answer to an `Ask`.
    Answer {
        /// The worker's number.
        request: u64,
        answer: Answer<'a>,
    },
    /// Closes a session.
    Kick {
        session: SessionId,
        /// The number of the close.
        code: u16,
    },
    /// A new configuration, of which the worker takes the live keys.
    Config {
        /// The whole configuration as JSON.
        config: &'a str,
    },
    /// Asks for a roster: directory and beat differ.
    Resync,
    /// Planned replacement: the worker accepts no more, sends `restarting` and 1012 to all within this time, and ends.
    Drain(Duration),
    /// The worker says that it is not ready but still accepts: balancers need time before a stop.
    Unready,
    /// The daemon stops: the worker accepts no more, sends `shutdown` and 1001 to all within this time, and ends.
    Stop(Duration),
    /// Opens `log.file` again.
    ReopenLog,
    /// All symbols for which the sources do not agree on a new price, and why.
    Refused(BTreeMap<Symbol, String>),
    /// The newest candles of a symbol.
    Candles(Candles),
    /// A message of another worker.
    Relayed {
        from: Generation,
        /// The payload of [`ToMaster::Relay`].
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    },
    /// The answer to [`Notice::Passed`]: the message was passed on. Its receiver gets every publication that came
    /// before this answer first, and no publication that comes after it.
    Taking {
        /// The sender's number for it.
        request: u64,
        /// The process that it was passed on to.
        home: Generation,
    },
    /// The answer to a [`Notice`] when there is no worker to pass the message on to.
    Unheard {
        /// The sender's number for it.
        request: u64,
    },
    /// A process has ended: questions to it stay unanswered.
    PeerGone(Generation),
    /// The answer to a [`Step::Enter`].
    Entered {
        /// The worker's number for it.
        request: u64,
        /// The room's last messages as frames, joined; `None`: no more rooms are allowed.
        #[serde(borrow, with = "serde_bytes")]
        history: Option<&'a [u8]>,
    },
    /// Users in a room or in the whole cluster.
    Presence {
        /// `chat:NAME` or `presence`.
        channel: &'a str,
        /// The state of that channel as JSON.
        text: &'a str,
    },
    /// A line of a file or a program. A newborn worker gets the newest of each.
    Line {
        /// The channel of its lines.
        of: &'a str,
        text: &'a str,
        /// Its number, which grows within the channel; one that is not greater is a repetition.
        number: u64,
    },
    /// The directory has ended a session for another one.
    GiveWay(SessionId),
    /// There is little room for polls: the polling session ends whose client has been away longest.
    Shed,
    /// There is little room for connections: sessions end whose clients were never heard and do not answer a ping.
    Silent {
        /// Of that address only.
        of: Option<IpAddr>,
    },
    /// Hands sessions over to another worker; answered by [`ToMaster::Offloaded`].
    Offload {
        /// The master's number for it.
        order: u64,
        to: Generation,
        which: Which,
    },
    /// The answer to a [`ToMaster::Hand`]: these sessions belong to the other worker from here on. `None`: it takes none.
    Handed {
        /// The worker's number for the batch.
        batch: u32,
        taken: Option<Vec<SessionId>>,
    },
    /// Sessions of another worker belong to this one from here on, and will come in a [`super::peer::Peer::Arrive`].
    Expect {
        batch: BatchId,
        /// Those that are present.
        #[serde(borrow)]
        sessions: Vec<Open<'a>>,
        /// Tokens of those that are suspended.
        away: Vec<TokenName>,
    },
    /// The sessions of a batch have arrived.
    Arrived {
        /// The worker's number for the batch.
        batch: u32,
        /// Those whose connection the worker closes, if it has it: they are suspended there, or could not be read.
        refused: Vec<SessionId>,
    },
    /// A worker has died: this one adopts its sessions.
    Adopt {
        of: Generation,
        #[serde(borrow)]
        left: Left<'a>,
    },
    /// An operator drains the worker: it accepts nobody, and goes on with those it has. False: it accepts again.
    Aside(bool),
    /// From a master that takes the place of another: what becomes of batches that were on their way.
    Unfinished {
        /// The own batch goes on here: it has not come to the other worker.
        back: Option<u32>,
        /// Batches that will not come.
        dropped: Vec<BatchId>,
    },
    /// Packs all sessions for the processes that come after this one, and ends. Answered by [`ToMaster::Packed`].
    Pack,
    /// Unpacks sessions that another process packed. One descriptor: the pack. Answered by [`ToMaster::Unpacked`].
    Unpack {
        /// The worker that packed, under whose number the keeper has the sockets.
        of: Generation,
        /// Only sessions whose key, divided by `parts`, leaves this.
        part: u32,
        parts: u32,
    },
    /// Another master takes over in a moment: deliveries wait for that one, since nobody may repeat what this one was
    /// asked. Answered by [`ToMaster::Held`]. False: this one stays.
    Hold(bool),
    /// An announced session has taken the place of another, and is told so before anything else. Before
    /// [`ToWorker::Opened`].
    TookOver {
        session: SessionId,
        /// The message as JSON.
        text: &'a str,
    },
}
