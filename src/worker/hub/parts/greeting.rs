//! The greeting of a session: what its client is told first.

use crate::protocol::client;

/// The channels that a session begins with.
#[derive(Debug)]
pub(in crate::worker) struct Greeting {
    pub(in crate::worker) channels: Vec<String>,
    /// The session was there before, and its client has missed nothing.
    pub(in crate::worker) resumed: bool,
    /// Rooms that the session is not in yet.
    pub(in crate::worker) entering: Vec<String>,
}

impl Greeting {
    /// Greets a session that was there `before`, or a new one with the channels that its client asks for.
    pub(in crate::worker) fn new(before: Option<(Vec<String>, Vec<String>)>, asked: Vec<String>) -> Self {
        if let Some((mut channels, entering)) = before {
            channels.extend(entering.iter().cloned());
            return Self { channels, resumed: true, entering };
        }
        let entering = asked.iter().filter(|name| client::room(name).is_some()).cloned().collect();
        Self { channels: asked, resumed: false, entering }
    }
}
