//! The life of the master and its one loop.

use super::children::Children;
use super::control::{self, Asked};
use super::core::{Master, workers};
use super::directory::Directory;
use super::lines::Lines;
use super::peers;
use super::reload::{Reloads, to_json};
use super::rooms::Rooms;
use super::router::Router;
use crate::config::{Loaded, Source, Watcher};
use crate::net::kept::Kept;
use crate::net::listen::Listeners;
use crate::os::board::Board;
use crate::os::clock;
use crate::os::notify::Notifier;
use crate::os::signals::{Signal, Signals};
use crate::protocol::cluster::{Generation, Port};
use crate::protocol::link::Batch;
use crate::stats::{Ledger, When};
use crate::supervisor::Fleet;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

/// What a worker opens for itself: sockets, links, the runtime's, and some connections that only ask.
const OWN_FILES: u64 = 32;
/// How often the master looks after itself, systemd and its children at the least.
const PULSE: Duration = Duration::from_secs(1);
/// Events that may wait. Links wait behind it, and then the workers: nothing is lost.
const EVENTS: usize = 256;

/// Something that happened.
pub(super) enum Event {
    /// A child said something.
    Heard(Generation, Batch),
    /// A child ended.
    Exited(Generation, String),
    /// Somebody asks through the control socket.
    Asked(Asked),
    /// The time for balancers is over.
    StopNow,
}

/// Why the daemon did not start, or ended.
#[derive(Debug)]
pub enum Failure {
    /// A listening socket cannot be had.
    Listen(io::Error),
    /// The control socket cannot be had.
    Control(io::Error),
    /// The system refuses something basic.
    Io(io::Error),
    /// All workers were given up.
    AllFailed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) | Self::Io(error) => error.fmt(f),
            Self::Control(error) => write!(f, "control.socket: {error}"),
            Self::AllFailed => f.write_str("all workers died too often and were given up"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It could not start, or could not go on.
pub fn run(source: Source, loaded: Loaded) -> Result<(), Failure> {
    // Children are started by this thread: they die with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    runtime.map_err(Failure::Io)?.block_on(live(source, loaded))
}

async fn live(source: Source, loaded: Loaded) -> Result<(), Failure> {
    let files = crate::os::process::raise_open_files();
    let signals = Signals::master().map_err(Failure::Io)?;
    let socket = loaded.config.control.socket.clone();
    // Before the ports: that they are in use is true, too, but says less.
    control::refuse_second(&socket).await.map_err(Failure::Control)?;
    let sockets = Listeners::bind(&loaded.config).await.map_err(Failure::Listen)?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let control = control::listen(&socket).await.map_err(Failure::Control)?;
    tokio::spawn(control::serve(control, events.clone()));
    let watcher = Watcher::start(source.clone(), &loaded);
    let board = Board::new().map_err(Failure::Io)?;
    let mut master = Master::new(source, loaded, (sockets, board), files, events);
    master.log_listening();
    let actions = master.fleet.resize(clock::mono(), workers(&master.config));
    master.act(actions);
    let result = master.work(inbox, signals, watcher).await;
    let _ = std::fs::remove_file(&socket);
    result
}

impl Master {
    fn new(
        source: Source,
        loaded: Loaded,
        ((listeners, kept), board): ((Listeners, Kept), Board),
        files: u64,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let config = Arc::new(loaded.config.clone());
        let now = clock::mono();
        let mut directory = Directory::new(ceiling(files, workers(&config)));
        directory.rank_users(config.stats.users);
        Self {
            source,
            config_json: to_json(&config),
            loaded,
            revision: 1,
            listeners: Arc::new(listeners),
            kept,
            board,
            fleet: Fleet::new(config.cluster.clone(), fastrand::u64(..), now),
            children: Children::default(),
            directory,
            router: Router::new(config.limits.quotes_per_user),
            rooms: Rooms::new(peers::limits(&config)),
            present: peers::Present::default(),
            ledger: Ledger::default(),
            when: When::new(config.stats.interval),
            heartbeat: now,
            prices: BTreeMap::new(),
            candles: BTreeMap::new(),
            lines: Lines::of(&config),
            numbers: BTreeMap::new(),
            origins: BTreeMap::new(),
            states: BTreeMap::new(),
            real_before: false,
            sources: "[]".into(),
            refused: BTreeMap::new(),
            reloads: Reloads::default(),
            started: now,
            heard: now,
            started_wall: clock::wall().0,
            notifier: Notifier::new(),
            told_ready: false,
            stopping: false,
            over: None,
            events,
            status: String::new(),
            config,
        }
    }

    async fn work(
        &mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut signals: Signals,
        mut watcher: Watcher,
    ) -> Result<(), Failure> {
        let period = self.notifier.watchdog_interval().map_or(PULSE, |limit| limit.min(PULSE));
        let mut second = interval(period);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.over.is_none() {
            let wake = clock::instant(self.next_deadline(clock::mono()));
            tokio::select! {
                event = inbox.recv() => {
                    if let Some(event) = event {
                        self.on(event);
                    }
                    // What came meanwhile is heard before anything is written: answers to many leave together.
                    for _ in 0..EVENTS {
                        let Ok(event) = inbox.try_recv() else { break };
                        self.on(event);
                    }
                }
                Some(signal) = signals.next() => self.signal(signal),
                _ = second.tick() => self.pulse(clock::mono()),
                read = watcher.changed(), if !self.reloads.on_trial() => self.loaded(read),
                () = sleep_until(wake.into()) => {}
            }
            self.tick(clock::mono());
            self.reloads.watched(watcher.trouble());
            if self.reloads.take_wish() {
                watcher.ask();
            }
        }
        if self.over == Some(true) { Ok(()) } else { Err(Failure::AllFailed) }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Heard(from, mut batch) => self.hear(from, &mut batch),
            Event::Exited(generation, how) => self.exited(generation, &how),
            Event::Asked(asked) => self.asked(asked),
            Event::StopNow => self.stop(),
        }
    }

    fn signal(&mut self, signal: Signal) {
        tracing::info!(event = "signal", ?signal);
        match signal {
            Signal::Stop => self.stop(),
            Signal::Reload => self.reload(None),
            Signal::Replace => {
                let actions = self.fleet.replace_all(clock::mono());
                self.act(actions);
            }
            Signal::Reopen => {
                crate::log::reopen();
                self.children.reopen_logs();
            }
        }
    }

    /// Says where it listens.
    pub(super) fn log_listening(&self) {
        for port in [Port::Http, Port::Ws, Port::Admin] {
            for address in self.addresses(port) {
                tracing::info!(event = "listening", port = ?port, address);
            }
        }
    }

    /// Once every worker that will be is there: ready for systemd, and a word to whoever started us by hand.
    pub(super) fn tell_when_all_ready(&mut self) {
        use crate::supervisor::State;
        let rows = self.fleet.rows();
        let mut workers = rows.iter().filter(|row| row.role.worker().is_some()).peekable();
        let pending = |state| matches!(state, State::Starting | State::Backoff);
        if self.told_ready || workers.peek().is_none() || workers.any(|row| pending(row.state)) {
            return;
        }
        self.told_ready = true;
        self.notifier.ready();
        let first = |port| self.addresses(port).into_iter().next();
        let http = first(Port::Http).map(|a| format!("http://{a}")).unwrap_or_default();
        tracing::info!(
            event = "ready",
            page = http,
            websocket = first(Port::Ws),
            admin = first(Port::Admin),
            "open {http} in a browser; `btc-cluster ctl status` tells the rest"
        );
    }
}

/// `limits.sessions = 0`: 95 % of what the descriptors of all workers allow. So the next client is told that it is full,
/// and a probe still gets its answer, before descriptors are used up.
fn ceiling(files: u64, workers: u16) -> u32 {
    let each = files.saturating_sub(OWN_FILES).saturating_mul(95) / 100;
    u32::try_from(each.saturating_mul(u64::from(workers))).unwrap_or(u32::MAX)
}
