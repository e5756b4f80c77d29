//! A client: what it hears is held against what it should hear, whatever happens to its connection.

use super::echoes::{Answer, Echoes};
use super::habit::{Act, Habit, Sort};
use super::world::{Phase, World, flag, lock};
use crate::comeback::is_final;
use crate::decoder::{End, Heard, Transport};
use crate::habit::about;
use crate::line::{Line, Who};
use crate::options::Ports;
use crate::said::{Place, Said, kind, numbered};
use crate::track::{Step, Track};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

/// A gap that is shorter is none.
const GAP: Duration = Duration::from_millis(20);
/// Time between two tries to connect.
const PAUSE: Duration = Duration::from_millis(150);
/// Questions that wait for their answer at most.
const PENDING: usize = 4;
/// Longest wait for a speaker's own message.
const HEARING: Duration = Duration::from_secs(10);
/// The topic of `/chat`.
pub(crate) const CHAT: &str = "/chat";

/// A client.
pub(crate) struct Tab {
    pub(super) world: Arc<World>,
    ports: Rc<Ports>,
    pub(super) who: Rc<Who>,
    pub(super) client: u32,
    sort: Sort,
    habit: Habit,
    pub(super) tracks: Vec<(String, Track)>,
    pub(super) echoes: Echoes,
    place: Place,
    /// The newest price.
    seq: u64,
    /// When something was heard last, on this connection.
    heard: Option<Instant>,
    /// This connection has a session.
    pub(super) opened: bool,
    joined: bool,
    closing: Option<u16>,
    /// The answer to the last question is measured.
    whole: bool,
    /// A speaker's message that it has not heard itself yet.
    pub(super) said: Option<(u32, Instant)>,
    turn: Option<OwnedSemaphorePermit>,
}

/// Why a connection is left.
enum Why {
    Leaves,
    Cut,
    Ended(End),
}

impl Tab {
    pub(crate) fn new(
        world: &Arc<World>,
        ports: &Rc<Ports>,
        who: Who,
        habit: Habit,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        let client = who.index % crate::connect::PER_ADDRESS;
        Self {
            world: world.clone(),
            ports: ports.clone(),
            who: Rc::new(who),
            client,
            sort: habit.sort,
            habit,
            tracks: vec![],
            echoes: Echoes::default(),
            place: Place::default(),
            seq: 0,
            heard: None,
            opened: false,
            joined: false,
            closing: None,
            whole: false,
            said: None,
            turn: Some(turn),
        }
    }

    /// Runs until all leave.
    pub(crate) async fn live(mut self) {
        let mut phase = self.world.phase.subscribe();
        while *phase.borrow() != Phase::Over {
            let pause = match self.visit(&mut phase).await {
                Why::Leaves => break,
                Why::Cut => about(self.habit.away),
                Why::Ended(end) => self.ended(end),
            };
            tokio::select! {
                () = sleep(pause) => (),
                _ = phase.wait_for(|phase| *phase == Phase::Over) => (),
            }
        }
        self.finish();
    }

    /// Returns the pause before the next try.
    fn ended(&mut self, end: End) -> Duration {
        if end == End::NotKept {
            return Duration::ZERO;
        }
        let code = match end {
            End::Closed(code) | End::Refused(code) => code,
            _ => 1006,
        };
        if std::mem::take(&mut self.opened) && !matches!(end, End::Refused(_)) {
            self.world.close(self.client, code);
        } else {
            let status = if matches!(end, End::Refused(_)) { code } else { 0 };
            self.world.notice(|noticed| *noticed.refused.entry(status).or_default() += 1);
        }
        self.gone();
        if is_final(end) {
            self.place = Place::default();
        }
        about(PAUSE)
    }

    fn gone(&mut self) {
        self.opened = false;
        self.heard = None;
        self.echoes.cut();
        if let Some((number, _)) = self.said.take() {
            self.spoken(number, false);
        }
        self.world.seat(self.client).disconnect();
        if self.joined && self.sort.is_main() {
            lock(&self.world.ledger).leave(self.client, Instant::now());
        }
    }

    async fn visit(&mut self, phase: &mut watch::Receiver<Phase>) -> Why {
        let resume = self.place.resume();
        let mut line = match Line::open(&self.ports, &self.who, self.sort.door(), resume.as_deref()).await {
            Ok(line) => line,
            Err(end) => return Why::Ended(end),
        };
        let far = Duration::from_secs(86_400);
        let mut cut = pin!(sleep(self.habit.cut.map_or(far, about)));
        let mut act = pin!(sleep(self.habit.act.map_or(far, about)));
        loop {
            tokio::select! {
                biased;
                changed = phase.changed() => {
                    if changed.is_err() || *phase.borrow() == Phase::Over {
                        match self.sort {
                            // One that has come back waits for news: it would have been refused at once.
                            Sort::Main(Transport::Poll) => self.opened |= resume.is_some(),
                            // It is just closed: more bytes would hide that from the server.
                            Sort::Main(Transport::Sse) => {}
                            _ => line.leave(),
                        }
                        return Why::Leaves;
                    }
                }
                () = &mut cut => {
                    if *phase.borrow() == Phase::Running && self.opened {
                        drop(line);
                        self.gone();
                        return Why::Cut;
                    }
                    cut.as_mut().reset(tokio::time::Instant::now() + far);
                }
                () = &mut act => {
                    if *phase.borrow() == Phase::Running && self.opened {
                        self.act(&mut line).await;
                    }
                    act.as_mut().reset(tokio::time::Instant::now() + self.habit.act.map_or(far, about));
                }
                () = line.readable() => {
                    if let Some(end) = self.listen(&mut line) {
                        return Why::Ended(end);
                    }
                }
            }
        }
    }

    /// Takes what is there; the end, when it is one.
    fn listen(&mut self, line: &mut Line) -> Option<End> {
        let end = line.take(|heard| self.hear(&heard));
        if end.is_ok() && !self.opened && !self.sort.is_main() {
            self.arrive(0);
        }
        match (end, self.closing.take()) {
            (_, Some(code)) => Some(End::Closed(code)),
            (Err(end), None) => Some(end),
            (Ok(()), None) => None,
        }
    }

    /// Does something that a worker may be in the middle of when it has to move, or dies.
    async fn act(&mut self, line: &mut Line) {
        match self.habit.next() {
            Act::Speak => self.speak(line),
            Act::Deaf(time) => {
                self.flag(flag::DEAF, true);
                sleep(time).await;
                self.flag(flag::DEAF, false);
                self.heard = None;
            }
            _ if self.echoes.pending() >= PENDING => (),
            Act::Ask(bytes) => {
                self.whole = true;
                let number = self.ask();
                let bytes = bytes(self.sort, number);
                let len = bytes.len();
                if !line.begin(bytes, len) || !line.complete() {
                    self.echoes.unask();
                }
            }
            Act::Half(bytes, part, time) => {
                self.whole = false;
                let number = self.ask();
                self.flag(flag::HALF, true);
                let bytes = bytes(self.sort, number);
                let at = part(bytes.len());
                line.begin(bytes, at);
                let until = tokio::time::Instant::now() + time;
                while tokio::time::timeout_at(until, line.readable()).await.is_ok() {
                    match line.take(|heard| self.hear(&heard)) {
                        Ok(()) => (),
                        Err(End::Closed(code)) => return self.closing = Some(code),
                        // The end is found again by who waits for it.
                        Err(_) => return,
                    }
                }
                line.complete();
                self.flag(flag::HALF, false);
            }
        }
    }

    fn ask(&mut self) -> u32 {
        self.flag(flag::ASKED, true);
        self.echoes.ask(Instant::now())
    }

    fn flag(&self, flag: u64, on: bool) {
        self.world.seat(self.client).set(flag, on, self.world.now());
    }

    /// Says the next message to all of `/chat`, if its last one has come back.
    fn speak(&mut self, line: &mut Line) {
        if let Some((number, since)) = self.said {
            if since.elapsed() > HEARING {
                self.unheard(number, since);
                self.spoken(number, false);
                self.said = None;
            }
            return;
        }
        let number = lock(&self.world.courses).entry(CHAT.to_owned()).or_default().begin();
        let text = format!(r#"{{"event":"chat-message","payload":{{"userName":"x","message":"{number}"}}}}"#);
        self.said = Some((number, Instant::now()));
        self.flag(flag::ASKED, true);
        line.say(&text);
    }

    /// A speaker's message that nobody has heard, not even itself.
    pub(super) fn unheard(&self, number: u32, since: Instant) {
        self.world.tell("unheard", || format!("{}: /chat {number} did not come back", self.who.user));
        self.world.notice_at(self.world.epoch_at(since), |noticed| noticed.unheard += 1);
    }

    /// The answer to a speaker's last message.
    fn spoken(&self, number: u32, heard: bool) {
        if let Some(course) = lock(&self.world.courses).get_mut(CHAT).filter(|it| it.begun == number + 1) {
            course.end(heard);
        }
    }

    fn hear(&mut self, heard: &Heard<'_>) {
        let now = Instant::now();
        let json = match heard {
            Heard::Place(id) => return self.at(id),
            Heard::Message(json) => *json,
            Heard::Ping(_) | Heard::Answered => return,
        };
        if let Some(last) = self.heard.replace(now).filter(|_| self.habit.probe) {
            let gap = now - last;
            if gap > GAP {
                self.world.silent_for(gap);
            }
        }
        match self.sort {
            Sort::Main(_) => self.message(json),
            Sort::Stream => self.price(json),
            Sort::Chat => {
                if let Some(number) = after(json, br#""message":""#) {
                    self.number(CHAT, u32::try_from(number).unwrap_or(u32::MAX));
                }
            }
            Sort::Echo => {
                if let Some(number) = std::str::from_utf8(json).ok().and_then(|text| text.parse().ok()) {
                    self.answer(number);
                }
            }
        }
    }

    fn message(&mut self, json: &[u8]) {
        let kind = kind(json);
        if numbered(kind) && self.sort == Sort::Main(Transport::Ws) {
            self.place.count();
        }
        if kind == "price" {
            return self.price(json);
        }
        if !matches!(kind, "welcome" | "message" | "quote" | "close" | "pong" | "echo" | "system") {
            return;
        }
        let Some(said) = Said::read(json) else {
            return self.world.tell("strange", || format!("{}", String::from_utf8_lossy(json)));
        };
        match (kind, said.id(), said.number()) {
            ("welcome", ..) => self.welcome(&said),
            ("message", _, Some(number)) => self.number(said.channel.unwrap_or_default(), number),
            ("pong" | "echo", Some(number), _) => self.answer(number),
            ("close", ..) => self.closing = Some(said.code().unwrap_or(1005)),
            ("system", ..) if said.event == Some("moved") => self.moved(&said),
            ("quote", ..) => self.quote(&said),
            _ => (),
        }
    }

    fn price(&mut self, json: &[u8]) {
        let Some(seq) = after(json, br#""seq":"#) else { return };
        if seq < self.seq {
            self.world.tell("price", || format!("{}: {seq} after {}", self.who.user, self.seq));
            self.world.notice(|noticed| noticed.prices_back += 1);
        }
        self.seq = seq;
    }

    fn quote(&self, said: &Said<'_>) {
        let Some(request) = said.request_id else { return };
        if lock(&self.world.ledger).hear(request.as_u128(), self.client, Instant::now()) {
            self.world.tell("quote again", || format!("{}: {request}", self.who.user));
        }
    }

    fn moved(&self, said: &Said<'_>) {
        self.world.seat(self.client).sit(said.worker.as_ref().map_or(0, |worker| worker.pid));
        self.world.notice(|noticed| {
            noticed.moved += 1;
            noticed.told_silence_ms = noticed.told_silence_ms.max(said.silence_ms.unwrap_or(0));
        });
    }

    fn answer(&mut self, number: u32) {
        match self.echoes.hear(number) {
            Answer::Due(asked) if self.whole => self.world.answered_after(asked.elapsed()),
            Answer::Due(_) => (),
            fault => {
                self.world.tell("answer", || format!("{}: {number}: {fault:?}", self.who.user));
                self.world.notice(|noticed| match fault {
                    Answer::Early => noticed.answers.disorder += 1,
                    _ => noticed.answers.doubled += 1,
                });
            }
        }
        if self.echoes.pending() == 0 {
            self.flag(flag::ASKED, false);
        }
    }

    /// The id of the last event, or the cursor of a poll.
    fn at(&mut self, id: &str) {
        self.place.at(id);
        // A poll that goes on over another connection has no other welcome.
        if !self.opened && self.sort == Sort::Main(Transport::Poll) {
            self.come_back(true);
            self.arrive(0);
        }
    }

    fn arrive(&mut self, worker: u32) {
        (self.opened, self.turn) = (true, None);
        self.world.seat(self.client).connect(worker, self.world.now());
        if self.sort == Sort::Main(Transport::Poll) {
            self.flag(flag::POLLS, true);
        }
        if !std::mem::replace(&mut self.joined, true) {
            self.world.joined.fetch_add(1, Ordering::AcqRel);
            let topics = if self.sort == Sort::Chat { CHAT } else { &self.who.channels };
            let track = |name: &str| {
                let track = Track::from(self.world.begun(name)).with_history(name.starts_with("chat:"));
                (name.to_owned(), track)
            };
            self.tracks = topics.split(',').filter(|name| !name.is_empty()).map(track).collect();
        } else if !self.sort.is_main() {
            // Without a resume, nobody says that nothing is missing.
            self.admit();
        }
    }

    fn admit(&mut self) {
        self.tracks.iter_mut().for_each(|(name, track)| track.admit(self.world.begun(name)));
    }

    fn come_back(&self, resumed: bool) {
        lock(&self.world.ledger).come_back(self.client, Instant::now(), resumed);
    }

    fn welcome(&mut self, said: &Said<'_>) {
        let (returns, asked) = (self.joined, self.place.resume().is_some());
        self.arrive(said.worker.as_ref().map_or(0, |worker| worker.pid));
        self.world.seat(self.client).name(said.session_id);
        if self.sort == Sort::Main(Transport::Ws) {
            self.place.welcome(said.resume);
        }
        if !returns {
            return;
        }
        self.come_back(said.resumed);
        if said.resumed {
            return self.world.notice(|noticed| noticed.resumed += 1);
        }
        self.admit();
        if asked {
            self.world.tell("not resumed", || format!("{} ({:?})", self.who.user, self.sort));
            self.world.notice(|noticed| noticed.not_resumed += 1);
        }
    }

    /// A numbered message of a topic.
    fn number(&mut self, topic: &str, number: u32) {
        if self.said.is_some_and(|(said, _)| said == number) && topic == CHAT {
            self.said = None;
            self.spoken(number, true);
            self.flag(flag::ASKED, false);
        }
        let Some((_, track)) = self.tracks.iter_mut().find(|(name, _)| name == topic) else { return };
        let step = track.hear(number);
        match step {
            Step::Next | Step::Known => return,
            // Whether it is lost is known at the end.
            Step::Gap(count) => {
                if (number - count..number).all(|number| self.world.unsure(topic, number)) {
                    return;
                }
            }
            Step::Late => self.world.notice(|noticed| noticed.messages.disorder += 1),
            Step::Again => self.world.notice(|noticed| noticed.messages.doubled += 1),
        }
        self.world
            .tell("message", || format!("{} ({:?}): {topic} {number}: {step:?}", self.who.user, self.sort));
    }
}

/// The number behind a text.
fn after(json: &[u8], text: &[u8]) -> Option<u64> {
    let at = json.windows(text.len()).position(|window| window == text)? + text.len();
    let digits = json[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut none = true;
    let number = digits.fold(0_u64, |number, digit| {
        none = false;
        number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    (!none).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        assert_eq!(
            after(br#"{"a":1,"seq":1796059091203015,"b":2}"#, br#""seq":"#),
            Some(1_796_059_091_203_015)
        );
        assert_eq!(after(br#"{"message":"17"}"#, br#""message":""#), Some(17));
        assert_eq!(after(br#"{"message":"x"}"#, br#""message":""#), None);
        assert_eq!(after(b"{}", br#""seq":"#), None);
    }
}
