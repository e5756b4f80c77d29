//! Chaos: clients of all kinds talk, listen, are cut and come back, while workers are replaced, moved and killed, and
//! master and feeder die. What does each client notice, and which promise does that break?

mod daemon;
mod echoes;
mod events;
mod habit;
mod kind;
mod ledger;
mod limit;
mod parting;
mod posts;
mod report;
mod shard;
mod tab;
mod verdict;
mod world;

use crate::units::{duration, rate};
use daemon::{Daemon, Role, usage};
use events::Actor;
use kind::{Class, Kind, Times};
use ledger::Fault;
use posts::{Users, ask_all, publish_all};
pub(crate) use report::Chaos;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use verdict::Row;
use world::{Phase, World};

/// Longest time until all clients are there.
const JOINING: Duration = Duration::from_secs(180);
/// From the last question to the last answer.
const QUIET: Duration = Duration::from_secs(4);
/// Until the last descriptor of a client that has left is closed.
const LEAVING: Duration = Duration::from_secs(15);
/// A number of descriptors that stands so long is the last one.
const STILL: Duration = Duration::from_secs(3);
/// Descriptors more than before that are no leak, for each process.
const SPARE: usize = 6;

/// Events of all kinds under load, each held against its promise.
///
/// Starts a daemon in a folder of its own (made-up prices, free ports) and connects clients: 70 % WebSocket, 12 % events,
/// 5 % polls, 5 % streams, 4 % each at /chat and /echo; a share of them talks, in whole, half and split frames, another
/// is cut now and then and comes back. Everything is numbered. Events: calm, usr2, reload-workers, restart-worker, move,
/// drain, rebalance, upgrade (no client may notice); kill-worker, segv-worker, stop-worker, oom-worker (only clients
/// with something under way may), kill-worker-master, kill-master-worker (the same, with the master up to 300 ms before
/// or after); kill-master, stop-master, kill-feeder, stop-feeder, kill-both, stop-both (none may be closed).
/// Exit code 1: a promise is broken, and the last lines say which.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct Options {
    /// Clients.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=19_000))]
    clients: u32,
    /// Events in this order, each as often as `*N` says.
    #[arg(long, value_delimiter = ',', default_value = "usr2,kill-worker,kill-master,kill-feeder")]
    events: Vec<Times>,
    /// Shuffle the events.
    #[arg(long)]
    shuffle: bool,
    /// Seed of what is random in the order of events and in their victims.
    #[arg(long)]
    seed: Option<u64>,
    /// Time after an event until the next one; half as much at least, half as much again at most with --shuffle.
    #[arg(long, default_value = "3s", value_parser = duration)]
    settle: Duration,
    /// The daemon's program; by default the one beside this one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Control socket of a daemon that runs; it needs a channel `news`, an admin port, and no limits.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// More configuration for the daemon that is started.
    #[arg(long)]
    config: Option<String>,
    /// Workers of the daemon that is started.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// What `upgrade` upgrades to; by default a copy of the daemon's program.
    #[arg(long)]
    upgrade: Option<String>,
    /// Milliseconds between two prices.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    tick: u32,
    /// Clients that hear every price, by which silence is measured.
    #[arg(long, default_value_t = 100)]
    probes: u32,
    /// Longest silence at one of them in milliseconds; a longer one is a fault.
    #[arg(long)]
    silence: Option<u32>,
    /// Percent of the clients that talk.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(0..=100))]
    talkers: u8,
    /// Mean time between two acts of such a client.
    #[arg(long, default_value = "2s", value_parser = duration)]
    talk: Duration,
    /// Percent of the clients that are cut.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    cutters: u8,
    /// Mean time between two cuts of such a client.
    #[arg(long, default_value = "8s", value_parser = duration)]
    cut: Duration,
    /// Mean time between a cut and the comeback.
    #[arg(long, default_value = "500ms", value_parser = duration)]
    away: Duration,
    /// POSTs a second, for random users.
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    quotes: f64,
    /// Messages a second on the channel and in the rooms.
    #[arg(long, default_value_t = 4.0, value_parser = rate)]
    news: f64,
    /// Chat rooms; every fifth main session is in one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    rooms: u32,
    /// Threads of the clients.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=32))]
    threads: u16,
    /// Handshakes at the same time, for each thread.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    open_inflight: u32,
    /// Do not print a line after each event.
    #[arg(long)]
    quiet: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn clients(&self) -> u32 {
        self.clients
    }

    fn order(&self) -> Vec<Kind> {
        if let Some(seed) = self.seed {
            fastrand::seed(seed);
        }
        let mut order: Vec<Kind> =
            self.events.iter().flat_map(|Times(kind, count)| (0..*count).map(|_| *kind)).collect();
        if self.shuffle {
            fastrand::shuffle(&mut order);
        }
        order.truncate(world::EPOCHS - 1);
        order
    }
}

pub(crate) async fn run(options: &Options) -> Result<Chaos, String> {
    let beside = std::env::current_exe().map(|path| path.with_file_name("btc-cluster"));
    let beside = beside.map_err(|error| error.to_string())?;
    let binary = options.binary.as_ref().unwrap_or(&beside);
    let daemon = match &options.socket {
        Some(socket) => Daemon::running(binary, socket).await?,
        None => Daemon::start(binary, options.workers, options.tick, options.config.as_deref()).await?,
    };
    let chaos = attack(options, &daemon).await;
    let broken = chaos.as_ref().map_or(true, |chaos| !chaos.good());
    let log = if broken { daemon.log() } else { String::new() };
    let folder = daemon.stop(broken).await;
    limit::remove();
    let mut chaos = chaos.map_err(|error| format!("{error}\n{log}"))?;
    (chaos.folder, chaos.log) = (folder, log);
    Ok(chaos)
}

async fn attack(options: &Options, daemon: &Daemon) -> Result<Chaos, String> {
    let workers = match &options.socket {
        Some(_) => u16::try_from(daemon.pids(Role::Worker).len()).unwrap_or(u16::MAX),
        None => options.workers,
    };
    let begun = Instant::now();
    while !daemon.is_ready(workers.into()).await {
        if begun.elapsed() > JOINING || daemon.is_dead() {
            return Err("the daemon is not ready".to_owned());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let before = usage(daemon.main);
    let world = Arc::new(World::new(daemon.ports.clone(), options.clients));
    let users = Arc::new(shard::users(options.clients));
    let shards = shard::start(&world, &users, options)?;
    until_joined(&world, options.clients, daemon).await?;
    let helpers = help(&world, &users, options);
    let (upgrade, settle) = (options.upgrade.clone(), options.settle);
    let mut actor = Actor { world: world.clone(), daemon, workers, now: workers, upgrade, settle };
    let rows = do_all(&mut actor, options).await;
    world.phase.send_replace(Phase::Calm);
    actor.restore().await;
    sleep(QUIET).await;
    for helper in helpers {
        if let Ok(Ok(Err(error))) = timeout(Duration::from_secs(20), helper).await {
            return Err(error);
        }
    }
    let connected = world.connected();
    world.phase.send_replace(Phase::Over);
    for shard in shards {
        let _ = tokio::task::spawn_blocking(move || shard.join()).await;
    }
    let after = until_left(daemon, before.1).await;
    blame(&world, &users);
    let rows = rows.into_iter().enumerate().map(|(epoch, (row, dirty))| finish(&world, epoch, row, &dirty));
    let spare = SPARE * daemon::processes(daemon.main).len();
    Ok(Chaos {
        clients: options.clients,
        workers,
        silence: options.silence,
        rows: rows.collect(),
        connected,
        absent: u32::try_from(world.absent.load(Ordering::Acquire)).unwrap_or(u32::MAX),
        descriptors: (before.1, after.1),
        leaked: !daemon.is_dead() && after.1 > before.1 + spare,
        rss_bytes: (before.0, after.0),
        told: world.told(),
        log: String::new(),
        folder: None,
    })
}

/// Does all events, until the daemon ends. The rows with their dirty clients.
async fn do_all(actor: &mut Actor<'_>, options: &Options) -> Vec<(Row, BTreeSet<u32>)> {
    let mut rows = vec![calm(actor).await];
    for kind in options.order() {
        if options.shuffle {
            actor.settle = options.settle.mul_f64(0.5 + fastrand::f64());
        }
        let (row, dirty) = actor.act(kind).await;
        if !options.json && !options.quiet {
            report::progress(&row, &actor.world.noticed(actor.world.epoch()));
        }
        rows.push((row, dirty));
        if actor.daemon.is_dead() {
            break;
        }
    }
    rows
}

async fn until_joined(world: &World, clients: u32, daemon: &Daemon) -> Result<(), String> {
    let begun = Instant::now();
    while world.joined.load(Ordering::Acquire) < clients as usize {
        if begun.elapsed() > JOINING || daemon.is_dead() {
            let (joined, refused) = (world.joined.load(Ordering::Acquire), world.noticed(0).refused);
            return Err(format!("{joined} of {clients} clients got in; refused: {refused:?}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

type Helper = tokio::task::JoinHandle<Result<(), String>>;

fn help(world: &Arc<World>, users: &Arc<Users>, options: &Options) -> Vec<Helper> {
    let mut helpers = Vec::new();
    if options.quotes > 0.0 {
        let (world, users, rate) = (world.clone(), users.clone(), options.quotes);
        helpers.push(spawn_local(async move {
            ask_all(world, users, rate).await;
            Ok(())
        }));
    }
    if options.news > 0.0 {
        // The channel has as many messages as all rooms together.
        let news = std::iter::once("news".to_owned());
        let channels: Vec<String> = (0..options.rooms.max(1))
            .flat_map(|room| news.clone().chain(shard::room(room, options.rooms)))
            .collect();
        helpers.push(spawn_local(publish_all(world.clone(), Rc::from(channels), options.news)));
    }
    helpers
}

/// What is noticed without any event.
async fn calm(actor: &Actor<'_>) -> (Row, BTreeSet<u32>) {
    // Opening many sessions makes pauses: they are not measured.
    actor.world.next_epoch();
    let mut row = Row::new(Kind::Calm);
    row.second = actor.world.start.elapsed().as_secs_f64();
    row.connected = actor.world.connected();
    sleep(actor.settle.max(Duration::from_secs(2))).await;
    row.took_ms = Some(0);
    (row.rss_bytes, row.descriptors) = usage(actor.daemon.main);
    (row, BTreeSet::new())
}

/// Waits until the daemon has as few descriptors as before, or no fewer for a while; its memory and descriptors then.
async fn until_left(daemon: &Daemon, descriptors: usize) -> (u64, usize) {
    let begun = Instant::now();
    let (mut least, mut since) = (usize::MAX, begun);
    loop {
        let (memory, open) = usage(daemon.main);
        if open < least {
            (least, since) = (open, Instant::now());
        }
        if open <= descriptors || since.elapsed() > STILL || begun.elapsed() > LEAVING {
            return (memory, open);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Attributes faults of quotes to the events in which they were posted.
fn blame(world: &World, users: &Users) {
    let ledger = world::lock(&world.ledger);
    let clients = |user: u32| users.clients.get(user as usize).map_or(&[][..], Vec::as_slice);
    let owner = |client: u32| users.owners.get(client as usize).copied().flatten().unwrap_or(u32::MAX);
    for (moment, user, fault) in ledger.faults(clients, owner) {
        world.tell("quote", || {
            let sorts =
                clients(user).iter().map(|client| (client, habit::sort(*client), ledger.last(*client)));
            let second = (moment - world.start).as_secs_f64();
            let (sorts, quote) = (sorts.collect::<Vec<_>>(), ledger.quote(user, moment));
            format!("of {second:.2} s, user {user}: {fault:?}; {}; {sorts:?}", quote.unwrap_or_default())
        });
        world.notice_at(world.epoch_at(moment), |noticed| match fault {
            Fault::Lost { sessions, lie } => {
                noticed.quotes.lost += sessions;
                noticed.lies += u32::from(lie);
            }
            Fault::Doubled => noticed.quotes.doubled += 1,
            Fault::Denied => noticed.denied += 1,
        });
    }
}

/// The row of an event with all that was noticed. The first epoch, in which clients come, has none.
fn finish(world: &World, at: usize, mut row: Row, dirty: &BTreeSet<u32>) -> Row {
    let epoch = at + 1;
    row.noticed = world.noticed(epoch);
    let closed = world.closed_in(epoch);
    row.dirty = u32::try_from(dirty.len()).unwrap_or(u32::MAX);
    row.noticed.under_way = u32::try_from(closed.intersection(dirty).count()).unwrap_or(u32::MAX);
    for client in closed.difference(dirty).filter(|_| row.event.class() == Class::Worker) {
        world.tell("closed with nothing under way", || {
            format!("{at}. {} ({}): {} ({:?})", row.event, row.detail, client, habit::sort(*client))
        });
    }
    (row.silence_ms, row.answer_ms) = world.longest(epoch);
    let (from, to) = world.span(epoch);
    row.accepted = world::lock(&world.ledger).between(from, to).0;
    row
}
