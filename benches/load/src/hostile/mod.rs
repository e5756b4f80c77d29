//! One client without any right takes what it can get, while twenty users with pages, newcomers and a balancer go on.
//! What do they notice, and what remains of it?

mod attack;
mod healthy;

use crate::options::Ports;
use crate::report::{Latency, as_f64, counts};
use crate::units::duration;
use crate::usage::Family;
use attack::Attack;
use healthy::{Away, Room, Tally, Town};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Most time of an attack.
const LONGEST: Duration = Duration::from_secs(120);
/// Time of the users alone, before the attack.
const BEFORE: Duration = Duration::from_secs(2);
/// Pause between two looks at the memory.
const LOOK: Duration = Duration::from_millis(100);

/// One client attacks, twenty users go on: what do they notice, and what remains of it?
///
/// The daemon runs with its defaults. Users are asked for quotes five times a second each; every 100 ms a newcomer opens
/// a session and enters a room, and a balancer asks for health, over connections of their own. Ten users are away
/// during the attack and come back after it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What the attacker does.
    #[arg(value_enum)]
    attack: Attack,
    #[command(flatten)]
    pub(crate) ports: Ports,
    /// The attacker's address, of this machine.
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
    /// Users.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=200))]
    users: u32,
    /// For how long the attacker holds connections.
    #[arg(long, default_value = "5s", value_parser = duration)]
    hold: Duration,
    /// Time from the attacker's leaving to the last look at the memory.
    #[arg(long, default_value = "15s", value_parser = duration)]
    rest: Duration,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Measured {
    users: Tally,
    newcomers: Tally,
    health: Tally,
}

/// Bytes before, at most, and after.
#[derive(Debug, Default, Serialize)]
struct Bytes {
    before: u64,
    peak: u64,
    after: u64,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    answered: usize,
    latency: Latency,
    other: BTreeMap<String, u32>,
}

impl From<Tally> for Outcome {
    fn from(tally: Tally) -> Self {
        Self { answered: tally.times.len(), latency: Latency::of(tally.times), other: tally.other }
    }
}

/// The report of `hostile`.
#[derive(Debug, Serialize)]
pub(crate) struct Hostile {
    attack: Attack,
    attacker: attack::Seen,
    seconds: f64,
    users: Outcome,
    newcomers: Outcome,
    health: Outcome,
    /// Of those who were away.
    came_back: u32,
    away: u32,
    /// Messages of a quiet room that are still there.
    room_kept: u32,
    /// All processes (PSS).
    memory: Bytes,
    /// Buffers of TCP sockets of the whole machine.
    kernel: Bytes,
}

pub(crate) async fn run(options: &Options, master: u32) -> Result<Hostile, String> {
    if !options.from.is_loopback() {
        return Err(format!("--from {}: only addresses of this machine", options.from));
    }
    let town = Rc::new(Town {
        ports: Rc::new(options.ports.clone()),
        measured: RefCell::default(),
        over: Cell::new(false),
    });
    let mut away = Vec::new();
    for index in 0..10 {
        away.push(Away::go(&town, index).await?);
    }
    let room = Room::begin(&town).await?;
    let (mut memory, mut kernel) = look(master);
    let mut people = JoinSet::new();
    (0..options.users).for_each(|index| drop(people.spawn_local(healthy::user(town.clone(), index))));
    people.spawn_local(healthy::newcomers(town.clone()));
    people.spawn_local(healthy::health(town.clone()));
    sleep(BEFORE).await;
    let begun = Instant::now();
    town.measured.take();
    let running = attack::start(options.attack, &options.ports, options.from, options.hold);
    while !running.is_done() && begun.elapsed() < LONGEST {
        sleep(LOOK).await;
        let (pss, tcp) = look(master);
        memory.peak = memory.peak.max(pss.before);
        kernel.peak = kernel.peak.max(tcp.before);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let Measured { users, newcomers, health } = town.measured.take();
    let attacker = running.stop();
    town.over.set(true);
    let _ = timeout(Duration::from_secs(10), async { while people.join_next().await.is_some() {} }).await;
    people.shutdown().await;
    let (count, mut came_back) = (away.len(), 0);
    for user in away {
        came_back += u32::from(user.come_back(&town).await);
    }
    let room_kept = room.kept(&town).await;
    sleep(options.rest).await;
    let after = look(master);
    (memory.after, kernel.after) = (after.0.before, after.1.before);
    Ok(Hostile {
        attack: options.attack,
        attacker,
        seconds,
        users: users.into(),
        newcomers: newcomers.into(),
        health: health.into(),
        came_back,
        away: u32::try_from(count).unwrap_or(u32::MAX),
        room_kept,
        memory,
        kernel,
    })
}

/// Memory of the daemon and of the kernel's TCP buffers, as `before`.
fn look(master: u32) -> (Bytes, Bytes) {
    let pss = Family::of(master).pss().unwrap_or_default();
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let pages =
        text.split("mem ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let tcp = pages.unwrap_or_default() * rustix::param::page_size() as u64;
    let bytes = |before| Bytes { before, ..Bytes::default() };
    (bytes(pss), bytes(tcp))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered, {}", self.answered, self.latency)?;
        if self.other.is_empty() { Ok(()) } else { write!(f, "; {}", counts(&self.other)) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes| as_f64(bytes) / f64::from(1 << 20);
        write!(f, "{:.1} -> {:.1} -> {:.1} MiB", mib(self.before), mib(self.peak), mib(self.after))
    }
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "attack      {:?}, {:.1} s: {}", self.attack, self.seconds, counts(&self.attacker))?;
        writeln!(f, "users       {}", self.users)?;
        writeln!(f, "newcomers   {}", self.newcomers)?;
        writeln!(f, "health      {}", self.health)?;
        writeln!(f, "came back   {} of {}", self.came_back, self.away)?;
        writeln!(f, "quiet room  {} of {} messages kept", self.room_kept, Room::MESSAGES)?;
        writeln!(f, "memory      {} (before, peak, after)", self.memory)?;
        writeln!(f, "kernel TCP  {}", self.kernel)
    }
}
