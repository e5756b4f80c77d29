//! Connections that are no sessions: not yet, or not any more.

use super::handshakes::Handshakes;
use super::sessions::SessionRef;
use crate::access::Permit;
use crate::model::give_back;
use crate::protocol::client::Token;
use crate::transports::ws::Closing;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// A kept connection of a leaving worker ends after so long a silence. A proxy takes the connections that it used last,
/// so one that is quiet for so long is hardly taken in the moment in which it ends.
const QUIET: Duration = Duration::from_secs(1);

/// The connection of a session that has ended, which takes the last bytes.
#[derive(Debug)]
pub struct Ended {
    pub closing: Closing,
    /// The token of a session that another connection has taken over. Its client must not come back once it has heard
    /// of that.
    pub replaced: Option<Token>,
    /// Counts until the last bytes have left.
    pub permit: Option<Permit>,
}

/// The connections beside the sessions.
#[derive(Debug, Default)]
pub(in crate::worker) struct Connections {
    /// How many have not asked for anything yet: they count for evenness, for they may become sessions.
    arriving: u32,
    /// Connections of sessions that have ended, until their tasks fetch them.
    ended: HashMap<SessionRef, Ended, RandomState>,
    /// How many have last bytes on their way: the worker waits for them before it ends.
    closing: usize,
    /// Whether the worker leaves.
    leaving: Leaving,
    /// Those that begin with a handshake of TLS.
    pub(in crate::worker) handshakes: Handshakes,
}

impl Connections {
    /// Gives memory back after a peak.
    pub fn tidy(&mut self) {
        give_back(&mut self.ended);
    }

    pub fn came(&mut self) {
        self.arriving += 1;
    }

    /// A newcomer has asked for something, or has gone without.
    pub fn asked(&mut self) {
        self.arriving -= 1;
    }

    pub fn arriving(&self) -> u32 {
        self.arriving
    }

    /// A session has ended: its task takes the connection from here, sends the last bytes, and says so.
    pub fn close(&mut self, at: SessionRef, ended: Ended) {
        self.closing += 1;
        self.ended.insert(at, ended);
    }

    pub fn fetch(&mut self, at: SessionRef) -> Option<Ended> {
        self.ended.remove(&at)
    }

    /// A connection takes its last bytes in a task of its own, which says [`Connections::closed`].
    pub fn closes(&mut self) {
        self.closing += 1;
    }

    pub fn closed(&mut self) {
        self.closing -= 1;
    }

    /// Whether no last bytes are on their way.
    pub fn all_closed(&self) -> bool {
        self.closing == 0
    }

    pub(in crate::worker) fn leaving(&self) -> Leaving {
        self.leaving.clone()
    }
}

/// Tells the connections that the worker leaves: each ends after its next answer, or when it is quiet for some time.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct Leaving {
    quiet: Arc<OnceLock<Duration>>,
    token: CancellationToken,
}

impl Leaving {
    /// The worker leaves within that time.
    pub(in crate::worker) fn begin(&self, within: Duration) {
        let _ = self.quiet.set((within / 4).min(QUIET));
        self.token.cancel();
    }

    /// Waits for that.
    pub(in crate::worker) async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Waits until a connection that has not asked anything yet must end.
    pub(in crate::worker) async fn over(&self) {
        self.begun().await;
        sleep(self.quiet().unwrap_or_default()).await;
    }

    /// How long a connection must have been quiet to end by itself; `None` while the worker stays.
    pub(in crate::worker) fn quiet(&self) -> Option<Duration> {
        self.quiet.get().copied()
    }
}
