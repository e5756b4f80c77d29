//! The life of the master and its one loop.

use super::announcer::Announcer;
use super::certificates::{self, Tls};
use super::children::Children;
use super::control_socket::{ControlSocket, refuse_second};
use super::core::Master;
use super::directory::Directory;
use super::event::Event;
use super::feed::Feed;
use super::handovers::Handovers;
use super::in_force::{InForce, Next};
use super::key_set::Keys;
use super::moves::Moves;
use super::past::{Past, Renewal};
use super::placing::Placing;
use super::predecessor;
use super::refusals::Refusals;
use super::revocations;
use super::roles::Keeper;
use super::rooms::{self, Rooms};
use super::router::{Rates, Router};
use super::service::{AllFailed, Phase, Service};
use super::upgrade::Inheritance;
use super::upgrades::Upgrades;
use super::watching::Watching;
use crate::config::{Faults, Source};
use crate::net::listen::Listeners;
use crate::net::tls::certificates::Certificates;
use crate::os::clock;
use crate::os::loops::{LoopEnded, Loops};
use crate::os::memory::Spare;
use crate::os::notify::Notification;
use crate::os::signals::Signal;
use crate::protocol::attach_line;
use crate::protocol::cluster::{ToFeeder, ToWorker};
use crate::protocol::keeper::{Begin, FromKeeper};
use crate::protocol::line::{Hearing, Line};
use crate::stats::{Ledger, When};
use crate::supervisor::{Fleet, Spawner};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
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
    /// Every fault of the configuration.
    Configuration(Faults),
    /// A listening socket cannot be had.
    Listen(io::Error),
    /// The control socket cannot be had.
    Control(io::Error),
    /// The system refuses something basic.
    Io(io::Error),
    /// All workers were given up.
    AllFailed,
    /// Something that must run for as long as the master lives does not.
    Loop(LoopEnded),
    /// Revoked tokens would come in: their file cannot be read.
    Revocations(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(faults) => faults.fmt(f),
            Self::Listen(error) | Self::Io(error) => error.fmt(f),
            Self::Control(error) => write!(f, "control.socket: {error}"),
            Self::Loop(ended) => ended.fmt(f),
            Self::Revocations(why) => write!(f, "{why}; without this file, revoked tokens are good again"),
            Self::AllFailed => f.write_str("all workers died too often and were given up"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// The daemon could not start, or could not go on.
pub fn run(source: Source) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let runtime = runtime.map_err(Failure::Io)?;
    let result = runtime.block_on(live(source));
    // A look at the control socket is not waited for: its file system may hang.
    runtime.shutdown_background();
    result
}

async fn live(source: Source) -> Result<(), Failure> {
    let mut loops = Loops::default();
    let (line, mut hearing) = attach_line(&mut loops).map_err(Failure::Io)?;
    let files = crate::os::process::raise_open_files();
    let lost = |error| Failure::Io(io::Error::other(error));
    let (begin, held) = predecessor::begin(&mut hearing).await.map_err(lost)?;
    let (left, mut held) = Inheritance::of(held);
    let mut past = Past::take(&mut held, &line).map_err(Failure::Io)?;
    if begin.before.is_none() {
        past.restart();
    } else if left.is_left() {
        past.replace_processes();
    }
    let (loaded, revision) = past.configuration(&source).map_err(Failure::Configuration)?;
    crate::log::init(&loaded.config.log, "master");
    past.read_revocations(&loaded.config, begin.before.is_none()).await.map_err(Failure::Revocations)?;
    let pairs = certificates::InForce::left(&past.state.tls);
    let certificates = pairs.read(&loaded).map_err(Failure::Configuration)?;
    past.log();
    for warning in &loaded.warnings {
        tracing::warn!(event = "configuration", %warning);
    }
    if !left.is_given() {
        predecessor::log(begin.before.as_ref());
    }
    let socket = loaded.config.control.socket.clone();
    // Before the ports: that they are in use is true, too, but says less.
    refuse_second(&socket).await.map_err(Failure::Control)?;
    let sockets = Listeners::bind(&loaded.config, &line, held).await.map_err(Failure::Listen)?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let teller = events.clone();
    crate::log::rotate(&loaded.config.log, move || teller.try_send(Event::LogRotated).is_ok());
    let control = ControlSocket::start(&socket, events.clone()).await.map_err(Failure::Control)?;
    let watcher = Watching::start(source.clone(), loaded.clone(), pairs.clone()).map_err(Failure::Io)?;
    let mut in_force = InForce::new(source, Next::new(loaded, Certificates::default()), sockets, files);
    in_force.resume(revision, &past.state.reloads, past.state.life.reloading);
    let mut tls = Tls::new(pairs, &past.state.tls);
    tls.adopt(certificates);
    let mut master = Master::new((in_force, tls), events, past, (line.clone(), &begin));
    master.tell_tls();
    master.tell_revocations();
    master.tell_keys();
    if begin.before.is_some() && matches!(master.service.phase(), Phase::Ready { .. }) {
        // A reload that the master before announced has ended with it: systemd would wait. Else it is nothing new.
        line.notify(&Notification::Ready);
    }
    master.inherit(left, begin.before.map(|before| before.end.to_string()));
    loops.spawn("keeper", hear_keeper(hearing, master.events.clone()));
    let period = begin.beat.map_or(PULSE, |limit| limit.min(PULSE));
    // A master that has lost a loop is replaced; without the keeper there is nothing left to do.
    let result = loops.during(master.work(inbox, watcher, period)).await.map_err(Failure::Loop)?;
    control.remove().await;
    master.revocations.finish().await;
    line.done(u8::from(result.is_err()));
    line.flush().await;
    result
}

/// Brings what the keeper says to the loop, until the keeper has gone.
async fn hear_keeper(mut hearing: Hearing, events: mpsc::Sender<Event>) {
    while let Ok((message, with)) = hearing.next().await {
        if events.send(Event::Keeper(message, with)).await.is_err() {
            return;
        }
    }
}

impl Master {
    /// The master, whose processes have their orders.
    fn new(
        (in_force, tls): (InForce, Tls),
        events: mpsc::Sender<Event>,
        past: Past,
        (line, begin): (Line, &Begin),
    ) -> Self {
        let (now, wall) = (clock::mono(), clock::wall());
        let Past { journal, state, board, .. } = past;
        let config = in_force.config();
        let mut directory = Directory::new(in_force.ceilings());
        directory.configure(config.stats.users, in_force.ceilings());
        let service = match state.config {
            Some(_) => Service::resume(state.life, now),
            None => Service::new(now, wall),
        };
        let mut master = Self {
            fleet: Fleet::new(config.cluster.clone(), fastrand::u64(..), now).after(begin.last_generation),
            children: Children::after(&state.dropped),
            directory,
            moves: Moves::default(),
            placing: Placing::new(config),
            orphans: Default::default(),
            router: Router::new(Rates::of(&config.limits)).after(wall),
            refusals: Refusals::default(),
            rooms: Rooms::new(rooms::Limits::of(&config.chat)),
            announcer: Announcer::new(config, now),
            feed: Feed::new(config, wall),
            handovers: Handovers::default(),
            ledger: Ledger::after(state.dead.clone(), state.alive.clone(), now),
            when: When::new(config.stats.interval),
            service,
            board,
            spare: Spare::default(),
            keeper: Keeper::new(begin),
            spawner: Spawner::new(line.clone()),
            line,
            upgrades: Upgrades::default(),
            tls,
            revocations: revocations::Kept::new(state.revocations.clone(), &config.state),
            keys: Keys::new(&state.keys),
            journal,
            renewal: Renewal::new(begin, now),
            events,
            in_force,
        };
        *master.ledger.own() = state.own.clone();
        master.handovers = serde_json::from_str(&state.handovers).unwrap_or_default();
        master.begin(begin, state);
        master
    }

    async fn work(
        &mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut watcher: Watching,
        period: Duration,
    ) -> Result<(), Failure> {
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
            Event::Heard(from, batch) => self.hear(from, batch),
            Event::Exited(generation, how) => self.exited(generation, &how),
            Event::Asked(asked) => self.asked(asked),
            Event::Keeper(message, with) => self.told(message, with),
            Event::Tried(tried) => self.tried(*tried),
            Event::Balanced(counts) => self.balanced(counts),
            Event::Looked(looks) => self.looked(&looks),
            Event::LogRotated => {
                tracing::info!(event = "log-rotated");
                self.reopen_logs();
            }
            Event::StopNow => self.stop(),
        }
    }

    /// The keeper said something.
    fn told(&mut self, message: FromKeeper, with: Vec<OwnedFd>) {
        match message {
            FromKeeper::Started { generation, pid } => self.started(generation, pid),
            FromKeeper::NotStarted { generation, error } => {
                if let Some(role) = self.spawner.not_started(generation) {
                    self.not_started(role, generation, &error);
                }
            }
            FromKeeper::Exited { generation, end } => self.spawner.exited(generation, end),
            FromKeeper::Signal(number) => {
                self.line.heard(number);
                Signal::of(number).into_iter().for_each(|signal| self.signal(signal));
            }
            FromKeeper::Cells { of, .. } => self.found_cells(of, with),
            FromKeeper::Sockets { of, last, .. } if last => self.found_all(of),
            FromKeeper::Held { .. }
            | FromKeeper::Begin(_)
            | FromKeeper::Link
            | FromKeeper::Sockets { .. }
            | FromKeeper::Unkept { .. } => {
                tracing::debug!(?message, "the keeper said what nobody asked for")
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        tracing::info!(event = "signal", ?signal);
        match signal {
            // systemd sends TERM when the helper of a restart has ended: the daemon ends already, and the keeper tells the
            // next master of a stop that comes while another program takes over.
            Signal::Stop if self.upgrades.is_packing() => {}
            Signal::Stop => self.stop(),
            Signal::Reload => self.reload(None),
            Signal::Replace => {
                let actions = self.fleet.replace_all(clock::mono());
                self.note_fleet();
                self.act(actions);
            }
            Signal::Reopen => {
                crate::log::reopen();
                self.reopen_logs();
            }
        }
    }

    /// Has the other processes open the log file again.
    fn reopen_logs(&mut self) {
        self.children.tell_workers(&ToWorker::ReopenLog);
        self.children.tell_feeders(&ToFeeder::ReopenLog);
    }
}
