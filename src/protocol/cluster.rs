//! What the processes of one cluster say to each other. Borrowed where it is hot: a frame goes from the link's
//! read buffer to the next link's write buffer without an allocation between.
//!
//! Enum variants are only ever added at the end, and [`VERSION`] grows when the meaning of one changes: an upgrade
//! meets the previous version.

pub use super::admission::{Open, RosterPage, Verdict, roster_pages};
pub use super::beat::{BEAT, Beat, Counters, digest, send_beats};
pub use super::endpoint::{BROADCAST, Endpoint, Transport};
pub use super::feeder::{FromFeeder, Mark, ToFeeder};
pub use super::relay::Notice;
pub use super::role::{Generation, Hello, Role, Slot};

use crate::model::{Candles, Interval, Mono, Quote, RequestId, SessionId, Symbol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Version of this language.
pub const VERSION: u32 = 5;

/// The number of a request whose receipt nobody wants.
pub const NO_RECEIPT: u64 = 0;

/// A session that a message is not for: its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// Where it is in its worker; means nothing in another.
    pub key: u32,
    /// Which it is.
    pub session: SessionId,
}

/// What other clients know a session by: the id that its client gave, else its session's. One that gave none goes by its
/// address in limits, which is nobody else's business.
#[must_use]
pub fn client_name(user: &str, address: IpAddr, session: SessionId) -> String {
    if user == address.to_string() { session.to_string() } else { user.to_owned() }
}

/// What became of one order to deliver at one worker. All are counts of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The kernel has taken the whole frame.
    pub delivered: u32,
    /// Its queue was full.
    pub slow: u32,
    /// Still waiting when the time was over: unknown.
    pub waiting: u32,
}

/// What becomes of a [`ToMaster::Deliver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// At least one session has it.
    Delivered {
        /// So many have it.
        sessions: u32,
        /// Of so many it is unknown.
        unconfirmed: u32,
    },
    /// The user has no session.
    NotConnected,
    /// All queues were full.
    Slow,
    /// Nobody is known to have it, and of some it is unknown.
    Unknown,
    /// The user is connected, but the frame was empty: there is no price.
    NoPrice,
    /// `limits.quotes_per_user`; come back after so long.
    Limited(Duration),
}

/// What a worker may ask of the master for a request it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question<'a> {
    /// The statistics object as JSON.
    Stats,
    /// The metrics as Prometheus text.
    Metrics,
    /// Sessions as JSON objects with commas between them, answered by an [`Answer::Page`].
    Sessions {
        /// Only those of this user.
        user: Option<&'a str>,
        /// Where the page begins: 0, or what the page before says.
        from: u32,
    },
    /// Disconnect a session (close code 4006).
    Kick(SessionId),
    /// Would a new session there, of that user from that address, be accepted now? The answer is a [`Verdict`] as JSON.
    Admission(Endpoint, &'a str, IpAddr),
    /// The price sources as a JSON object.
    Sources,
    /// Candles of a symbol, as the JSON of `GET /api/v1/history`. The feeder's answer, passed on; none when there is no
    /// feeder, or no such symbol.
    History {
        /// Of which symbol.
        symbol: &'a str,
        /// Of which length.
        interval: Interval,
        /// At most so many.
        limit: u32,
    },
}

/// What the master answers to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// Ready-made text.
    Text(&'a str),
    /// Done.
    Done,
    /// There is no such thing.
    NotFound,
    /// A part of a list.
    Page {
        /// Ready-made text.
        text: &'a str,
        /// Where the next page begins; `None`: this was the last.
        next: Option<u32>,
    },
}

/// From a worker to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToMaster<'a> {
    /// Always first.
    Hello(Hello),
    /// Accepting.
    Ready,
    /// A second has passed.
    Beat(Box<Beat>),
    /// May this session be? Answered by [`ToWorker::Opened`].
    #[serde(borrow)]
    Open(Open<'a>),
    /// It is no more. Also sent for one that was refused.
    Closed(SessionId),
    /// Deliver this frame to a user. Answered by [`ToWorker::Receipt`] by `deadline`.
    Deliver {
        /// The worker's number for it.
        request: u64,
        /// The number that the client sees.
        id: RequestId,
        /// To whom.
        user: &'a str,
        /// What it quotes.
        symbol: &'a str,
        /// The whole WebSocket frame; empty when there is no price.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// When to give up.
        deadline: Mono,
    },
    /// What became of a [`ToWorker::Push`].
    Delivered {
        /// Which.
        ticket: u64,
        /// What.
        tally: Tally,
    },
    /// Send this frame to all subscribers of a channel. Answered by [`ToWorker::PublishReceipt`].
    Publish {
        /// The worker's number for it.
        request: u64,
        /// Which channel.
        channel: &'a str,
        /// The whole WebSocket frame.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// When to give up.
        deadline: Mono,
        /// Who is not to get it.
        skip: Option<Skip>,
    },
    /// What became of a [`ToWorker::Publish`]: so many subscribers.
    Published {
        /// Which.
        ticket: u64,
        /// How many.
        sessions: u32,
    },
    /// Answered by [`ToWorker::Answer`].
    Ask {
        /// The worker's number for it.
        request: u64,
        /// What it wants to know.
        question: Question<'a>,
    },
    /// Some of its sessions. All pages together are the answer to [`ToWorker::Resync`]; nothing else of that worker is
    /// between two of them.
    Roster(RosterPage<'a>),
    /// No session is left after [`ToWorker::Drain`] or [`ToWorker::Stop`]; the process ends.
    Drained,
    /// Passed on unread to another worker, as [`ToWorker::Relayed`].
    Relay {
        /// The process that it is for.
        to: Generation,
        /// What the sender is told of it.
        notice: Notice,
        /// A [`super::peer::Peer`] of the sender's.
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    },
    /// A session enters a chat room, answered by [`ToWorker::Entered`]; or another step of it there.
    Room {
        /// The channel of the room, `chat:NAME`.
        room: &'a str,
        /// Which session.
        session: SessionId,
        /// What it does.
        step: Step<'a>,
    },
}

/// What a session does in a chat room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step<'a> {
    /// Enters, or comes back.
    Enter {
        /// The worker's number for it; [`NO_RECEIPT`] where it does not want the history.
        request: u64,
        /// Whose it is.
        user: &'a str,
    },
    /// Is suspended: not present, but collecting.
    Away,
    /// Leaves.
    Leave,
}

/// From the master to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker<'a> {
    /// Always first. The listening sockets come with it, in the order of `listeners`, and then the board of
    /// [`crate::os::board`].
    Welcome {
        /// Its place.
        slot: Slot,
        /// Which process of that place.
        generation: Generation,
        /// Number of the configuration.
        revision: u64,
        /// The configuration as JSON.
        config: &'a str,
        /// What each descriptor is.
        listeners: Vec<Port>,
        /// The newest price of each symbol.
        quotes: Vec<Quote>,
    },
    /// The answer to an `Open`.
    Opened {
        /// Which.
        session: SessionId,
        /// What.
        verdict: Verdict,
    },
    /// Deliver this frame to the user's sessions; answered by [`ToMaster::Delivered`].
    Push {
        /// The master's number for it.
        ticket: u64,
        /// The number that the client sees.
        id: RequestId,
        /// To whom.
        user: &'a str,
        /// What it quotes.
        symbol: &'a str,
        /// The whole WebSocket frame.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// A worker that reads this later drops it.
        deadline: Mono,
    },
    /// The answer to a `Deliver`.
    Receipt {
        /// The worker's number.
        request: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// Send this frame to the channel's subscribers; answered by [`ToMaster::Published`].
    Publish {
        /// The master's number for it.
        ticket: u64,
        /// Which channel.
        channel: &'a str,
        /// The whole WebSocket frame.
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// Who is not to get it.
        skip: Option<Skip>,
    },
    /// The answer to a `Publish`: so many subscribers in the cluster.
    PublishReceipt {
        /// The worker's number.
        request: u64,
        /// How many.
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
        /// The answer.
        answer: Answer<'a>,
    },
    /// Close this session with this code.
    Kick {
        /// Which.
        session: SessionId,
        /// 4006, for instance.
        code: u16,
    },
    /// A new configuration: take its live keys.
    Config {
        /// Its number.
        revision: u64,
        /// All of it, as JSON.
        config: &'a str,
    },
    /// Tell me all your sessions: the directory and the beat differ.
    Resync,
    /// Planned replacement: stop accepting, say `restarting` and 1012 to all within this time, then end.
    Drain(Duration),
    /// Not ready any more, but still accepting: the time for balancers before a stop.
    Unready,
    /// The daemon stops: stop accepting, say `shutdown` and 1001 to all within this time, then end.
    Stop(Duration),
    /// Open `log.file` anew.
    ReopenLog,
    /// For which symbols the sources do not agree on a new price, and why; all of them.
    Refused(BTreeMap<Symbol, String>),
    /// The newest candles of a symbol.
    Candles(Candles),
    /// A message of another worker.
    Relayed {
        /// The process that it is from.
        from: Generation,
        /// As in [`ToMaster::Relay`].
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    },
    /// The answer to [`Notice::Passed`]: that message is on its way. Its receiver has heard of every publication before
    /// this one, and of none after it.
    Taking {
        /// The sender's number for it.
        request: u64,
    },
    /// There is no worker to pass a message on to.
    Unheard {
        /// The sender's number for it, of its [`Notice`].
        request: u64,
    },
    /// A process is no more: what it was asked stays unanswered.
    PeerGone(Generation),
    /// The answer to a [`Step::Enter`].
    Entered {
        /// The worker's number for it.
        request: u64,
        /// The room's last messages as frames, joined; `None`: there may be no such room.
        #[serde(borrow, with = "serde_bytes")]
        history: Option<&'a [u8]>,
    },
    /// Who is in a room, or in the whole cluster, as JSON: a state of that channel.
    Presence {
        /// `chat:NAME` or `presence`.
        channel: &'a str,
        /// The message.
        text: &'a str,
    },
    /// A line of a file or a program; the newest of each comes to a newborn as well.
    Line {
        /// The channel of its lines.
        of: &'a str,
        /// The line.
        text: &'a str,
    },
}

/// Which listening socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Port {
    /// The page, REST, and WebSockets.
    Http,
    /// WebSockets only.
    Ws,
    /// Admin routes without a token.
    Admin,
}
