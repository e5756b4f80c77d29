//! Those who mean no harm: users who are asked for quotes, newcomers, a balancer that asks for health, and users who
//! are away for the time of the attack.

use crate::client::Client;
use crate::decoder::{End, Heard, Transport};
use crate::hostile::Measured;
use crate::line::{Door, Line, Who};
use crate::options::Ports;
use crate::report::micros;
use crate::said::{Said, kind};
use btc_cluster_client::http::{Response, get};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

/// Longer than a user waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause of a user between two quotes: half of the default limit.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause between two newcomers, and between two questions for health.
const BETWEEN: Duration = Duration::from_millis(100);

/// What all of them share.
pub(crate) struct Town {
    pub(crate) ports: Rc<Ports>,
    pub(crate) measured: RefCell<Measured>,
    pub(crate) over: Cell<bool>,
}

fn who(index: u32, user: &str, channels: &str) -> Rc<Who> {
    Rc::new(Who { index, user: user.to_owned(), channels: channels.to_owned() })
}

/// Opens a session and reads until its welcome. Returns its token, too.
async fn open(town: &Town, who: &Rc<Who>, resume: Option<&str>) -> Result<(Line, String, bool), End> {
    let opening = async {
        let mut line = Line::open(&town.ports, who, Door::Main(Transport::Ws), resume).await?;
        let mut welcome = None;
        while welcome.is_none() {
            line.readable().await;
            line.take(|heard| {
                if let Heard::Message(text) = heard
                    && kind(text) == "welcome"
                    && let Some(said) = Said::read(text)
                {
                    welcome = Some((said.resume.unwrap_or_default().to_owned(), said.resumed));
                }
            })?;
        }
        let (token, resumed) = welcome.unwrap_or_default();
        Ok((line, token, resumed))
    };
    timeout(PATIENCE, opening).await.unwrap_or(Err(End::Strange))
}

fn word(end: End) -> String {
    match end {
        End::Refused(status) => status.to_string(),
        End::Closed(code) => format!("closed {code}"),
        End::Strange => "silence".to_owned(),
        End::Lost | End::NotKept => "lost".to_owned(),
    }
}

/// A user with a page, whose quotes a back end asks for, until it is over. A lost session is opened again.
pub(crate) async fn user(town: Rc<Town>, index: u32) {
    let who = who(index, &format!("healthy-{index}"), "none");
    let mut client = Client::new(town.ports.http.address);
    let body = format!(r#"{{"user_id":"{}"}}"#, who.user);
    while !town.over.get() {
        let Ok((mut line, ..)) = open(&town, &who, None).await else {
            town.measured.borrow_mut().users.count("no session");
            sleep(PAUSE).await;
            continue;
        };
        while !town.over.get() {
            sleep(PAUSE).await;
            let asked = Instant::now();
            let posted = client.post("/api/v1/quotes", &body).await;
            let answer =
                posted.map_or_else(|error| error.kind().to_string(), |(status, _)| status.to_string());
            let mut there = false;
            let reading = async {
                while !there {
                    line.readable().await;
                    line.take(|heard| {
                        there |= matches!(heard, Heard::Message(text) if kind(text) == "quote");
                    })?;
                }
                Ok(())
            };
            // A refused quote does not come, but an end of the session is seen.
            let patience = if answer == "202" { PATIENCE } else { Duration::from_millis(1) };
            let end = timeout(patience, reading).await;
            let mut measured = town.measured.borrow_mut();
            match end {
                Ok(Ok(())) => measured.users.took(asked.elapsed()),
                Err(_) => measured.users.count(if answer == "202" { "202 without a quote" } else { &answer }),
                Ok(Err(end)) => {
                    measured.users.count(&format!("session {}", word(end)));
                    break;
                }
            }
        }
    }
}

/// New users, one after another, each over a connection of its own; each enters a room that was not there.
pub(crate) async fn newcomers(town: Rc<Town>) {
    let mut index = 1_000;
    while !town.over.get() {
        index += 1;
        let begun = Instant::now();
        let who = who(index, &format!("new-{index}"), "none");
        match open(&town, &who, None).await {
            Ok((mut line, ..)) => {
                town.measured.borrow_mut().newcomers.took(begun.elapsed());
                let entered = enter(&mut line, &format!("chat:new-{index}")).await;
                if !entered {
                    town.measured.borrow_mut().newcomers.count("no room");
                }
                line.leave();
            }
            Err(end) => town.measured.borrow_mut().newcomers.count(&word(end)),
        }
        sleep(BETWEEN).await;
    }
}

/// Enters a room; `false`: it was refused, or nobody answered.
async fn enter(line: &mut Line, room: &str) -> bool {
    line.say(&format!(r#"{{"type":"subscribe","channels":["{room}"],"id":1}}"#));
    let mut answer = None;
    let reading = async {
        while answer.is_none() {
            line.readable().await;
            let taken = line.take(|heard| match heard {
                Heard::Message(text) if kind(text) == "ack" => answer = Some(true),
                Heard::Message(text) if kind(text) == "error" => answer = Some(false),
                _ => (),
            });
            if taken.is_err() {
                return;
            }
        }
    };
    let _ = timeout(PATIENCE, reading).await;
    answer == Some(true)
}

/// A balancer's question, each over a connection of its own.
pub(crate) async fn health(town: Rc<Town>) {
    let request = get("/healthz").header("Connection", "close").bytes(&town.ports.http.address.to_string());
    while !town.over.get() {
        let begun = Instant::now();
        let asking = async {
            let mut stream = TcpStream::connect(town.ports.http.address).await?;
            stream.write_all(&request).await?;
            io::Result::Ok(Response::read(&mut stream, &mut Vec::new(), false).await?.status)
        };
        let answer = timeout(PATIENCE, asking).await;
        town.measured.borrow_mut().health.answer(answer, begun.elapsed());
        sleep(BETWEEN).await;
    }
}

/// A user whose line is cut, with what is needed to come back.
pub(crate) struct Away {
    who: Rc<Who>,
    token: String,
}

impl Away {
    /// Opens a session, uses it, and cuts its line.
    pub(crate) async fn go(town: &Town, index: u32) -> Result<Self, String> {
        let who = who(2_000 + index, &format!("away-{index}"), "none");
        let (mut line, token, _) = open(town, &who, None).await.map_err(word)?;
        if !enter(&mut line, "chat:away").await {
            return Err("a user could not enter a room before the attack".to_owned());
        }
        line.reset();
        Ok(Self { who, token })
    }

    /// Comes back; whether the session was still there.
    pub(crate) async fn come_back(self, town: &Town) -> bool {
        matches!(open(town, &self.who, Some(&self.token)).await, Ok((_, _, true)))
    }
}

/// Says messages in a room before the attack, which somebody later should hear.
pub(crate) struct Room {
    _line: Line,
}

impl Room {
    const NAME: &str = "chat:quiet";
    pub(crate) const MESSAGES: u32 = 10;

    pub(crate) async fn begin(town: &Town) -> Result<Self, String> {
        let who = who(3_000, "quiet", "none");
        let (mut line, ..) = open(town, &who, None).await.map_err(word)?;
        if !enter(&mut line, Self::NAME).await {
            return Err(format!("{} cannot be entered", Self::NAME));
        }
        let mut heard = 0;
        for number in 0..Self::MESSAGES {
            line.say(&format!(r#"{{"type":"publish","channel":"{}","data":{number}}}"#, Self::NAME));
        }
        let reading = async {
            while heard < Self::MESSAGES {
                line.readable().await;
                line.take(|item| {
                    heard += u32::from(matches!(item, Heard::Message(text) if kind(text) == "message"))
                })?;
            }
            Ok::<_, End>(())
        };
        let done = timeout(PATIENCE, reading).await;
        if matches!(done, Ok(Ok(()))) {
            Ok(Self { _line: line })
        } else {
            Err(format!("{} does not answer", Self::NAME))
        }
    }

    /// Counts the messages that a newcomer hears there.
    pub(crate) async fn kept(&self, town: &Town) -> u32 {
        let who = who(3_001, "quiet-2", Self::NAME);
        let Ok((mut line, ..)) = open(town, &who, None).await else { return 0 };
        let mut heard = 0;
        let reading = async {
            while heard < Self::MESSAGES {
                line.readable().await;
                let taken = line.take(|item| {
                    heard += u32::from(matches!(item, Heard::Message(text) if kind(text) == "message"))
                });
                if taken.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(Duration::from_secs(1), reading).await;
        heard
    }
}

/// Times and other outcomes of one kind of question.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) times: Vec<u32>,
    pub(crate) other: BTreeMap<String, u32>,
}

impl Tally {
    fn took(&mut self, time: Duration) {
        self.times.push(micros(time));
    }

    fn answer(&mut self, answer: Result<io::Result<u16>, Elapsed>, time: Duration) {
        match answer {
            Ok(Ok(200)) => self.took(time),
            Ok(Ok(status)) => self.count(&status.to_string()),
            Ok(Err(error)) => self.count(&error.kind().to_string()),
            Err(_) => self.count("silence"),
        }
    }

    fn count(&mut self, word: &str) {
        *self.other.entry(word.to_owned()).or_default() += 1;
    }
}
