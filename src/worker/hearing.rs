//! What the master says, carried to the hub.

use super::failure::Failure;
use super::hub::{Hub, Part, Phase, Push};
use crate::config::Config;
use crate::log;
use crate::os::process::set_core_dumps;
use crate::protocol::client::Close;
use crate::protocol::cluster::{ToWorker, fingerprint};
use crate::protocol::link::{Batch, LinkError};
use crate::protocol::orders;
use crate::protocol::renewal::{Heard, MasterLink};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The end of the worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Leave(Leave),
    /// All sessions go on in other processes.
    Pack,
}

/// The close that all sessions get, and the time for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    pub(super) close: Close,
    pub(super) within: Duration,
}

pub(super) async fn hear(hub: &Hub, master: &mut MasterLink) -> Result<End, Failure> {
    loop {
        if let Some(end) = hear_next(hub, master.next().await) {
            return Ok(end?);
        }
    }
}

/// Hears what came; or that one master has gone, or another has come.
fn hear_next(hub: &Hub, heard: Heard) -> Option<Result<End, LinkError>> {
    match heard {
        Heard::Batch(mut batch) => return hear_all(hub, &mut batch),
        Heard::Lost => hub.lock().master_lost(),
        Heard::Master(link) => hub.lock().renew(hub, link),
        Heard::End => return Some(Err(LinkError::Closed)),
    }
    None
}

/// Everything that came together. What it publishes goes out by walks, joined.
pub(super) fn hear_all(hub: &Hub, batch: &mut Batch) -> Option<Result<End, LinkError>> {
    let (mut state, mut end) = (hub.lock(), None);
    while let Some(message) = batch.next_with_some::<ToWorker<'_>>() {
        let (message, with) = match message {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        let order = orders::order(&message);
        let elsewhere = if order.is_some() { state.order_for_wards(&message) } else { 0 };
        end = hear_one(&mut state, hub, message, (elsewhere, with)).or(end);
        order.into_iter().for_each(|bytes| state.took(bytes));
    }
    state.settle();
    state.note_done();
    end.map(Ok)
}

/// Hears one message. `elsewhere`: how many sessions that it is for are not here any more.
fn hear_one(
    state: &mut super::hub::State,
    hub: &Hub,
    message: ToWorker<'_>,
    (elsewhere, with): (u32, Vec<OwnedFd>),
) -> Option<End> {
    match message {
        ToWorker::Push { ticket, id, user, symbol, frame, deadline } => {
            state.push(&Push { ticket, id, user, symbol, frame, deadline }, elsewhere);
        }
        ToWorker::Receipt { request, outcome } => state.requests.receipt(request, outcome),
        ToWorker::Opened { session, verdict } => state.opened(session, verdict),
        ToWorker::Publish { ticket, channel, frame, skip, of } => {
            state.publish_once(of, (ticket, channel, frame), skip);
        }
        ToWorker::PublishReceipt { request, sessions } => state.publish_receipt(request, sessions),
        ToWorker::Quote(quote) => state.quote(quote),
        ToWorker::Refused(refused) => state.prices.refuse(refused),
        ToWorker::Stats(json) => state.stats(json),
        ToWorker::Candles(candles) => state.candles(&candles),
        ToWorker::Line { of, text, number } => state.line(of, text, number),
        ToWorker::Answer { request, answer } => state.requests.answer(request, &answer),
        ToWorker::Kick { session, code } => state.kick(session, Close::from_number(code)),
        ToWorker::Config { config } => configure(state, config),
        ToWorker::TookOver { session, text } => state.requests.tell_first(session, text),
        ToWorker::GiveWay(session) => state.gives_way(session),
        ToWorker::Shed => state.shed_poll(),
        ToWorker::Silent { of } => state.shed_silent(of),
        ToWorker::Resync => state.roster(),
        ToWorker::Aside(aside) => state.rest(aside),
        ToWorker::Unready => state.phase = Phase::Unready,
        ToWorker::Drain(within) => return Some(End::Leave(Leave { close: Close::Restarting, within })),
        ToWorker::Stop(within) => return Some(End::Leave(Leave { close: Close::Shutdown, within })),
        ToWorker::Pack => return Some(End::Pack),
        ToWorker::Unpack { of, part, parts } => unpack(state, hub, Part { of, part, parts }, with),
        ToWorker::Tls(given) => state.connections.handshakes.give(given),
        ToWorker::Keys(bytes) => state.fetched_keys(bytes),
        ToWorker::Revoked(more) => state.revoke_tokens(more),
        ToWorker::LetIn => state.unpacking.let_in(),
        ToWorker::Hold(waits) => state.hold_deliveries(waits),
        ToWorker::ReopenLog => log::reopen(),
        ToWorker::Relayed { from, payload } => state.hear_peer(hub, from, payload, with),
        ToWorker::Taking { request, home } => state.taking(request, home),
        ToWorker::Unheard { request } => state.unheard(request),
        ToWorker::PeerGone(peer) => state.peer_gone(hub, peer),
        ToWorker::Entered { request, history } => state.entered(request, history),
        ToWorker::Presence { channel, text } => state.presence(channel, text),
        ToWorker::Offload { order, to, which } => state.offload(order, to, which),
        ToWorker::Handed { batch, taken } => state.handed(batch, taken.as_deref()),
        ToWorker::Expect { batch, sessions, away } => state.expect(batch, &sessions, &away),
        ToWorker::Arrived { batch, refused } => state.batch_arrived(hub, batch, &refused),
        ToWorker::Unfinished { back, dropped } => state.unfinished(hub, back, &dropped),
        ToWorker::Welcome { .. } => tracing::warn!("a second welcome is ignored"),
        ToWorker::Adopt { of, left } => state.adopt(of, left),
    }
    None
}

fn unpack(state: &mut super::hub::State, hub: &Hub, part: Part, with: Vec<OwnedFd>) {
    if let Some(pack) = with.into_iter().next() {
        state.unpack_part(hub, part, pack);
    }
}

fn configure(state: &mut super::hub::State, config: &str) {
    state.uplink.config = fingerprint(config);
    match serde_json::from_str::<Config>(config) {
        Ok(config) => {
            log::adopt(&config.log);
            set_core_dumps(config.cluster.core_dumps);
            state.configure(Arc::new(config));
        }
        Err(error) => tracing::error!(%error, "a configuration that cannot be read is ignored"),
    }
}

/// Hears the master for that long: answers to what is on its way still come. False when no master will come any more.
pub(super) async fn wait(hub: &Hub, master: &mut MasterLink, time: Duration) -> bool {
    let pause = sleep(time);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return true,
            heard = master.next() => if let Some(Err(_)) = hear_next(hub, heard) {
                return false;
            },
        }
    }
}
