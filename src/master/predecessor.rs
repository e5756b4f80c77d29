//! What a master finds that takes the place of another.

use crate::protocol::keeper::{Before, Begin, FromKeeper};
use crate::protocol::line::{Hearing, Line};
use crate::protocol::link::LinkError;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::time::timeout;

/// The longest wait for processes of the master before, which are killed.
const GOING: Duration = Duration::from_secs(5);

/// Descriptors that were held for this master, by name.
pub(super) type Held = Vec<(Box<str>, OwnedFd)>;

/// Hears the keeper's first words.
pub(super) async fn begin(hearing: &mut Hearing) -> Result<(Begin, Held), LinkError> {
    let mut held = Vec::new();
    loop {
        match hearing.next().await? {
            (FromKeeper::Held { name }, with) => held.extend(with.into_iter().map(|one| (name.clone(), one))),
            (FromKeeper::Begin(begin), _) => return Ok((begin, held)),
            (other, _) => tracing::debug!(?other, "before the beginning"),
        }
    }
}

/// Logs the death of the master before.
pub(super) fn log(before: Option<&Before>) {
    let Some(Before { pid, end, silent, deaths, pause }) = before else { return };
    let how =
        if *silent { format!("{end}, by the keeper: it gave no sign of life") } else { end.to_string() };
    tracing::warn!(event = "master-died", pid, how, ?pause, deaths, "another master goes on");
}

/// Ends the processes of the master before: their links ended with it. Returns what else the keeper said meanwhile.
pub(super) async fn clear(begin: &Begin, line: &Line, hearing: &mut Hearing) -> io::Result<Vec<FromKeeper>> {
    let mut living: BTreeSet<_> = begin.children.iter().map(|running| running.generation).collect();
    living.iter().for_each(|generation| line.kill(*generation));
    let (mut kept, wait) = (Vec::new(), GOING);
    let gone = timeout(wait, async {
        while !living.is_empty() {
            match hearing.next().await?.0 {
                FromKeeper::Exited { generation, .. } => _ = living.remove(&generation),
                other => kept.push(other),
            }
        }
        Ok::<_, LinkError>(())
    });
    match gone.await {
        Ok(Err(error)) => return Err(io::Error::other(error)),
        Err(_) => tracing::error!(event = "child-left-behind", "processes of the master before do not end"),
        Ok(Ok(())) => {}
    }
    Ok(kept)
}
