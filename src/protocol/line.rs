//! A process's end of its line to the keeper: what it may say, in words of its own.

use super::cluster::{Generation, Role};
use super::keeper::{FromKeeper, ToKeeper};
use super::link::{LinkError, LinkReceiver, LinkSender, LinkWriter, link};
use crate::os::notify::Notification;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Most descriptors of one message: fewer than the kernel allows.
const PAGE: usize = 240;
/// The longest wait for systemd.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says things to the keeper. Cheap to clone; never waits. What a line does not take is lost, since a keeper that does
/// not read is dead, and its processes are with it.
#[derive(Clone, Debug)]
pub struct Line(LinkSender);

impl Line {
    /// The speaking half of a line.
    #[must_use]
    pub fn new(sender: LinkSender) -> Self {
        Self(sender)
    }

    /// A line whose other end is a plain link; for tests of those who speak.
    ///
    /// # Errors
    /// As `socketpair(2)`.
    #[cfg(test)]
    pub fn pair() -> io::Result<(Self, LinkReceiver)> {
        let (ours, theirs) = UnixStream::pair()?;
        let (sender, _, writer) = link(ours);
        tokio::spawn(writer.run());
        Ok((Self(sender), link(theirs).1))
    }

    fn say(&self, message: &ToKeeper<'_>, with: Vec<OwnedFd>) {
        if let Err(error) = self.0.send_at_once(message, with) {
            tracing::debug!(%error, ?message, "the keeper did not take it");
        }
    }

    fn say_copy(&self, message: &ToKeeper<'_>, of: BorrowedFd<'_>) -> io::Result<()> {
        self.say(message, vec![of.try_clone_to_owned()?]);
        Ok(())
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Bytes that were ever said. See [`LinkSender::said`].
    #[must_use]
    pub fn said(&self) -> u64 {
        self.0.said()
    }

    /// Bytes that the kernel has taken.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.0.written()
    }

    /// Waits until the kernel has taken all that was said, for a moment at most: what it has taken is heard even after
    /// this process has ended.
    pub async fn flush(&self) {
        let _ = timeout(Duration::from_secs(1), async {
            while self.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

/// A master's words.
impl Line {
    /// Has a process started; `link` is its end of its link.
    ///
    /// # Errors
    /// The line is broken: the keeper is dead.
    pub fn start(&self, generation: Generation, role: Role, link: OwnedFd) -> Result<(), LinkError> {
        self.0.send_with(&ToKeeper::Start { generation, role }, vec![link])
    }

    /// Gives a living process another link.
    pub fn relink(&self, generation: Generation, link: OwnedFd) {
        self.say(&ToKeeper::Relink { generation }, vec![link]);
    }

    /// Has a process killed.
    pub fn kill(&self, generation: Generation) {
        self.say(&ToKeeper::Kill { generation }, Vec::new());
    }

    /// Gives a sign of life. See [`ToKeeper::Beat`].
    pub fn beat(&self, within: Duration, well: bool) {
        self.say(&ToKeeper::Beat { within, well }, Vec::new());
    }

    /// Has a copy of a descriptor held for the next master, instead of the one of that name.
    ///
    /// # Errors
    /// This process may have no more descriptors.
    pub fn hold(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.say_copy(&ToKeeper::Hold { name }, descriptor)
    }

    /// Has everything of that name closed.
    pub fn release(&self, name: &str) {
        self.say(&ToKeeper::Release { name }, Vec::new());
    }

    /// A signal was heard.
    pub fn heard(&self, signal: i32) {
        self.say(&ToKeeper::Heard { signal }, Vec::new());
    }

    /// The daemon serves.
    pub fn serving(&self) {
        self.say(&ToKeeper::Serving, Vec::new());
    }

    /// The daemon ends with this status.
    pub fn done(&self, status: u8) {
        self.say(&ToKeeper::Done { status }, Vec::new());
    }

    /// Lets another program take over. This process is killed. See [`ToKeeper::Switch`].
    pub fn switch(&self, program: OwnedFd, within: Duration) {
        self.say(&ToKeeper::Switch { within }, vec![program]);
    }

    /// Lets another program take over from living processes. This process is killed. See [`ToKeeper::Succeed`].
    pub fn succeed(&self, program: OwnedFd, within: Duration) {
        self.say(&ToKeeper::Succeed { within }, vec![program]);
    }

    /// Gives way to the program before. This process is killed. See [`ToKeeper::GiveBack`].
    pub fn give_back(&self) {
        self.say(&ToKeeper::GiveBack, Vec::new());
    }

    /// The program in use has proven itself.
    pub fn settled(&self) {
        self.say(&ToKeeper::Settled, Vec::new());
    }

    /// Ends the daemon, for whose next start everything is left with systemd. This process is killed.
    pub fn store_all(&self) {
        self.say(&ToKeeper::Store, Vec::new());
    }

    /// Sends systemd a message about the daemon's state.
    pub fn notify(&self, notice: &Notification) {
        self.say(&ToKeeper::Notify { text: &notice.text() }, Vec::new());
    }

    /// Leaves a copy of a descriptor with systemd, which passes it to the next process of this service, however this
    /// one ends. Names have no colon.
    ///
    /// # Errors
    /// This process may have no more descriptors.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.say_copy(&ToKeeper::Notify { text: &format!("FDSTORE=1\nFDNAME={name}") }, descriptor)
    }

    /// Tells systemd to close the copies of that name.
    pub fn unstore(&self, name: &str) {
        self.say(&ToKeeper::Notify { text: &format!("FDSTOREREMOVE=1\nFDNAME={name}") }, Vec::new());
    }

    /// Waits until systemd has handled all earlier messages, 5 s at most.
    pub async fn barrier(&self) {
        let Ok((mut ours, theirs)) = UnixStream::pair() else { return };
        let Ok(theirs) = theirs.into_std() else { return };
        self.say(&ToKeeper::Notify { text: "BARRIER=1" }, vec![theirs.into()]);
        // systemd closes its copy after all earlier messages; so does a keeper that has no systemd.
        if timeout(PATIENCE, ours.read(&mut [0])).await.is_err() {
            tracing::debug!("systemd does not answer");
        }
    }
}

/// Another process's words.
impl Line {
    /// Has a spare of a session's socket kept.
    ///
    /// # Errors
    /// This process may have no more descriptors.
    pub fn keep(&self, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.say_copy(&ToKeeper::Keep { key }, socket)
    }

    /// Has some sockets kept, which are no longer this process's own.
    pub fn keep_all(&self, mut sockets: Vec<(u32, OwnedFd)>) {
        while !sockets.is_empty() {
            let rest = sockets.split_off(sockets.len().min(PAGE));
            let (keys, sockets_now) = std::mem::replace(&mut sockets, rest).into_iter().unzip();
            self.say(&ToKeeper::KeepAll { keys }, sockets_now);
        }
    }

    /// Has such a spare closed.
    pub fn drop_spare(&self, key: u32) {
        self.say(&ToKeeper::Drop { key }, Vec::new());
    }

    /// Has the memory file of this process's crash cover kept.
    ///
    /// # Errors
    /// This process may have no more descriptors.
    pub fn cells(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.say_copy(&ToKeeper::Cells, file)
    }

    /// Asks for what another process left. See [`ToKeeper::Fetch`].
    pub fn fetch(&self, request: u64, of: Generation, keys: Option<Vec<u32>>) {
        self.say(&ToKeeper::Fetch { request, of, keys }, Vec::new());
    }

    /// Has what another process left closed. See [`ToKeeper::Forget`].
    pub fn forget(&self, of: Generation, keys: Option<Vec<u32>>) {
        self.say(&ToKeeper::Forget { of, keys }, Vec::new());
    }
}

/// The listening half of a line.
#[derive(Debug)]
pub struct Hearing {
    receiver: LinkReceiver,
    heard: VecDeque<(FromKeeper, Vec<OwnedFd>)>,
}

impl Hearing {
    #[must_use]
    pub fn new(receiver: LinkReceiver) -> Self {
        Self { receiver, heard: VecDeque::new() }
    }

    /// The next message with its descriptors. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The keeper is gone. A message whose descriptors did not come is left out, and logged.
    pub async fn next(&mut self) -> Result<(FromKeeper, Vec<OwnedFd>), LinkError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let mut batch = self.receiver.receive().await?;
            while let Some(message) = batch.next_with::<FromKeeper>() {
                match message {
                    Ok(message) => self.heard.push_back(message),
                    Err(error @ LinkError::MissingDescriptors { .. }) => {
                        tracing::error!(event = "descriptor", %error, "a message of the keeper is lost");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Makes the two halves of a line, and what writes it, of a process's standard input.
///
/// # Errors
/// Standard input is no socket.
pub(super) fn of_stdin() -> io::Result<(Line, Hearing, LinkWriter)> {
    let stream = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Fails if standard input is no socket.
    stream.peer_addr()?;
    stream.set_nonblocking(true)?;
    let (sender, receiver, writer) = link(UnixStream::from_std(stream)?);
    Ok((Line::new(sender), Hearing::new(receiver), writer))
}
