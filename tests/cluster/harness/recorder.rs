//! A tab that listens by itself and remembers.

use super::tab::{Heard, Tab};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Messages that a tab has heard so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// Messages with their moments.
    pub(crate) messages: Vec<(Instant, Value)>,
    /// Code and reason of the close; `None`: the tab is open.
    pub(crate) closed: Option<(u16, String)>,
}

impl Story {
    /// The messages of one type.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.messages.iter().map(|(_, message)| message).filter(move |message| message["type"] == kind)
    }
}

/// Records a tab; dropping it hangs up.
#[derive(Debug)]
pub(crate) struct Recorder {
    story: Arc<Mutex<Story>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Listens from now on.
    pub(crate) fn of(mut tab: Tab) -> Self {
        let story = Arc::new(Mutex::new(Story::default()));
        let own = story.clone();
        let task = tokio::spawn(async move {
            loop {
                match tab.hear_ever().await {
                    Heard::Message(message) => own.lock().unwrap().messages.push((Instant::now(), message)),
                    Heard::Closed(code, reason) => {
                        own.lock().unwrap().closed = Some((code, reason));
                        return;
                    }
                    _ => {}
                }
            }
        });
        Self { story, task }
    }

    /// Returns a copy of the story so far.
    pub(crate) fn story(&self) -> Story {
        self.story.lock().unwrap().clone()
    }

    /// Code and reason of the close; `None`: the tab is open.
    pub(crate) fn closed(&self) -> Option<(u16, String)> {
        self.story.lock().unwrap().closed.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
