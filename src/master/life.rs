//! The life of the master and its one loop.

use super::announcer::Announcer;
use super::children::Children;
use super::control_socket::{ControlSocket, refuse_second};
use super::core::Master;
use super::directory::Directory;
use super::event::Event;
use super::feed::Feed;
use super::handovers::Handovers;
use super::in_force::{InForce, Next};
use super::refusals::Refusals;
use super::rooms::{self, Rooms};
use super::router::Router;
use super::service::{AllFailed, Service};
use super::watching::Watching;
use crate::config::{Loaded, Source};
use crate::net::listen::Listeners;
use crate::os::board::Board;
use crate::os::clock;
use crate::os::memory::Spare;
use crate::os::notify::Notifier;
use crate::os::signals::{Signal, Signals};
use crate::protocol::cluster::{ToFeeder, ToWorker};
use crate::stats::{Ledger, When};
use crate::supervisor::{Fleet, workers};
use futures_util::StreamExt;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

/// The longest pause between two looks after systemd and the children.
const PULSE: Duration = Duration::from_secs(1);
/// Events that may wait. Links wait behind it, and then the workers: nothing is lost.
const EVENTS: usize = 256;

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
/// The daemon could not start, or could not go on.
pub fn run(source: Source, loaded: Loaded) -> Result<(), Failure> {
    // Children are started by this thread: they die with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let runtime = runtime.map_err(Failure::Io)?;
    let result = runtime.block_on(live(source, loaded));
    // A look at the control socket is not waited for: its file system may hang.
    runtime.shutdown_background();
    result
}

async fn live(source: Source, loaded: Loaded) -> Result<(), Failure> {
    let files = crate::os::process::raise_open_files();
    let signals = Signals::master().map_err(Failure::Io)?;
    let socket = loaded.config.control.socket.clone();
    // Before the ports: that they are in use is true, too, but says less.
    refuse_second(&socket).await.map_err(Failure::Control)?;
    let sockets = Listeners::bind(&loaded.config).await.map_err(Failure::Listen)?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let control = ControlSocket::start(&socket, events.clone()).await.map_err(Failure::Control)?;
    let watcher = Watching::start(source.clone(), loaded.clone()).map_err(Failure::Io)?;
    let board = Board::new().map_err(Failure::Io)?;
    let in_force = InForce::new(source, Next::new(loaded), sockets, files);
    let mut master = Master::new(in_force, board, events);
    master.log_listening();
    let workers = workers(&master.in_force.config().cluster);
    let actions = master.fleet.resize(clock::mono(), workers);
    master.act(actions);
    let result = master.work(inbox, signals, watcher).await;
    control.remove().await;
    result
}

impl Master {
    fn new(in_force: InForce, board: Board, events: mpsc::Sender<Event>) -> Self {
        let (now, wall) = (clock::mono(), clock::wall());
        let config = in_force.config();
        let mut directory = Directory::new(in_force.ceilings());
        directory.configure(config.stats.users, in_force.ceilings());
        Self {
            fleet: Fleet::new(config.cluster.clone(), fastrand::u64(..), now),
            children: Children::default(),
            directory,
            router: Router::new(config.limits.quotes_per_user),
            refusals: Refusals::default(),
            rooms: Rooms::new(rooms::Limits::of(&config.chat)),
            announcer: Announcer::new(config, now),
            feed: Feed::new(config, wall),
            handovers: Handovers::default(),
            ledger: Ledger::default(),
            when: When::new(config.stats.interval),
            service: Service::new(now, wall),
            board,
            spare: Spare::default(),
            notifier: Notifier::new(),
            events,
            in_force,
        }
    }

    async fn work(
        &mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut signals: Signals,
        mut watcher: Watching,
    ) -> Result<(), Failure> {
        let period = self.notifier.watchdog_interval().map_or(PULSE, |limit| limit.min(PULSE));
        let mut second = interval(period);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            if let Some(end) = self.service.is_over() {
                break end;
            }
            let wake = clock::instant(self.next_deadline(clock::mono()));
            tokio::select! {
                event = inbox.recv() => {
                    if let Some(event) = event {
                        self.on(event);
                    }
                    // Events that came meanwhile are heard before anything is written: many answers leave together.
                    for _ in 0..EVENTS {
                        let Ok(event) = inbox.try_recv() else { break };
                        self.on(event);
                    }
                }
                Some(signal) = signals.next() => self.signal(signal),
                _ = second.tick() => self.pulse(clock::mono()),
                read = watcher.next(), if self.in_force.reloads.candidate().is_none() => self.loaded(read),
                () = sleep_until(wake.into()) => {}
            }
            self.tick(clock::mono());
            self.in_force.watched(watcher.trouble());
            watcher.pause(self.in_force.reloads.candidate().is_some());
            if self.in_force.reloads.take_wish() {
                watcher.ask();
            }
        };
        end.map_err(|AllFailed| Failure::AllFailed)
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
                self.children.tell_workers(&ToWorker::ReopenLog);
                self.children.tell_feeders(&ToFeeder::ReopenLog);
            }
        }
    }
}
