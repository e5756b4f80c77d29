//! A main session and its client, which comes back whenever it has lost its connection.

mod parting;
#[cfg(test)]
mod tests;

use crate::comeback::Back;
use crate::decoder::{End, Heard, Transport};
use crate::habit::{Habit, about};
use crate::line::{Door, Line, Who};
use crate::said::{Place, Said, kind, numbered};
use crate::stage::Stage;
use crate::talk::Talk;
use crate::track::{Step, Track};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

/// Longest time that an accepted quote is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What a client has heard so far.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// By channel.
    pub(crate) tracks: Vec<(String, Track)>,
    /// When it got its connection; `None`: it has none.
    pub(crate) connected: Option<Instant>,
    /// Whether a welcome said `resumed: false`.
    pub(crate) gapped: bool,
}

/// A client with a main session.
#[derive(Debug)]
pub(crate) struct Member {
    who: Rc<Who>,
    transport: Transport,
    stage: Rc<Stage>,
    habit: Habit,
    record: Rc<RefCell<Record>>,
    place: Place,
    back: Option<Back>,
    /// When and how it lost its connection; `None`: it has one.
    left: Option<(Instant, &'static str)>,
    ghost: Option<Line>,
    /// The code of a `close` message.
    closing: Option<u16>,
    talk: Talk,
    joined: bool,
    /// The process that has its session, by the last welcome.
    worker: u32,
    turn: Option<OwnedSemaphorePermit>,
}

/// Why a connection is left.
enum Why {
    /// The time for a cut or for leaving has come.
    Time(Line),
    Over(End),
    /// Cut before the first byte of the answer.
    Hasty,
}

impl Member {
    /// Not yet connected. `turn` is given back with the first welcome.
    pub(crate) fn new(
        stage: &Rc<Stage>,
        who: Rc<Who>,
        transport: Transport,
        habit: &Habit,
        turn: Option<OwnedSemaphorePermit>,
    ) -> (Self, Rc<RefCell<Record>>) {
        let record = Rc::new(RefCell::new(Record::default()));
        let member = Self {
            who,
            transport,
            stage: stage.clone(),
            habit: habit.clone(),
            record: record.clone(),
            place: Place::default(),
            back: None,
            left: None,
            ghost: None,
            closing: None,
            talk: Talk::default(),
            joined: false,
            worker: 0,
            turn,
        };
        (member, record)
    }

    /// Runs until `leave`; if there is none, until it is dropped.
    pub(crate) async fn live(mut self, leave: Option<Instant>) {
        // The first cut comes at any time, so that not all are cut together.
        let mut cut = self.habit.every.map(|every| Instant::now() + every.mul_f64(fastrand::f64()));
        loop {
            let until = cut.into_iter().chain(leave).min();
            let now = Instant::now();
            match self.visit(until).await {
                Why::Time(line) if leave.is_some_and(|leave| leave <= Instant::now()) => {
                    return self.leave(Some(line)).await;
                }
                Why::Time(line) => {
                    self.cut(line).await;
                    cut = self.habit.every.map(|every| Instant::now() + about(every));
                }
                Why::Over(end) => self.over(end, now).await,
                Why::Hasty => (),
            }
            self.transport = self.habit.next(self.transport);
            if leave.is_some_and(|leave| leave <= Instant::now()) {
                return self.leave(None).await;
            }
        }
    }

    async fn visit(&mut self, until: Option<Instant>) -> Why {
        self.set_off();
        let (door, resume) = (Door::Main(self.transport), self.place.resume());
        match Line::open(&self.stage.ports, &self.who, door, resume.as_deref()).await {
            Ok(line) if self.left.is_some() && self.habit.is_hasty() => self.hasten(line).await,
            Ok(line) => self.stay(line, until).await,
            Err(end) => Why::Over(end),
        }
    }

    /// Notes what a comeback has to bring.
    fn set_off(&mut self) {
        let Some((stopped, how)) = self.left else { return };
        let record = self.record.borrow();
        let targets = record.tracks.iter().map(|(channel, track)| {
            let published = self.stage.sure(channel);
            if published > track.next() { published } else { 0 }
        });
        self.back = Some(Back {
            stopped,
            how,
            from: self.worker,
            syn: Instant::now(),
            resume: self.place.resume(),
            welcomed: None,
            outcome: None,
            targets: targets.collect(),
        });
    }

    /// Cuts the connection between the request and the arrival of the answer.
    async fn hasten(&mut self, line: Line) -> Why {
        *self.stage.comebacks.borrow_mut().cuts.entry("hasty").or_default() += 1;
        sleep(Duration::from_millis(fastrand::u64(0..20))).await;
        drop(line);
        sleep(about(Duration::from_millis(200))).await;
        Why::Hasty
    }

    async fn stay(&mut self, mut line: Line, until: Option<Instant>) -> Why {
        let far = Instant::now() + Duration::from_secs(86_400);
        let asks = self.habit.asks.filter(|_| self.transport == Transport::Ws);
        let mut time = pin!(sleep_until(until.unwrap_or(far)));
        let mut ask = pin!(sleep_until(asks.map_or(far, |asks| Instant::now() + about(asks))));
        loop {
            tokio::select! {
                biased;
                () = &mut time => {
                    if !self.stage.calm.get() {
                        return Why::Time(line);
                    }
                    time.as_mut().reset(far);
                }
                () = &mut ask => {
                    if self.joined && self.talk.ask(&self.stage) {
                        line.say(self.talk.question());
                    }
                    ask.as_mut().reset(asks.map_or(far, |asks| Instant::now() + about(asks)));
                }
                () = line.readable() => {
                    let end = line.take(|heard| self.hear(&heard));
                    match (end, self.closing.take()) {
                        (_, Some(code)) => return Why::Over(End::Closed(code)),
                        (Err(end), None) => return Why::Over(end),
                        (Ok(()), None) => (),
                    }
                }
            }
        }
    }

    fn hear(&mut self, heard: &Heard<'_>) {
        let json = match heard {
            Heard::Place(id) => return self.at(id),
            Heard::Message(json) => *json,
            Heard::Ping(_) | Heard::Answered => return,
        };
        let kind = kind(json);
        if numbered(kind) && self.transport == Transport::Ws {
            self.place.count();
        }
        if !matches!(kind, "welcome" | "message" | "quote" | "close" | "pong" | "echo") {
            return;
        }
        let Some(said) = Said::read(json) else {
            return self.fault(&format!("cannot read {}", String::from_utf8_lossy(json)));
        };
        match kind {
            "welcome" => self.welcome(&said),
            "message" => self.message(&said),
            "quote" => {
                let again = said.request_id.map(|id| self.stage.receipts.borrow_mut().heard(id.as_u128()));
                if again == Some(true) {
                    self.fault("a quote came twice");
                }
            }
            "close" => self.closing = Some(said.code().unwrap_or(1005)),
            _ => self.talk.answer(&self.stage),
        }
    }

    fn at(&mut self, id: &str) {
        self.place.at(id);
        if self.transport == Transport::Poll
            && let Some(back) =
                self.back.as_mut().filter(|back| back.outcome.is_none() && back.resume.is_some())
        {
            back.outcome = Some("continued");
            self.stage.comebacks.borrow_mut().continued += 1;
            self.arrived();
        }
    }

    fn arrived(&mut self) {
        (self.ghost, self.left) = (None, None);
        self.record.borrow_mut().connected = Some(Instant::now());
        self.stage.news.notify_one();
    }

    fn welcome(&mut self, said: &Said<'_>) {
        self.arrived();
        self.turn = None;
        self.worker = said.worker.as_ref().map_or(0, |worker| worker.pid);
        if self.transport == Transport::Ws {
            self.place.welcome(said.resume);
        }
        let (mut record, mut comebacks) = (self.record.borrow_mut(), self.stage.comebacks.borrow_mut());
        if !self.joined {
            self.joined = true;
            let track = |name: &str| Track::from(self.stage.begun(name)).with_history(is_room(name));
            record.tracks = self.who.channels.split(',').map(|name| (name.to_owned(), track(name))).collect();
        }
        let Some(back) = self.back.as_mut().filter(|back| back.resume.is_some()) else { return };
        back.welcomed = Some(Instant::now());
        if said.resumed {
            comebacks.resumed += 1;
            back.outcome = Some("resumed: true");
            return;
        }
        comebacks.gaps += 1;
        back.outcome = Some("resumed: false");
        back.targets.clear();
        record.gapped = true;
        record.tracks.iter_mut().for_each(|(channel, track)| track.admit(self.stage.begun(channel)));
        let from = back.stopped.checked_sub(ON_ITS_WAY).unwrap_or(back.stopped);
        self.stage.receipts.borrow_mut().excuse(self.who.index, from, Instant::now());
    }

    fn message(&mut self, said: &Said<'_>) {
        let (Some(channel), Some(number)) = (said.channel, said.number()) else { return };
        let mut record = self.record.borrow_mut();
        let Some(at) = record.tracks.iter().position(|(name, _)| name == channel) else { return };
        let (step, next) = (record.tracks[at].1.hear(number), record.tracks[at].1.next());
        drop(record);
        if let Some(back) = &mut self.back
            && let Some(target) = back.targets.get_mut(at).filter(|target| **target > 0)
            && next >= *target
        {
            *target = 0;
            self.stage.replayed(&self.who.user, self.transport, back);
        }
        match step {
            Step::Next | Step::Known => (),
            Step::Gap(count) if (number - count..number).all(|n| self.stage.unsure(channel, n)) => (),
            Step::Gap(count) => self.fault(&format!("{channel} {number} came, {count} before it not")),
            Step::Late => self.fault(&format!("{channel} {number} came late")),
            Step::Again => self.fault(&format!("{channel} {number} came again")),
        }
    }

    fn fault(&self, what: &str) {
        let back = self.back.as_ref().map_or("never cut".to_owned(), Back::to_string);
        let (user, transport, worker) = (&self.who.user, self.transport.as_str(), self.worker);
        self.stage.fault(&format!("{user} ({transport}, worker {worker}): {what}; {back}"));
    }

    fn gone(&mut self, how: &'static str) {
        self.talk.forget();
        self.record.borrow_mut().connected = None;
        self.left.get_or_insert((Instant::now(), how));
    }
}

/// Whether newcomers of the channel hear its last messages.
fn is_room(channel: &str) -> bool {
    channel.starts_with("chat:")
}
