//! What a master finds that takes the place of another.

use crate::protocol::keeper::{Before, Begin, FromKeeper};
use crate::protocol::line::Hearing;
use crate::protocol::link::LinkError;
use std::os::fd::OwnedFd;

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
