//! The life of a worker: attached to the master, configured, accepting, beating; then draining and gone.

use super::failure::Failure;
use super::hearing::{End, Leave, hear, hear_all, wait};
use super::http;
use super::hub::{Hub, Me, Phase, TICK, Uplink, hello, take_in_all};
use super::pack::pack;
use crate::config::Config;
use crate::log;
use crate::net::accept::{Gate, Go, accept_loop};
use crate::net::even::{Even, MOMENT};
use crate::os::board::Board;
use crate::os::clock;
use crate::os::loops::Loops;
use crate::os::process::set_core_dumps;
use crate::protocol::attach_to_masters;
use crate::protocol::client::Close;
use crate::protocol::cluster::{BEAT, Door, ToMaster, ToWorker, fingerprint, send_beats};
use crate::protocol::keeper::FromKeeper;
use crate::protocol::link::{Batch, LinkSender};
use crate::protocol::orders;
use crate::protocol::renewal::{Heard, MasterLink};
use axum::Router;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Opens that the master may leave unanswered before this worker stops accepting.
const UNANSWERED: usize = 256;
/// A drained worker looks so often whether it accepts again, while connections wait.
const ASIDE: Duration = Duration::from_millis(100);
/// A worker whose sessions are still on their way looks so often whether all have come, while connections wait.
const UNPACKING: Duration = Duration::from_millis(2);
/// Steps in which many sessions are sent away.
const STEPS: u32 = 20;
/// The part of the time of a drain in which sessions are moved rather than sent away.
const MOVING: f64 = 0.75;
/// Interval at which an ending worker looks whether all have gone.
const LAST: Duration = Duration::from_millis(20);
/// Time in which those that were here to the end are told of it.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs a worker until the master ends it.
#[must_use]
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let result = runtime.map_err(Failure::Io).and_then(|runtime| {
        let result = runtime.block_on(live());
        // A read of a disk that hangs is not waited for.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(event = "worker-failed", error = %failure);
            ExitCode::FAILURE
        }
    }
}

async fn live() -> Result<(), Failure> {
    let _ = crate::os::process::raise_open_files();
    let mut loops = Loops::default();
    let told = Arc::<OnceLock<Hub>>::default();
    let place = told.clone();
    // The keeper answers only what the hub has asked.
    let answered = move |said, with| {
        if let Some(hub) = place.get() {
            hear_keeper(hub, said, with);
        }
    };
    let (line, mut master) = attach_to_masters(&mut loops, answered).await?;
    let Some((hub, listeners, mut first)) = begin(&mut master).await? else { return Ok(()) };
    hub.lock().begin_cover(line);
    let _ = told.set(hub.clone());
    loops.spawn("said", look_said(hub.clone()));
    let mut accepting = Loops::default();
    let outward = listeners.iter().filter(|(_, listener)| !is_loopback(listener));
    let outward: Vec<_> = outward.map(|(door, _)| door.port).collect();
    for (door, listener) in listeners {
        let router = http::router(&hub, door.port, !outward.contains(&door.port));
        accepting.spawn("accept", accept(hub.clone(), router, door, listener));
    }
    hub.lock().say_ready();
    loops.spawn("beat", beat(hub.clone()));
    loops.spawn("tick", tick(hub.clone()));
    loops.spawn("handshakes", handshakes(hub.clone()));
    loops.spawn("walk", walk(hub.clone()));
    if hear_all(&hub, &mut first).is_some() {
        return Ok(());
    }
    let end = loops.during(accepting.during(hear(&hub, &mut master))).await???;
    drop(accepting);
    match end {
        End::Leave(end) => {
            loops.during(leave(&hub, &mut master, end)).await?;
            hub.lock().uplink.tell(&ToMaster::Drained);
        }
        End::Pack => loops.during(pack(&hub, &mut master)).await??,
    }
    // Bytes that the kernel has taken arrive, even after this process has ended. If the master goes meanwhile, the next one
    // waits for what this worker tells.
    let _ = timeout(BEAT, async {
        while hub.lock().uplink.waiting() > 0 && wait(&hub, &mut master, Duration::from_millis(1)).await {}
    })
    .await;
    Ok(())
}

/// Waits for a welcome, of whichever master. `None`: none will come.
async fn begin(master: &mut MasterLink) -> Result<Option<(Hub, Listeners, Batch)>, Failure> {
    let pid = std::process::id();
    let (mut link, mut masters, mut before) = (None, 0, Vec::new());
    loop {
        match master.next().await {
            Heard::Master(sender) => {
                sender.send(&hello(pid))?;
                if masters > 0 {
                    sender.send(&ToMaster::Again(None))?;
                    sender.send(&ToMaster::Told)?;
                }
                (link, masters) = (Some(sender), masters + 1);
                before.clear();
            }
            Heard::Batch(mut first) => {
                let Some(link) = &link else { return Ok(None) };
                if let Some((hub, listeners)) = welcome(&mut first, link, pid, &mut before)? {
                    return Ok(Some((hub, listeners, first)));
                }
            }
            Heard::Lost => link = None,
            Heard::End => return Ok(None),
        }
    }
}

type Listeners = Vec<(Door, TcpListener)>;

/// Looks for the welcome. A master that took the place of another speaks to all workers, before it has heard which of
/// them was not welcomed: what it said is in the welcome, and orders `before` that are counted.
fn welcome(
    batch: &mut Batch,
    sender: &LinkSender,
    pid: u32,
    before: &mut Vec<usize>,
) -> Result<Option<(Hub, Listeners)>, Failure> {
    while let Some(next) = batch.next_with::<ToWorker<'_>>() {
        match next? {
            (
                ToWorker::Welcome { slot, generation, config, listeners, quotes, waits, tls, revoked, keys },
                descriptors,
            ) => {
                let uplink = Uplink::new(sender.clone(), fingerprint(config));
                let config: Config = serde_json::from_str(config).map_err(Failure::Config)?;
                log::init(&config.log, &format!("worker {slot}"));
                set_core_dumps(config.cluster.core_dumps);
                tracing::debug!(generation, "welcome");
                let (all, board) = sockets(listeners, descriptors)?;
                let hub = Hub::new(Me { slot, generation, pid }, Arc::new(config), uplink, board);
                let mut state = hub.lock();
                quotes.into_iter().for_each(|quote| state.quote(quote));
                state.connections.handshakes.give(tls);
                state.begin_keys(keys);
                state.revoke_tokens(revoked);
                if waits {
                    state.unpacking.keep_out(clock::mono());
                }
                before.drain(..).for_each(|bytes| state.took(bytes));
                state.note();
                drop(state);
                return Ok(Some((hub, all)));
            }
            (ToWorker::Stop(_) | ToWorker::Drain(_) | ToWorker::Pack, _) => {
                return Err(Failure::Strange("the end came before the welcome"));
            }
            (message, _) => before.extend(orders::order(&message)),
        }
    }
    Ok(None)
}

/// The listening sockets and the board that come with a welcome.
fn sockets(doors: Vec<Door>, descriptors: Vec<OwnedFd>) -> Result<(Listeners, Board), Failure> {
    let mut descriptors = descriptors.into_iter();
    let mut all = Vec::new();
    for door in doors {
        let descriptor = descriptors.next().ok_or(Failure::Strange("a listening socket is missing"))?;
        all.push((door, listener(descriptor)?));
    }
    let board = descriptors.next().ok_or(Failure::Strange("the board is missing"))?;
    Ok((all, Board::from_descriptor(board)?))
}

fn listener(descriptor: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Decides whether to accept: only while the master answers, and evenly.
struct Admission(Hub, Even);

impl Gate for Admission {
    fn before_accept(&mut self) -> Go {
        let mut state = self.0.lock();
        if matches!(state.phase, Phase::Draining | Phase::Stopping) {
            return Go::Stop;
        }
        if state.unpacking.keeps_out(clock::mono()) {
            return Go::Hold(UNPACKING);
        }
        if state.phase == Phase::Aside {
            return Go::Hold(ASIDE);
        }
        if state.requests.unanswered() > UNANSWERED {
            return Go::Hold(Duration::from_millis(1));
        }
        let counts = state.board.counts();
        let yields =
            self.1.yields(state.occupancy(), counts.into_iter().map(|(_, count)| count), clock::mono());
        if yields || !state.has_room() { Go::Hold(MOMENT) } else { Go::Now }
    }

    fn accept_error(&mut self) {
        let mut state = self.0.lock();
        state.counters.accept_errors += 1;
        state.give_way(None);
    }
}

/// Whether only this machine reaches a socket, by its real address: systemd may have passed another one than
/// the configuration names.
fn is_loopback(listener: &TcpListener) -> bool {
    listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

async fn accept(hub: Hub, router: Router, door: Door, listener: TcpListener) {
    let serve = |stream, address: SocketAddr| {
        let entrance = hub.lock().connected(address.ip(), door.port);
        tokio::spawn(http::serve(hub.clone(), router.clone(), stream, (address, door, entrance)));
    };
    accept_loop(listener, Admission(hub.clone(), Even::default()), serve).await;
}

async fn beat(hub: Hub) {
    let send = || {
        log::tell_left_out();
        let mut state = hub.lock();
        state.tell_done(true);
        let beat = state.beat();
        state.uplink.tell(&ToMaster::Beat(Box::new(beat)));
    };
    send_beats(send).await;
}

async fn tick(hub: Hub) {
    let mut every = interval(TICK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = every.tick().await;
        hub.lock().tick(Instant::now().saturating_duration_since(due));
    }
}

/// Gives handshakes their turns.
async fn handshakes(hub: Hub) {
    let queue = hub.lock().connections.handshakes.queue();
    queue.run().await;
}

/// Brings what is published to the channels' members, in rounds: between two of them everybody else has a turn.
async fn walk(hub: Hub) {
    let walks = hub.lock().walks.bell();
    loop {
        walks.notified().await;
        while hub.lock().walk_on() {
            tokio::task::yield_now().await;
        }
    }
}

/// Hears what the keeper hands over.
fn hear_keeper(hub: &Hub, said: FromKeeper, with: Vec<OwnedFd>) {
    let mut state = hub.lock();
    let Some((said, with)) = state.take_sockets(hub, said, with) else { return };
    let of = state.hear_keeper(said, with);
    drop(state);
    if let Some(of) = of {
        tokio::spawn(take_in_all(hub.clone(), of));
    }
}

/// Makes sessions clean again once what they said is on its way.
async fn look_said(hub: Hub) {
    let said = hub.lock().unsaid();
    loop {
        said.notified().await;
        while !hub.lock().look_said() {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Sends all sessions away, spread over the first half of the time, and lets requests on their way end.
async fn leave(hub: &Hub, master: &mut MasterLink, end: Leave) {
    send_away(hub, master, end).await;
    let dismissed = {
        let mut state = hub.lock();
        // Orders that are not done end with what was moved.
        state.stop_offloading();
        // Whoever is still here hears of the end, and is no session of a dead worker.
        let all = state.population();
        let dismissed = state.dismiss(end.close, all, (100, 2));
        state.settle();
        dismissed
    };
    let until = clock::mono().after(LAST_WORDS);
    while dismissed > 0 && clock::mono() < until && !hub.lock().is_quiet() {
        if !wait(hub, master, LAST).await {
            return;
        }
    }
}

async fn send_away(hub: &Hub, master: &mut MasterLink, end: Leave) {
    let begun = clock::mono();
    let stops = end.close == Close::Shutdown;
    let (batch, each, mut first) = {
        let mut state = hub.lock();
        state.phase = if stops { Phase::Stopping } else { Phase::Draining };
        state.connections.leaving().begin(end.within);
        let sessions = state.population();
        // Each client gets a moment of its own to come back: some hundreds a second.
        let each = if sessions > 1 { 2 } else { 0 };
        (sessions.div_ceil(STEPS as usize).max(100), each, if stops { 1000 } else { 100 })
    };
    loop {
        // What can be moved is moved, and the time begins anew with each that is; the rest is sent away at last.
        let from = begun.max(hub.lock().last_move());
        let (now, over) = (clock::mono(), from.after(end.within));
        if now >= over {
            return;
        }
        let moves = now < from.after(end.within.mul_f64(MOVING));
        let dismissed = {
            let mut state = hub.lock();
            // Those that cannot be moved go first: what waits for their clients is moved, then.
            let secured = if stops { 0 } else { state.dismiss_secured(batch, (first, each)) };
            if secured > 0 {
                state.settle();
            }
            if !stops && moves && state.offloads() {
                state.offload_next();
                secured
            } else if secured == batch {
                secured
            } else {
                state.stop_offloading();
                state.dismiss(end.close, batch, (first, each))
            }
        };
        first += each * dismissed as u64;
        // Half of what is left of the time: there may be little after the moves.
        let left = over.since(clock::mono());
        let pause = if dismissed == batch { left / 2 / STEPS } else { LAST };
        if !wait(hub, master, pause).await {
            return;
        }
        let state = hub.lock();
        // A client that is sent to another worker gets its session from here.
        if state.empty() && (end.close == Close::Shutdown || state.nobody_waits()) {
            return;
        }
    }
}
