//! `/command`: a greeting, and answers in plain text.

use super::service::Service;
use crate::log::{id as logged, is_hashing};
use crate::model::Mono;
use crate::os::clock;
use crate::protocol::client;
use crate::worker::hub::parts::greeting::Greeting;
use crate::worker::hub::parts::session::Session;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;
use crate::ws::frame;

/// The answer to anything that is no command.
const ERROR: &str = r#"Error: a command is {"action":"ECHO","data":...} or {"action":"PING"}"#;
const PONG: &str = "PONG";
/// Characters of it that are shown.
const SHOWN: usize = 64;

pub(super) struct Command;

impl Service for Command {
    fn greet(&self, state: &mut State, at: SessionRef, _: &Greeting) {
        let config = state.config.whole();
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
        if delay.is_zero() || !self.delay_pong(at, clock::mono().after(delay)) {
            self.say(at, PONG);
        }
    }

    /// Puts a PONG off until then. False: too many wait already.
    pub(in crate::worker::hub) fn delay_pong(&mut self, at: SessionRef, until: Mono) -> bool {
        let delayed = self.commands.delay(at, until);
        if delayed {
            self.asks(at);
            self.timers.pong(at, until);
        }
        delayed
    }

    /// Sends a PONG whose time has come.
    pub(in crate::worker::hub) fn pong_due(&mut self, at: SessionRef) {
        if self.commands.delayed(at) {
            self.answered(at);
            self.say(at, PONG);
        }
    }

    fn misheard(&mut self, at: SessionRef, text: &str) {
        let Some(unlogged) = self.commands.log(clock::mono()) else { return };
        let Some(id) = self.sessions.get(at).map(Session::id) else { return };
        // What a client wrote may hold its id.
        let shown: Option<String> = (!is_hashing()).then(|| text.chars().take(SHOWN).collect());
        tracing::info!(
            event = "command-unknown",
            worker = self.me.slot,
            session = %logged(id),
            text = shown.map(tracing::field::debug),
            unlogged,
            "a client's command makes no sense"
        );
    }
}
