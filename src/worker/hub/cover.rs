//! Crash cover: after everything that touches a session, its cell says what must be known if this process dies.

use super::parts::cover::{ASKED, BUSY, LENT, PARTIAL, Said, UNSENT};
use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::rooms::is_companion;
use super::state::State;
use crate::config::CrashCover;
use crate::model::Mono;
use crate::os::clock;
use crate::protocol::cluster::{Slot, ToMaster};
use crate::protocol::line::Line;
use crate::session::cells::names::{Set, long_names};
use crate::session::cells::{Cells, Facts};
use crate::session::{Key, Replay};
use std::io;
use std::sync::Arc;
use tokio::sync::Notify;

/// Sessions of one worker that can be covered, at most.
const PLACES: u64 = 1 << 20;

/// Makes the worker's cells, of which the keeper holds a copy.
fn new_cells(line: &Line, slot: Slot) -> io::Result<Cells> {
    let places = crate::os::process::open_files().min(PLACES);
    let cells = Cells::new(usize::try_from(places).unwrap_or(0), slot)?;
    line.cells(cells.descriptor())?;
    Ok(cells)
}

impl State {
    /// Covers sessions from now on, if there is memory for it: a limit of the size of files (`ulimit -f`) counts for
    /// memory files, too.
    pub(in crate::worker) fn begin_cover(&mut self, line: Line) {
        match new_cells(&line, self.me.slot) {
            Ok(cells) => self.survival.cover.cover(cells),
            Err(error) => {
                tracing::warn!(event = "cover-missing", %error, "no session of this worker would survive its death");
            }
        }
        self.survival.begin(line);
    }

    /// A session has got its connection: from now on it survives this process.
    pub(super) fn cover(&mut self, at: SessionRef, adopted: Mono) {
        let key = at.key();
        if self.config.handover.crash_cover == CrashCover::Off || !self.survival.cover.has_room(key) {
            return;
        }
        if self.sessions.get(at).is_some_and(Session::is_secured) {
            // Nobody else has the keys of its connection.
            return;
        }
        let set = self.set_of(at);
        let Some(session) = self.sessions.get(at) else { return };
        let Link::Wire(wire) = &session.link else { return };
        let facts = Facts {
            id: session.id(),
            replay: session.replay.as_ref().map(|replay| (replay.secret, replay.last())),
            set: set.unwrap_or(0),
            spoke: session.last_in.second(),
            framing: session.framing,
            moves: u16::try_from(session.moves).unwrap_or(u16::MAX),
            adopted,
        };
        let kept = set.is_some() && self.survival.keep(key, wire.descriptor());
        if kept {
            self.survival.hold(key, (&facts, &session.announcement()));
            self.says(key, Said { master: 0, ..self.said_so_far() });
        }
    }

    /// The place of a session's set of channels.
    fn set_of(&mut self, at: SessionRef) -> Option<u32> {
        let known = self.sessions.get(at)?.set;
        let place = if known.is_some() { known } else { self.make_set(at) };
        self.sessions.get_mut(at)?.set = place;
        place
    }

    fn make_set(&mut self, at: SessionRef) -> Option<u32> {
        let (encoded, own) = self.encode_set(at)?;
        if !self.survival.cover.set_own(at.key(), &own) {
            return None;
        }
        if let Some(place) = self.survival.cover.intern(&encoded) {
            return Some(place);
        }
        // Sets that nobody is on any more fill one half: those in use go to the other.
        if !self.survival.cover.turn(clock::mono()) {
            return None;
        }
        let all: Vec<_> = self.sessions.present().map(|(at, _)| at).collect();
        for other in all {
            if !self.survival.cover.holds(other.key()) {
                continue;
            }
            let place = self.encode_set(other).and_then(|(set, _)| self.survival.cover.intern(&set));
            match place {
                Some(place) => {
                    self.survival.cover.set_again(other.key(), place);
                    self.sessions.get_mut(other).into_iter().for_each(|session| session.set = Some(place));
                }
                None => self.survival.release(other.key()),
            }
        }
        self.survival.cover.intern(&encoded)
    }

    /// What a session has in common with others, and what its token says of it alone.
    pub(super) fn encode_set(&self, at: SessionRef) -> Option<(Vec<u8>, Vec<u8>)> {
        let session = self.sessions.get(at)?;
        let names = session.subscriptions.iter().map(|own| &self.channels.get(own.channel).name);
        let mut channels: Vec<_> = names.filter(|name| !is_companion(name)).cloned().collect();
        channels.sort_unstable();
        let (stream, open) = (session.identity.stream.clone(), session.announcement());
        let (pass, own) = match &session.pass {
            Some(pass) => pass.split().map(|(common, own)| (Some(common), own))?,
            None => (None, Vec::new()),
        };
        let set = Set { channels, stream, names: long_names(open.user, open.device), pass };
        postcard::to_stdvec(&set).ok().map(|set| (set, own))
    }

    /// Something has changed in a session that its cell must say.
    pub(super) fn touch(&mut self, at: SessionRef) {
        self.survival.cover.touch(at.key(), BUSY);
    }

    /// The session of a client that has asked for what only the master or time brings.
    pub(super) fn asks(&mut self, at: SessionRef) {
        if let Some(session) = self.sessions.get_mut(at) {
            session.asked += 1;
            self.touch(at);
        }
    }

    /// The answer is there.
    pub(super) fn answered(&mut self, at: SessionRef) {
        if let Some(session) = self.sessions.get_mut(at) {
            session.asked = session.asked.saturating_sub(1);
            self.touch(at);
        }
    }

    /// What is under way with a session.
    fn under_way(&self, session: &Session) -> u64 {
        let when = |is: bool, bit: u64| if is { bit } else { 0 };
        let enters = || self.entrances.rooms(session.id()).next().is_some();
        when(!matches!(session.link, Link::Wire(_)), BUSY)
            | when(!session.decoder.is_idle(), PARTIAL)
            | when(session.outbox.is_some(), UNSENT)
            | when(session.asked > 0 || enters(), ASKED)
            | when(session.origin.is_some(), LENT)
    }

    /// Makes the words anew of sessions that were touched. True if there were some.
    pub(super) fn settle_words(&mut self) -> bool {
        let mut any = false;
        while let Some(key) = self.survival.cover.next_touched() {
            any = true;
            let Some(at) = self.sessions.at(key).filter(|_| self.survival.cover.holds(key)) else { continue };
            self.catch_up_all(at);
            let Some(set) = self.set_of(at) else {
                self.survival.release(key);
                continue;
            };
            let Some(session) = self.sessions.get(at) else { continue };
            let under_way = self.under_way(session);
            let last = session.replay.as_ref().map_or(0, Replay::last);
            self.survival.cover.settle(key, under_way, set, last);
        }
        any
    }

    /// Brings a session all messages that it has not seen, of all its channels.
    pub(super) fn catch_up_all(&mut self, at: SessionRef) {
        if !self.survival.cover.is_behind_beside(None) {
            return;
        }
        let subscriptions = self.sessions.get(at).map(|own| own.subscriptions.clone()).unwrap_or_default();
        for own in subscriptions {
            if self.survival.cover.is_behind(own.channel) {
                self.catch_up(own);
            }
        }
    }

    /// The number of a session's last message.
    pub(super) fn last_of(&self, at: SessionRef) -> Option<u32> {
        self.sessions.get(at)?.replay.as_ref().map(Replay::last)
    }

    /// Everything that was heard together is taken in, and handed on as far as that goes at once.
    pub(in crate::worker) fn note_done(&mut self) {
        self.survival.cover.note_done();
        self.tell_done(false);
    }

    /// Tells the master how far the orders are done.
    pub(in crate::worker) fn tell_done(&mut self, always: bool) {
        if let Some(order) = self.survival.cover.tells(always) {
            self.uplink.tell(&ToMaster::Done { order });
        }
    }

    /// An order of so many bytes was taken in.
    pub(in crate::worker) fn took(&mut self, bytes: usize) {
        self.survival.cover.took(bytes);
    }

    /// Rings when sessions wait until what they said is on its way.
    pub(in crate::worker) fn unsaid(&self) -> Arc<Notify> {
        self.survival.bell()
    }

    /// Makes sessions clean again if what they said is on its way. False: some of it is not.
    pub(in crate::worker) fn look_said(&mut self) -> bool {
        let Some(written) = self.written() else { return false };
        let all = self.survival.cover.wrote(written);
        self.settle();
        all
    }

    /// How much was said so far.
    fn said_so_far(&self) -> Said {
        Said { master: self.uplink.said(), keeper: self.survival.line().map_or(0, Line::said) }
    }

    /// Something was said for a session that must be on its way before it is clean.
    fn says(&mut self, key: Key, said: Said) {
        if self.written().is_none_or(|written| !said.is_written(written)) {
            self.survival.says(key, said);
        }
    }

    /// How much of what was said is on its way; `None`: there is no master.
    fn written(&self) -> Option<Said> {
        let master = self.uplink.written()?;
        Some(Said { master, keeper: self.survival.line().map_or(0, Line::written) })
    }

    /// All that waited for a master has been said to this one.
    pub(super) fn says_again(&mut self) {
        self.survival.cover.says_again(self.uplink.said());
    }

    /// A read of a session begins; returns how many messages had been said.
    pub(super) fn begin_read(&mut self, key: Key) -> u64 {
        self.survival.cover.read(key);
        self.uplink.messages()
    }

    /// It has ended.
    pub(super) fn end_read(&mut self, key: Key, said: u64) {
        if self.uplink.messages() != said {
            self.says(key, self.said_so_far());
        }
        self.survival.cover.has_read();
    }
}
