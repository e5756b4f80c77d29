//! What a master finds that takes the place of another, and what it has to know until all living processes are heard.

use super::estates::Estates;
use super::gate::Gate;
use super::journal::{self, Journal, Record};
use super::predecessor::Held;
use super::revocations;
use crate::config::{AuthMode, Config, Faults, Loaded, Source, load};
use crate::model::Mono;
use crate::os::board::Board;
use crate::protocol::cluster::{Generation, MovesAgain};
use crate::protocol::keeper::Begin;
use crate::protocol::line::Line;
use crate::protocol::link::Batch;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;

/// The name under which the keeper holds the board.
const BOARD: &str = "board";

/// What the master before has left, or the beginning of a daemon.
pub(super) struct Past {
    pub(super) journal: Journal,
    pub(super) state: journal::State,
    pub(super) board: Board,
    /// Why the journal is not believed.
    refused: Option<String>,
}

impl Past {
    /// Takes over journal and board, or begins them.
    pub(super) fn take(held: &mut Held, line: &Line) -> io::Result<Self> {
        let mut of = |name: &str| {
            let at = held.iter().position(|(known, _)| **known == *name)?;
            Some(held.swap_remove(at).1)
        };
        let (file, board) = (of(journal::NAME), of(BOARD));
        let (found, refused) = match file.map(|file| Journal::take_over(file.as_fd())) {
            Some(Ok(found)) => (Some(found), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let (journal, state) = match found {
            Some(found) => found,
            None => {
                let (journal, file) = Journal::create()?;
                line.hold(journal::NAME, file.as_fd())?;
                (journal, journal::State::default())
            }
        };
        let board = match board {
            Some(board) => Board::from_descriptor(board)?,
            None => {
                let board = Board::new()?;
                line.hold(BOARD, board.descriptor())?;
                board
            }
        };
        Ok(Self { journal, state, board, refused })
    }

    /// The configuration that was in force with its number, or else what the files say.
    ///
    /// # Errors
    /// Every fault of the files.
    pub(super) fn configuration(&self, source: &Source) -> Result<(Loaded, Option<u64>), Faults> {
        let kept = self.state.config.as_ref();
        let config = kept.and_then(|(json, number)| {
            let config = serde_json::from_str::<Config>(json);
            let config = config.inspect_err(|error| tracing::error!(event = "journal-refused", %error));
            Some((config.ok()?, *number))
        });
        match config {
            Some((config, revision)) => Ok((Loaded::in_force(source, config), Some(revision))),
            None => Ok((load(source)?, None)),
        }
    }

    /// The daemon before has left its journal to this one, which reads its files and begins with processes of its own.
    pub(super) fn restart(&mut self) {
        self.state = std::mem::take(&mut self.state).of_clients();
        self.journal.compact(&self.state);
    }

    /// Reads the file of revocations, unless the master before has left them. `is_first`: there was none.
    ///
    /// # Errors
    /// The daemon would begin without knowing them.
    pub(super) async fn read_revocations(&mut self, config: &Config, is_first: bool) -> Result<(), String> {
        if !is_first && self.refused.is_none() {
            return Ok(());
        }
        match revocations::Kept::read(&mut self.state.revocations, &config.state).await {
            Err(why) if is_first && config.auth.mode == AuthMode::Token => Err(why),
            Err(why) => {
                tracing::error!(
                    event = "revocations-not-read",
                    why,
                    "revoked tokens are good until they are revoked anew"
                );
                Ok(())
            }
            Ok(()) => {
                self.journal.write(&Record::AllRevoked(&self.state.revocations.encode()));
                Ok(())
            }
        }
    }

    /// All processes are new ones: what the supervisor knew of those before does not count.
    pub(super) fn replace_processes(&mut self) {
        self.state.fleet = Box::default();
    }

    /// Logs a journal that makes no sense.
    pub(super) fn log(&self) {
        if let Some(why) = &self.refused {
            tracing::error!(
                event = "journal-refused",
                why,
                "the master begins anew: numbers of prices, chat messages and counters are lost"
            );
        }
    }
}

/// The first moments of a master after another.
pub(super) struct Renewal {
    pub(super) gate: Gate<Batch>,
    /// What the supervisor knew when it was last written down.
    pub(super) packed: String,
    /// What the master counted when it was last written down: counters, handovers.
    pub(super) own: (String, String),
    /// The start of this master.
    pub(super) born: Mono,
    /// The end of the one before.
    pub(super) before: Mono,
    /// How often links had not taken a message when that was last written down.
    pub(super) dropped: u64,
    /// The number of the newest message of each worker that a room keeps.
    pub(super) published: BTreeMap<Generation, u64>,
    /// Sessions that were on their way when the master before died, as each worker knows it.
    pub(super) moves: BTreeMap<Generation, MovesAgain>,
    /// Workers to be drained once all is known.
    pub(super) drains: Vec<Generation>,
    /// Living workers of the master before that have not told who their sessions are.
    pub(super) untold: BTreeSet<Generation>,
    /// What workers left that never can.
    pub(super) estates: Estates,
}

impl Renewal {
    pub(super) fn new(begin: &Begin, born: Mono) -> Self {
        let pause = begin.before.map(|before| before.pause).unwrap_or_default();
        let before = Mono(born.0.saturating_sub(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX)));
        Self {
            gate: Gate::open(),
            packed: String::new(),
            own: Default::default(),
            born,
            before,
            dropped: 0,
            published: BTreeMap::new(),
            moves: BTreeMap::new(),
            drains: Vec::new(),
            untold: BTreeSet::new(),
            estates: Estates::default(),
        }
    }

    /// A worker is to be drained once all is known.
    pub(super) fn drain_later(&mut self, worker: Generation) {
        self.drains.push(worker);
    }

    /// A process has ended.
    pub(super) fn gone(&mut self, generation: Generation) {
        self.gate.gone(generation);
        self.published.remove(&generation);
    }

    /// Whether no room keeps a publication yet.
    pub(super) fn is_new(&mut self, of: Option<(Generation, u64)>) -> bool {
        let Some((from, number)) = of else { return true };
        let newest = self.published.entry(from).or_default();
        let is_new = number > *newest;
        *newest = number.max(*newest);
        is_new
    }
}
