//! `/command`: a greeting, and answers in plain text.

use super::Service;
use crate::model::{Gcra, Mono, Rate};
use crate::os::clock;
use crate::protocol::client;
use crate::worker::hub::session::Session;
use crate::worker::hub::sessions::SessionRef;
use crate::worker::hub::{Greeting, State};
use crate::ws::frame;
use std::time::Duration;

/// The answer to anything that is no command.
const ERROR: &str = r#"Error: a command is {"action":"ECHO","data":...} or {"action":"PING"}"#;
const PONG: &str = "PONG";
/// Clients' nonsense is logged so often in a worker: they must not fill the log.
const LOGGED: Rate = Rate { count: 1, per: Duration::from_secs(1) };
/// So many lines of it at once.
const BURST: u32 = 20;
/// Characters of it that are shown.
const SHOWN: usize = 64;
/// PONGs that may wait for their time in a worker; beyond it they come at once.
const WAITING: usize = 100_000;

/// Limits that all sessions of the endpoint share.
#[derive(Debug, Default)]
pub(in crate::worker::hub) struct Commands {
    logged: Gcra,
    unlogged: u64,
    /// How many PONGs wait.
    waiting: usize,
}

pub(super) struct Command;

impl Service for Command {
    fn greet(&self, state: &mut State, at: SessionRef, _: &Greeting) {
        let config = state.config.clone();
        if !config.command.greeting.is_empty() {
            state.send_first(at, frame::text(&config.command.greeting));
        }
    }

    fn text(&self, state: &mut State, at: SessionRef, text: &str) {
        match client::command(text) {
            Some(client::Command::Echo(data)) => {
                let answer = format!("{}{data}", state.config.command.prefix);
                state.say(at, &answer);
            }
            Some(client::Command::Ping) => state.command_ping(at),
            None => {
                state.misheard(at, text);
                state.say(at, ERROR);
            }
        }
    }
}

impl State {
    fn command_ping(&mut self, at: SessionRef) {
        let delay = self.config.command.ping_delay;
        if delay.is_zero() || self.commands.waiting >= WAITING {
            return self.say(at, PONG);
        }
        self.commands.waiting += 1;
        self.timers.pong(at, clock::mono().after(delay));
    }

    /// Sends a PONG whose time has come.
    pub(in crate::worker::hub) fn pong_due(&mut self, at: SessionRef) {
        self.commands.waiting -= 1;
        self.say(at, PONG);
    }

    fn misheard(&mut self, at: SessionRef, text: &str) {
        let now: Mono = clock::mono();
        if self.commands.logged.take(LOGGED, BURST, now).is_err() {
            self.commands.unlogged += 1;
            return;
        }
        let Some(id) = self.sessions.get(at).map(Session::id) else { return };
        let shown: String = text.chars().take(SHOWN).collect();
        let unlogged = std::mem::take(&mut self.commands.unlogged);
        tracing::info!(
            event = "command-unknown",
            worker = self.me.slot,
            session = %id,
            text = ?shown,
            unlogged,
            "a client's command makes no sense"
        );
    }
}
