//! `/command`: a greeting, and answers in plain text.

use super::Service;
use crate::model::{Gcra, Mono, Rate};
use crate::os::clock;
use crate::protocol::client;
use crate::session::Key;
use crate::worker::hub::{Greeting, State};
use crate::ws::frame;
use std::time::Duration;

/// What a client hears that said something else.
const ERROR: &str = r#"Error: a command is {"action":"ECHO","data":...} or {"action":"PING"}"#;
/// Clients' nonsense is logged so often in a worker: they must not fill the log.
const LOGGED: Rate = Rate { count: 1, per: Duration::from_secs(1) };
/// So many lines of it at once.
const BURST: u32 = 20;
/// Characters of it that are shown.
const SHOWN: usize = 64;
/// PONGs that may wait for their time in a worker; beyond it they come at once.
const WAITING: usize = 100_000;

/// What the workers' commands have in common.
#[derive(Debug, Default)]
pub(in crate::worker::hub) struct Commands {
    logged: Gcra,
    unlogged: u64,
    /// PONGs that wait.
    waiting: usize,
}

pub(super) struct Command;

impl Service for Command {
    fn greet(&self, state: &mut State, key: Key, _: &Greeting) {
        let config = state.config.clone();
        if !config.command.greeting.is_empty() {
            state.send_first(key, frame::text(&config.command.greeting));
        }
    }

    fn text(&self, state: &mut State, key: Key, text: &str) {
        match client::command(text) {
            Some(client::Command::Echo(data)) => {
                let answer = format!("{}{data}", state.config.command.prefix);
                state.say(key, &answer);
            }
            Some(client::Command::Ping) => state.command_ping(key),
            None => {
                state.misheard(key, text);
                state.say(key, ERROR);
            }
        }
    }
}

impl State {
    fn command_ping(&mut self, key: Key) {
        let delay = self.config.command.ping_delay;
        if delay.is_zero() || self.commands.waiting >= WAITING {
            return self.pong(key);
        }
        self.commands.waiting += 1;
        let turn = self.sessions[key as usize].turn;
        self.timers.pong(key, turn, clock::mono().after(delay));
    }

    fn pong(&mut self, key: Key) {
        self.say(key, "PONG");
    }

    /// A PONG's time has come; `None`: its session has gone.
    pub(in crate::worker::hub) fn pong_due(&mut self, key: Option<Key>) {
        self.commands.waiting -= 1;
        if let Some(key) = key {
            self.pong(key);
        }
    }

    fn misheard(&mut self, key: Key, text: &str) {
        let now: Mono = clock::mono();
        if self.commands.logged.take(LOGGED, BURST, now).is_err() {
            self.commands.unlogged += 1;
            return;
        }
        let (id, shown) = (self.sessions[key as usize].id, text.chars().take(SHOWN).collect::<String>());
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
