//! Start and end of a child, by way of the keeper. How a child finds its line and its link is in `protocol/attach.rs`.

use crate::protocol::cluster::{Generation, Role};
use crate::protocol::keeper::End;
use crate::protocol::line::Line;
use crate::protocol::link::{LinkReceiver, LinkSender, LinkWriter, link};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// A child that has a link.
#[derive(Debug)]
pub struct Spawned {
    pub role: Role,
    /// Sends messages to the child.
    pub sender: LinkSender,
    /// Receives the messages of the child.
    pub receiver: LinkReceiver,
    /// Writes what is sent. Run it as a task.
    pub writer: LinkWriter,
    /// The exit, to be awaited in a task. Earlier messages may still be in the link.
    pub exit: oneshot::Receiver<End>,
}

/// Has processes started, and hears of their ends.
#[derive(Debug)]
pub struct Spawner {
    line: Line,
    /// Processes that are ordered and not started yet, with the master's end of their link.
    ordered: BTreeMap<Generation, (Role, UnixStream)>,
    /// Processes that live, and who awaits their ends.
    living: BTreeMap<Generation, oneshot::Sender<End>>,
}

impl Spawner {
    /// A spawner without processes.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Self { line, ordered: BTreeMap::new(), living: BTreeMap::new() }
    }

    /// Orders a process. [`Spawner::started`] or [`Spawner::not_started`] follows.
    ///
    /// # Errors
    /// As `socketpair(2)`; the keeper is dead.
    pub fn order(&mut self, role: Role, generation: Generation) -> io::Result<()> {
        let (ours, theirs) = pair()?;
        self.line.start(generation, role, theirs).map_err(io::Error::other)?;
        self.ordered.insert(generation, (role, ours));
        Ok(())
    }

    /// The keeper has started a process.
    pub fn started(&mut self, generation: Generation) -> Option<Spawned> {
        let (role, stream) = self.ordered.remove(&generation)?;
        Some(self.spawned(role, generation, stream))
    }

    /// The keeper could not start a process.
    pub fn not_started(&mut self, generation: Generation) -> Option<Role> {
        self.ordered.remove(&generation).map(|(role, _)| role)
    }

    /// Makes a new link to a process that lives.
    ///
    /// # Errors
    /// As `socketpair(2)`.
    pub fn relink(&mut self, role: Role, generation: Generation) -> io::Result<Spawned> {
        let (ours, theirs) = pair()?;
        self.line.relink(generation, theirs);
        Ok(self.spawned(role, generation, ours))
    }

    fn spawned(&mut self, role: Role, generation: Generation, stream: UnixStream) -> Spawned {
        let (sender, receiver, writer) = link(stream);
        let (tell, exit) = oneshot::channel();
        self.living.insert(generation, tell);
        Spawned { role, sender, receiver, writer, exit }
    }

    /// A process has ended.
    pub fn exited(&mut self, generation: Generation, end: End) {
        if let Some(tell) = self.living.remove(&generation) {
            // Nobody awaits the end of one that was left behind.
            let _ = tell.send(end);
        }
    }

    /// Has a process killed.
    pub fn kill(&self, generation: Generation) {
        self.line.kill(generation);
    }
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.into_std()?.into()))
}

#[cfg(test)]
mod tests;
