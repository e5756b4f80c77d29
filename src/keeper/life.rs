//! The keeper's one loop: carries events to its decisions, and carries out its deeds. It waits for nothing but
//! `poll(2)`.

use super::core::{Deed, Keeper, Settings, Who};
use super::{spawn, stores};
use crate::model::Mono;
use crate::os::notify::{self, Systemd};
use crate::os::signals::Pending;
use crate::os::{clock, descriptors, process};
use crate::protocol::keeper::{End, ToKeeper};
use crate::protocol::link::{LinkError, PolledLink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Bytes that may wait for a process. One that leaves so many unread is killed.
const WAITING: usize = 1 << 20;
/// Bytes of one read.
const READ: usize = 16 << 10;
/// Reads of one line in one turn: afterwards it is the turn of the others.
const TURNS: usize = 16;
/// The table of descriptors has room for so many from the start, if the limit allows.
const ROOM: u64 = 1 << 16;
/// Descriptors for anything but spares of sockets.
const OWN: u64 = 1_024;

/// A process at the other end of a line.
struct Process {
    pid: u32,
    link: PolledLink,
    /// Nothing more is read or written: the line is broken, and its process killed.
    broken: bool,
}

struct Loop {
    keeper: Keeper<OwnedFd>,
    processes: BTreeMap<Who, Process>,
    systemd: Systemd,
    signals: Pending,
    /// The arguments of each master.
    configuration: Vec<OsString>,
    buffer: Box<[u8]>,
    end: Option<u8>,
}

/// Keeps the daemon until it ends, and returns its status.
///
/// # Errors
/// The system refuses something basic at the start.
pub fn run(configuration: Vec<OsString>) -> io::Result<u8> {
    // First: nothing is opened yet that systemd's descriptors could be taken for.
    let passed = notify::passed();
    let files = process::raise_open_files();
    descriptors::make_room(files.min(ROOM));
    let (mut systemd, (passed, left)) = (Systemd::default(), stores::take(passed));
    stores::clear(&mut systemd);
    let signals = Pending::new()?;
    let sockets = usize::try_from(files.saturating_sub(OWN)).unwrap_or(usize::MAX);
    let settings = Settings { pid: std::process::id(), watchdog: notify::watchdog(), passed, sockets, left };
    let mut all = Loop {
        keeper: Keeper::new(settings, clock::mono()),
        processes: BTreeMap::new(),
        systemd,
        signals,
        configuration,
        buffer: vec![0; READ].into(),
        end: None,
    };
    loop {
        all.keeper.tick(clock::mono());
        all.carry_out();
        if let Some(status) = all.end {
            return Ok(status);
        }
        all.wait()?;
        all.read();
        // Before the exits: Ctrl-C reaches a master, too, and ends it if it has just been started.
        all.hear_signals();
        all.reap();
        all.write();
    }
}

impl Loop {
    /// Waits until something happens or is due.
    fn wait(&self) -> io::Result<()> {
        let mut all = vec![PollFd::from_borrowed_fd(self.signals.socket(), PollFlags::IN)];
        all.extend(self.systemd.socket().map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::OUT)));
        let wanted = self.keeper.wanted_by();
        for (who, process) in self.processes.iter().filter(|(_, process)| !process.broken) {
            let writes = process.link.waiting() > 0 || wanted.contains(who);
            let writes = if writes { PollFlags::OUT } else { PollFlags::empty() };
            all.push(PollFd::from_borrowed_fd(process.link.socket(), PollFlags::IN | writes));
        }
        // Whoever waits for sockets gets the next page as soon as the one before has left.
        let pages = self.keeper.wanted_by().into_iter().any(|who| {
            self.processes.get(&who).is_none_or(|process| process.broken || process.link.waiting() == 0)
        });
        let next = if pages { Some(clock::mono()) } else { self.keeper.next_deadline() };
        let left = next.map(|at| at.since(clock::mono()));
        let left = left.and_then(|left| {
            let seconds = i64::try_from(left.as_secs()).ok()?;
            Some(Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() })
        });
        match poll(&mut all, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hears what all lines brought.
    fn read(&mut self) {
        let all: Vec<_> = self.processes.keys().copied().collect();
        all.into_iter().for_each(|who| self.read_line(who, TURNS));
    }

    /// Reads a line a number of times, or until nothing is there.
    fn read_line(&mut self, who: Who, times: usize) {
        for _ in 0..times {
            let Some(process) = self.processes.get_mut(&who).filter(|process| !process.broken) else {
                return;
            };
            match process.link.receive(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some(None)) => {}
                Ok(Some(Some(mut batch))) => {
                    let now = clock::mono();
                    while let Some(message) = batch.next_with::<ToKeeper<'_>>() {
                        match message {
                            Ok((message, with)) => self.keeper.hear(who, message, with, now),
                            // This process may have no more descriptors: the message is as if it had not been said.
                            Err(LinkError::MissingDescriptors { .. }) => {}
                            Err(_) => return self.broken(who),
                        }
                        self.carry_out();
                    }
                }
                Err(_) => return self.broken(who),
            }
        }
    }

    /// A line is broken. Its process has ended, or is of no use any more.
    fn broken(&mut self, who: Who) {
        if let Some(process) = self.processes.get_mut(&who) {
            process.broken = true;
            process::kill(process.pid, Signal::KILL);
        }
    }

    fn write(&mut self) {
        self.systemd.write();
        for who in self.keeper.wanted_by() {
            // A page at a time, as the process reads.
            if self.processes.get(&who).is_none_or(|process| process.broken || process.link.waiting() == 0) {
                self.keeper.drained(who);
            }
        }
        self.carry_out();
        let all: Vec<_> = self.processes.iter_mut().collect();
        let failed = all.into_iter().filter(|(_, process)| !process.broken && process.link.waiting() > 0);
        let failed: Vec<_> =
            failed.filter_map(|(who, process)| process.link.write().err().map(|_| *who)).collect();
        // What such a process said before its end is still read.
        failed.into_iter().for_each(|who| self.read_line(who, usize::MAX));
    }

    /// Asks after processes that have ended: those that are known, and orphans of others, which the first process of a
    /// container gets.
    fn reap(&mut self) {
        while let Some((pid, status)) = process::ended() {
            let end = End::from(status);
            let found = self.processes.iter().find(|(_, process)| process.pid == pid).map(|(who, _)| *who);
            let Some(who) = found else { continue };
            // Its last words first.
            self.read_line(who, usize::MAX);
            self.processes.remove(&who);
            self.keeper.ended(who, end, clock::mono());
            self.carry_out();
        }
    }

    fn hear_signals(&mut self) {
        for (signal, stops) in self.signals.take() {
            self.keeper.signal(signal, stops, clock::mono());
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            let deeds = self.keeper.deeds();
            if deeds.is_empty() {
                return;
            }
            deeds.into_iter().for_each(|deed| self.carry(deed, clock::mono()));
        }
    }

    fn carry(&mut self, deed: Deed<OwnedFd>, now: Mono) {
        match deed {
            Deed::StartMaster(number, image) => {
                match self.settle(Who::Master(number), spawn::master(&self.configuration, image.as_ref())) {
                    Ok(pid) => self.keeper.master_started(pid, now),
                    Err(error) => self.keeper.master_not_started(&error.to_string(), now),
                }
            }
            Deed::Start(generation, role, link, image) => {
                match self.settle(Who::Child(generation), spawn::child(role, image.as_ref())) {
                    Ok(pid) => self.keeper.started(generation, role, pid, link),
                    Err(error) => self.keeper.not_started(generation, &error.to_string()),
                }
            }
            Deed::Say(who, message, with) => {
                let process = self.processes.get_mut(&who).filter(|process| !process.broken);
                let said = process.map_or(Ok(()), |process| process.link.send_with(&message, with));
                if said.is_err() {
                    self.broken(who);
                }
            }
            Deed::Kill(who) => {
                if let Some(process) = self.processes.get(&who) {
                    // The number stays this process's own until it is reaped, here and nowhere else.
                    process::kill(process.pid, Signal::KILL);
                }
            }
            Deed::Notify(text, with) => self.systemd.tell(text, with),
            Deed::Store(all) => stores::leave(&mut self.systemd, &all),
            Deed::Complain(text) => complain(&text),
            Deed::End(status) => self.end = Some(status),
        }
    }

    fn settle(&mut self, who: Who, started: io::Result<(u32, UnixStream)>) -> io::Result<u32> {
        let (pid, stream) = started?;
        let link = PolledLink::new(stream, WAITING)?;
        self.processes.insert(who, Process { pid, link, broken: false });
        Ok(pid)
    }
}

/// Writes a line to standard error, unless it would have to wait: nobody may read there.
fn complain(text: &str) {
    let error = io::stderr();
    let mut room = [PollFd::new(&error, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut room, Some(&now)).is_ok() && room[0].revents() == PollFlags::OUT {
        let _ = writeln!(io::stderr(), "btc-cluster: {text}");
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
