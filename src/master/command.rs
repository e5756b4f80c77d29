//! Questions over the control socket.

use crate::model::NamedMoment;
use crate::protocol::cluster::Slot;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// A question or order.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Command {
    /// The daemon as a whole.
    Status,
    Workers,
    /// Sessions, of one user or all.
    Sessions {
        #[serde(default)]
        user: Option<String>,
        /// Begin of the page that the master is asked for.
        #[serde(skip)]
        from: u32,
    },
    Sources,
    /// The price of a symbol, or of the default one.
    Price {
        /// Name; the default symbol without one.
        #[serde(default)]
        symbol: Option<String>,
    },
    /// Read the configuration again; the answer waits for the outcome.
    Reload,
    /// Try a price source now, or all of them.
    Retry {
        /// Its name.
        #[serde(default)]
        source: Option<String>,
    },
    /// Replace a worker, or start one that was given up.
    RestartWorker {
        id: Slot,
    },
    /// Move a session to a worker.
    Move {
        /// Id of the session.
        session: String,
        worker: Slot,
    },
    /// Move all sessions of a worker to the others; it takes no more.
    Drain {
        worker: Slot,
    },
    /// Make all workers even; the answer waits for that.
    Rebalance,
    /// Disconnect a session.
    Kick {
        /// Id of the session.
        session: String,
    },
    /// Refuse a token, or those of a user, and close their sessions.
    Revoke(RevokeOrder),
    /// Send a user's sessions away; they come back with fresh tokens.
    Reconnect {
        user: String,
    },
    /// A message to all subscribers of a channel.
    Publish {
        /// Name of the channel.
        channel: String,
        /// Any JSON. (No `RawValue`: serde cannot hand one to a variant with a tag inside.)
        data: Value,
        /// The bytes of the data.
        #[serde(skip)]
        raw: String,
    },
    /// Try another program and give way to it.
    Upgrade {
        /// Its path; the installed one without it.
        #[serde(default)]
        binary: Option<PathBuf>,
    },
    /// End the daemon.
    Stop {
        /// Sessions are kept for the next start.
        #[serde(default)]
        keep_sessions: bool,
    },
}

/// Which tokens are revoked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeOrder {
    /// The token's id.
    #[serde(default)]
    pub(super) jti: Option<String>,
    #[serde(default)]
    pub(super) user: Option<String>,
    /// Tokens of the user issued before this moment; now without it.
    #[serde(default)]
    pub(super) issued_before: Option<NamedMoment>,
    /// None of these tokens is good any more then.
    #[serde(default)]
    pub(super) until: Option<NamedMoment>,
}

impl Command {
    /// A message whose data is JSON in these bytes.
    pub(super) fn publish(channel: String, data: &str) -> Self {
        Self::Publish { channel, data: Value::Null, raw: data.to_owned() }
    }
}

/// A question and who waits for its answer.
pub(super) struct Asked {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Value>,
}
