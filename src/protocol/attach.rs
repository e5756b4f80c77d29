//! Finds the line of a process to its keeper, and the first link to its master.

use super::keeper::{FromKeeper, PARENT};
use super::line::{Hearing, Line, of_stdin};
use super::link::{LinkReceiver, LinkSender, LinkWriter, link};
use super::renewal::MasterLink;
use crate::os::loops::Loops;
use crate::os::{process, signals};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// The longest wait for the first link: the keeper says it at once.
const FIRST: Duration = Duration::from_secs(10);

/// A process with a line, and a link to its master.
#[derive(Debug)]
pub struct Attached {
    pub line: Line,
    /// What the keeper says: later links, and answers.
    pub hearing: Hearing,
    /// The first link.
    pub link: (LinkSender, LinkReceiver, LinkWriter),
}

/// Takes the line from standard input. From here on this process dies with its keeper and leaves signals to the
/// master. Needs a runtime. Standard input stays as it is: programs that this process starts must be given another, or
/// they hold the line open. The line's writer runs in `loops`.
///
/// # Errors
/// The keeper is gone, or this process was not started by one.
pub fn attach_line(loops: &mut Loops) -> io::Result<(Line, Hearing)> {
    signals::leave_to_master()?;
    let parent = std::env::var(PARENT).ok().and_then(|text| text.parse().ok());
    let alone = || io::Error::new(io::ErrorKind::Unsupported, "this command is for the daemon's own use");
    process::die_with_parent(parent.ok_or_else(alone)?)?;
    process::be_no_late_victim();
    let (line, hearing, writer) = of_stdin()?;
    loops.spawn("line", writer.run());
    Ok((line, hearing))
}

/// Does the same for a child of the cluster, and waits for its first link, whose writer must be run.
///
/// # Errors
/// As [`attach_line`]; no link came.
pub async fn attach(loops: &mut Loops) -> io::Result<Attached> {
    let (line, mut hearing) = attach_line(loops)?;
    let first = tokio::time::timeout(FIRST, hearing.next()).await?.map_err(io::Error::other)?;
    let link = as_link(first)?;
    Ok(Attached { line, hearing, link })
}

/// Does the same, for one master after another. What else the keeper says goes to `others`.
///
/// # Errors
/// As [`attach`].
pub async fn attach_to_masters(
    loops: &mut Loops,
    mut others: impl FnMut(FromKeeper, Vec<OwnedFd>) + Send + 'static,
) -> io::Result<(Line, MasterLink)> {
    let Attached { line, mut hearing, link } = attach(loops).await?;
    let (give, links) = mpsc::channel(1);
    loops.spawn("keeper", async move {
        let _ = give.send(link).await;
        while let Ok((message, with)) = hearing.next().await {
            if message != FromKeeper::Link {
                others(message, with);
                continue;
            }
            match as_link((message, with)) {
                Ok(link) => _ = give.send(link).await,
                Err(error) => tracing::error!(event = "descriptor", %error),
            }
        }
    });
    Ok((line, MasterLink::new(links)))
}

/// Makes a link of a [`FromKeeper::Link`].
///
/// # Errors
/// The message is another one, or its descriptor is no socket.
pub fn as_link(
    (message, with): (FromKeeper, Vec<OwnedFd>),
) -> io::Result<(LinkSender, LinkReceiver, LinkWriter)> {
    let stream = with.into_iter().next().filter(|_| message == FromKeeper::Link);
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "the keeper gave no link");
    let stream = StdUnixStream::from(stream.ok_or_else(strange)?);
    stream.set_nonblocking(true)?;
    Ok(link(UnixStream::from_std(stream)?))
}
