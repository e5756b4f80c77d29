//! The language of the lines: what the keeper hears from the processes that it started, and what it says to them.
//!
//! A line is a Unix socket pair between the keeper and one process, which has its end as standard input. The framing is
//! that of a link. The keeper may be older than whoever speaks to it: variants are added at the end, fields never.

use super::role::{Generation, Role};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// The version of this language.
pub const VERSION: u32 = 1;

/// The name of the argument by which the keeper starts each process, before the word of its role.
pub const SUBCOMMAND: &str = "internal";

/// The variable in which a process reads the process id of its keeper.
pub const PARENT: &str = "BTC_CLUSTER_PARENT";

/// The variable that says to a master that systemd stores descriptors.
pub const STORE: &str = "BTC_CLUSTER_STORE";

/// The name under which the keeper holds the pack of a worker that has ended, which the next master gets. Its sockets
/// are nobody's to adopt: they belong to the pack.
#[must_use]
pub fn pack_name(of: Generation) -> String {
    format!("{PACK}{of}")
}

/// The worker whose pack has that name.
#[must_use]
pub fn packed_by(name: &str) -> Option<Generation> {
    name.strip_prefix(PACK)?.parse().ok()
}

const PACK: &str = "pack/";

/// Variables by which systemd speaks to its main process, the keeper, alone.
pub const KEEPERS_OWN: [&str; 8] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "MAINPID",
];

/// Said to the keeper. Only the newest master may say what stands before [`ToKeeper::Keep`], and [`ToKeeper::Heard`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToKeeper<'a> {
    /// Start a process. One descriptor: its end of its link. Answered by [`FromKeeper::Started`] or
    /// [`FromKeeper::NotStarted`].
    Start { generation: Generation, role: Role },
    /// Give a living process another link. One descriptor: its end of it.
    Relink { generation: Generation },
    /// Send KILL. The exit is told as any other.
    Kill { generation: Generation },
    /// A sign of life. Without another one within this time the master is killed and replaced. `well`: the daemon is of
    /// use, and systemd's watchdog is fed.
    Beat { within: Duration, well: bool },
    /// Hold a descriptor for the next master, instead of the one of that name. One descriptor.
    Hold { name: &'a str },
    /// Close everything that is held under that name.
    Release { name: &'a str },
    /// Pass a message on to systemd, with its descriptors.
    Notify { text: &'a str },
    /// The daemon serves: from now on it survives the death of its master. A later master says it, too, once it leads:
    /// the daemon ends when many in a row do not get as far.
    Serving,
    /// The daemon ends with this status when all processes have gone.
    Done { status: u8 },
    /// Keep a spare of a session's socket, by the number that it has in the speaker's table. One descriptor.
    Keep { key: u32 },
    /// Close such a spare.
    Drop { key: u32 },
    /// Keep the memory file of the speaker's crash cover. One descriptor.
    Cells,
    /// Hand over what another process left: its cells, then its sockets. Answered by one [`FromKeeper::Cells`], if
    /// there are some, and one or more [`FromKeeper::Sockets`]. `keys`: `None` is all. The keeper goes on holding
    /// them, until [`ToKeeper::Forget`].
    Fetch { request: u64, of: Generation, keys: Option<Vec<u32>> },
    /// Close sockets that another process left (their copies elsewhere stay open); `None`: all, and the cells.
    Forget { of: Generation, keys: Option<Vec<u32>> },
    /// The master has heard a signal: the next one need not hear it, too.
    Heard { signal: i32 },
    /// Another program takes over; only the newest master may say it. One descriptor: the program. All processes are
    /// killed, the speaker too; then a master and all others are started from that program. If it does not say
    /// [`ToKeeper::Serving`] within this time after its start, or ends before, the one before it is in use again.
    Switch { within: Duration },
    /// The program in use has proven itself: the one before is forgotten. Only the newest master may say it.
    Settled,
    /// Keep a spare of each of some sockets, as [`ToKeeper::Keep`] does: as many descriptors.
    KeepAll { keys: Vec<u32> },
    /// All processes are killed, packs and sockets are left with systemd, and the daemon ends. Only the newest master
    /// may say it.
    Store,
    /// Another program takes over from living processes; only the newest master may say it. One descriptor: the program.
    /// The speaker is killed, and a master of that program is started, as are all processes from then on. If it gives no
    /// beat within this time, or ends before it says [`ToKeeper::Serving`], the one before it is in use again.
    Succeed { within: Duration },
    /// The program in use gives way to the one before it, which goes on with the living processes. The speaker, a master
    /// that follows [`ToKeeper::Succeed`] and has not said [`ToKeeper::Serving`], is killed.
    GiveBack,
}

/// Said by the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromKeeper {
    /// To a new master, before [`FromKeeper::Begin`], for each descriptor that is held. One descriptor.
    Held { name: Box<str> },
    /// To a new master.
    Begin(Begin),
    /// A process has been started.
    Started { generation: Generation, pid: u32 },
    /// A process could not be started, and why.
    NotStarted { generation: Generation, error: Box<str> },
    /// A process has ended.
    Exited { generation: Generation, end: End },
    /// The keeper was sent this signal, for the master.
    Signal(i32),
    /// To any other process: the first link to its master, or the one that takes its place. One descriptor.
    Link,
    /// The cells that a process left. One descriptor.
    Cells { request: u64, of: Generation },
    /// Sockets that a process left, in the order of `keys`: as many descriptors. What was asked for and is in no
    /// message of the answer is not there.
    Sockets { request: u64, of: Generation, keys: Vec<u32>, last: bool },
    /// A spare of this number is not kept: there are as many as there may be.
    Unkept { key: u32 },
}

/// All that a new master must know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// [`VERSION`] of the keeper.
    pub version: u32,
    /// The keeper's process id.
    pub pid: u32,
    /// The longest time between two beats that systemd's watchdog allows.
    pub beat: Option<Duration>,
    /// Processes that live.
    pub children: Vec<Running>,
    /// Processes that have ended and of which sockets or cells are held.
    pub left: Vec<Generation>,
    /// The highest generation that was ever started.
    pub last_generation: Generation,
    /// The last processes that have ended, the newest last. The master before may have heard of them or not.
    pub gone: Vec<(Generation, End)>,
    /// The master before; `None`: this is the first.
    pub before: Option<Before>,
    /// Version of the keeper's program.
    pub program: Box<str>,
}

/// A process that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub generation: Generation,
    pub role: Role,
    pub pid: u32,
}

/// A master that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub pid: u32,
    pub end: End,
    /// Whether the keeper killed it, because it gave no sign of life.
    pub silent: bool,
    /// Masters that have ended, this one included.
    pub deaths: u32,
    /// Time from its end to the start of this one.
    pub pause: Duration,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Exit with this status.
    Status(i32),
    /// Death by a signal.
    Signal {
        /// Number of the signal.
        signal: i32,
        /// Whether a core was written.
        core: bool,
    },
    /// The kernel gave no answer.
    Unknown,
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(code),
            (None, Some(signal)) => Self::Signal { signal, core: status.core_dumped() },
            (None, None) => Self::Unknown,
        }
    }
}

/// `status 1`, `SIGSEGV (core dumped)`
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(code) => write!(f, "status {code}"),
            Self::Signal { signal, core } => {
                match signal_hook::low_level::signal_name(signal) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "signal {signal}")?,
                }
                f.write_str(if core { " (core dumped)" } else { "" })
            }
            Self::Unknown => f.write_str("unknown status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways<'a, M: Serialize + Deserialize<'a>>(message: &M, bytes: &'a mut Vec<u8>) -> M {
        *bytes = postcard::to_allocvec(message).unwrap();
        postcard::from_bytes(bytes).unwrap()
    }

    #[test]
    fn what_is_said_to_the_keeper_is_what_it_hears() {
        let within = Duration::from_millis(5_500);
        for message in [
            ToKeeper::Start { generation: 7, role: Role::Worker(3) },
            ToKeeper::Relink { generation: 7 },
            ToKeeper::Kill { generation: u32::MAX },
            ToKeeper::Beat { within, well: true },
            ToKeeper::Hold { name: "kept/http/[;;];3000" },
            ToKeeper::Release { name: "" },
            ToKeeper::Notify { text: "STATUS=ä" },
            ToKeeper::Serving,
            ToKeeper::Done { status: 78 },
            ToKeeper::Keep { key: 0 },
            ToKeeper::Drop { key: u32::MAX },
            ToKeeper::Cells,
            ToKeeper::Fetch { request: 9, of: 7, keys: Some(vec![1, 2]) },
            ToKeeper::Forget { of: 7, keys: None },
            ToKeeper::Heard { signal: 15 },
            ToKeeper::Switch { within },
            ToKeeper::Settled,
            ToKeeper::KeepAll { keys: vec![3, 4] },
            ToKeeper::Store,
            ToKeeper::Succeed { within },
            ToKeeper::GiveBack,
        ] {
            assert_eq!(both_ways(&message, &mut Vec::new()), message);
        }
    }

    #[test]
    fn what_the_keeper_says_is_what_is_heard() {
        let end = End::Signal { signal: 11, core: true };
        let begin = Begin {
            version: VERSION,
            pid: 1,
            beat: Some(Duration::from_secs(1)),
            children: vec![Running { generation: 4, role: Role::Feeder, pid: 9 }],
            left: vec![3],
            last_generation: 5,
            gone: vec![(5, End::Status(0))],
            before: Some(Before { pid: 8, end, silent: true, deaths: 2, pause: Duration::ZERO }),
            program: "0.1.0".into(),
        };
        for message in [
            FromKeeper::Held { name: "journal".into() },
            FromKeeper::Begin(begin),
            FromKeeper::Started { generation: 4, pid: 9 },
            FromKeeper::NotStarted { generation: 4, error: "no memory".into() },
            FromKeeper::Exited { generation: 4, end: End::Status(1) },
            FromKeeper::Signal(15),
            FromKeeper::Link,
            FromKeeper::Cells { request: 1, of: 4 },
            FromKeeper::Sockets { request: 1, of: 4, keys: vec![5, 6], last: true },
            FromKeeper::Unkept { key: 7 },
        ] {
            assert_eq!(both_ways(&message, &mut Vec::new()), message);
        }
    }

    /// A keeper is as old as the daemon: what it knows keeps its number.
    #[test]
    fn the_numbers_of_the_first_version_stay() {
        let number = |message: &ToKeeper<'_>| postcard::to_allocvec(message).unwrap()[0];
        let start = ToKeeper::Start { generation: 0, role: Role::Feeder };
        let numbers =
            [start, ToKeeper::Serving, ToKeeper::Keep { key: 0 }, ToKeeper::Cells].map(|m| number(&m));
        assert_eq!(numbers, [0, 7, 9, 11]);
        let number = |message: &FromKeeper| postcard::to_allocvec(message).unwrap()[0];
        let numbers = [FromKeeper::Held { name: "".into() }, FromKeeper::Signal(1), FromKeeper::Link]
            .map(|m| number(&m));
        assert_eq!(numbers, [0, 5, 6]);
    }

    #[test]
    fn a_pack_is_known_by_its_name() {
        assert_eq!(packed_by(&pack_name(17)), Some(17));
        for other in ["pack/", "pack/x", "pack/-1", "journal", "kept/http/1"] {
            assert_eq!(packed_by(other), None);
        }
    }

    #[test]
    fn ends_are_told_in_words() {
        let ends = [
            End::Status(3),
            End::Signal { signal: 9, core: false },
            End::Signal { signal: 11, core: true },
            End::Signal { signal: 40, core: false },
        ];
        let words = ends.map(|end| end.to_string());
        assert_eq!(words, ["status 3", "SIGKILL", "SIGSEGV (core dumped)", "signal 40"]);
    }
}
