//! Questions over a session, one at a time, and whether they are answered.

use crate::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time to an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The question that is open, if any.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    asked: Option<Instant>,
    odd: bool,
}

impl Talk {
    /// Whether a question may be asked now; it then is.
    pub(crate) fn ask(&mut self, stage: &Stage) -> bool {
        let mut talks = stage.talks.borrow_mut();
        match self.asked {
            Some(asked) if asked.elapsed() < PATIENCE => return false,
            Some(_) => talks.unanswered += 1,
            None => (),
        }
        talks.asked += 1;
        self.asked = Some(Instant::now());
        self.odd = !self.odd;
        true
    }

    /// The question of a main session.
    pub(crate) fn question(&self) -> &'static str {
        if self.odd { r#"{"type":"ping","id":1}"# } else { r#"{"type":"echo","data":{"a":1},"id":2}"# }
    }

    /// The question at another endpoint; `None`: the endpoint takes none.
    pub(crate) fn elsewhere(&self, path: &str, user: &str) -> Option<String> {
        Some(match path {
            "/command" if self.odd => r#"{"action":"PING"}"#.to_owned(),
            "/command" => r#"{"action":"ECHO","data":"load"}"#.to_owned(),
            "/chat" => {
                format!(r#"{{"event":"chat-message","payload":{{"userName":"{user}","message":"hi"}}}}"#)
            }
            "/broadcast" => r#"{"a":1}"#.to_owned(),
            _ => return None,
        })
    }

    /// Counts an answer.
    pub(crate) fn answer(&mut self, stage: &Stage) {
        if self.asked.take().is_some() {
            stage.talks.borrow_mut().answered += 1;
        }
    }

    /// The connection is gone, and perhaps the question with it.
    pub(crate) fn forget(&mut self) {
        self.asked = None;
    }
}
