//! Kinds of events, and how they are written on the command line.

use std::fmt;
use std::str::FromStr;

/// Something that happens to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nothing: what clients notice anyway.
    Calm,
    Usr2,
    ReloadWorkers,
    RestartWorker,
    Move,
    Drain,
    Rebalance,
    Upgrade,
    KillWorker,
    SegvWorker,
    StopWorker,
    OomWorker,
    KillMaster,
    StopMaster,
    KillFeeder,
    StopFeeder,
    KillBoth,
    StopBoth,
    /// A worker, and within a moment the master.
    KillWorkerMaster,
    /// The other way round.
    KillMasterWorker,
}

/// What is promised for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Planned,
    /// A death of the master, of the feeder, or of both.
    Middle,
    /// The death of a worker.
    Worker,
}

const NAMES: [(Kind, &str); 20] = [
    (Kind::Calm, "calm"),
    (Kind::Usr2, "usr2"),
    (Kind::ReloadWorkers, "reload-workers"),
    (Kind::RestartWorker, "restart-worker"),
    (Kind::Move, "move"),
    (Kind::Drain, "drain"),
    (Kind::Rebalance, "rebalance"),
    (Kind::Upgrade, "upgrade"),
    (Kind::KillWorker, "kill-worker"),
    (Kind::SegvWorker, "segv-worker"),
    (Kind::StopWorker, "stop-worker"),
    (Kind::OomWorker, "oom-worker"),
    (Kind::KillMaster, "kill-master"),
    (Kind::StopMaster, "stop-master"),
    (Kind::KillFeeder, "kill-feeder"),
    (Kind::StopFeeder, "stop-feeder"),
    (Kind::KillBoth, "kill-both"),
    (Kind::StopBoth, "stop-both"),
    (Kind::KillWorkerMaster, "kill-worker-master"),
    (Kind::KillMasterWorker, "kill-master-worker"),
];

impl Kind {
    pub(crate) fn class(self) -> Class {
        match self {
            Self::KillWorker | Self::SegvWorker | Self::StopWorker | Self::OomWorker => Class::Worker,
            Self::KillWorkerMaster | Self::KillMasterWorker => Class::Worker,
            Self::KillMaster | Self::StopMaster | Self::KillFeeder | Self::StopFeeder => Class::Middle,
            Self::KillBoth | Self::StopBoth => Class::Middle,
            _ => Class::Planned,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An event, so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times(pub(crate) Kind, pub(crate) u32);

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once('*').unwrap_or((text, "1"));
        let count = count.parse().ok().filter(|count| (1..=1000).contains(count));
        let count = count.ok_or_else(|| format!("{text}: 1 to 1000 times"))?;
        match NAMES.iter().find(|(_, known)| *known == name) {
            Some((kind, _)) => Ok(Self(*kind, count)),
            None => {
                let known: Vec<_> = NAMES.iter().map(|(_, name)| *name).collect();
                Err(format!("{name} is no event: {}", known.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_by_name_and_number() {
        assert_eq!("usr2".parse(), Ok(Times(Kind::Usr2, 1)));
        assert_eq!("kill-worker*20".parse(), Ok(Times(Kind::KillWorker, 20)));
        for bad in ["", "usr", "usr2*0", "usr2*x", "usr2*1001"] {
            assert!(bad.parse::<Times>().is_err(), "{bad}");
        }
        for (kind, name) in NAMES {
            assert_eq!((kind.name(), name.parse()), (name, Ok(Times(kind, 1))));
        }
        assert_eq!(format!("{:>6}", Kind::Move), "  move");
    }
}
