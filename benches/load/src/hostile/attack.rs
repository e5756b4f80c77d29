//! What the attacker does: one client without any right, from one address, in a thread of its own.

use crate::options::Ports;
use btc_cluster_client::frame::{TEXT, message};
use btc_cluster_client::http::{Request, Response, get, upgrade};
use clap::ValueEnum;
use serde::Serialize;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Longest wait for an answer; an attacker does not mind.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that are sent before an answer is read.
const PIPELINE: usize = 32;
/// Bytes of a large message, below `ws.max_message`.
const LARGE: usize = 60_000;
/// Messages that a session may say at once (`limits.messages_burst`), less its subscription.
const BURST: usize = 19;

/// An attack, and how many of what it takes by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attack {
    /// Nothing: how all is without an attack.
    None,
    /// 38,000 polls over four connections, opened and never taken up.
    Polls,
    /// 24,000 sessions, opened and cut.
    Cuts,
    /// 2,000 sessions, each cut when it has 57 KB of answers: memory of suspended sessions.
    Heavy,
    /// 15 sessions, each with 1.1 MB said in a room of its own: the rooms' history.
    Said,
    /// 12 sessions that enter 998 rooms, and are cut.
    Rooms,
    /// 400 sessions of one room that do not read, and 3.4 MB said there: the kernel's memory.
    Readers,
    /// 2,500 connections without a request. The daemon should run with `ulimit -n 1024`.
    Idle,
}

/// What the attacker has seen.
pub(crate) type Seen = BTreeMap<String, u32>;

/// An attack under way.
pub(crate) struct Running {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Running {
    /// Whether all has been done; connections may still be held.
    pub(crate) fn is_done(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.thread.is_finished()
    }

    /// Closes what is held, and tells what was seen.
    pub(crate) fn stop(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// Starts the attack. Connections that it holds stay so for `hold` after the last was opened.
pub(crate) fn start(attack: Attack, ports: &Ports, from: IpAddr, hold: Duration) -> Running {
    let over = Arc::new(AtomicBool::new(false));
    let attacker = Attacker { ws: ports.url.address, http: ports.http.address, from };
    let done = over.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return Seen::from([("no runtime".to_owned(), 1)]) };
        runtime.block_on(async {
            let (seen, held) = attacker.run(attack).await;
            sleep(hold).await;
            done.store(true, Ordering::Relaxed);
            drop(held);
            seen
        })
    });
    Running { over, thread }
}

#[derive(Clone, Copy)]
struct Attacker {
    ws: SocketAddr,
    http: SocketAddr,
    from: IpAddr,
}

impl Attacker {
    async fn run(self, attack: Attack) -> (Seen, Vec<TcpStream>) {
        match attack {
            Attack::None => (Seen::new(), vec![]),
            Attack::Polls => self.polls(38_000, 4).await,
            Attack::Cuts => self.open(24_000, "/ws?user_id=cut-", "&channels=none", false).await,
            Attack::Idle => self.idle(2_500).await,
            Attack::Heavy => self.heavy(2_000).await,
            Attack::Readers => self.readers(400, 3).await,
            Attack::Said => self.said(15).await,
            Attack::Rooms => self.rooms(12).await,
        }
    }

    async fn connect(self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if self.from.is_ipv4() == to.is_ipv4() {
            socket.bind((self.from, 0).into())?;
        }
        timeout(PATIENCE, socket.connect(to)).await?
    }

    /// Opens a session, or says why not.
    async fn session(self, path: &str) -> Result<TcpStream, String> {
        let words = |error: io::Error| error.kind().to_string();
        let mut stream = self.connect(self.ws).await.map_err(words)?;
        let request: Request = upgrade(path);
        stream.write_all(&request.bytes(&self.ws.to_string())).await.map_err(words)?;
        let answer = timeout(PATIENCE, Response::read(&mut stream, &mut Vec::new(), true)).await;
        let answer = answer.map_err(|_| "silence".to_owned())?.map_err(words)?;
        if answer.status == 101 { Ok(stream) } else { Err(answer.status.to_string()) }
    }

    /// Opens sessions, and keeps them (unread), or cuts each at once.
    async fn open(self, count: u32, before: &str, after: &str, keep: bool) -> (Seen, Vec<TcpStream>) {
        let (mut seen, mut held, mut tasks) = (Seen::new(), Vec::new(), JoinSet::new());
        let mut take = |opened: Result<TcpStream, String>, seen: &mut Seen| match opened {
            Ok(stream) => {
                count_in(seen, "opened");
                if keep { held.push(stream) } else { cut(&stream) }
            }
            Err(word) => count_in(seen, &word),
        };
        for index in 0..count {
            if tasks.len() >= 64
                && let Some(Ok(opened)) = tasks.join_next().await
            {
                take(opened, &mut seen);
            }
            let path = format!("{before}{index}{after}");
            tasks.spawn(async move { self.session(&path).await });
        }
        while let Some(opened) = tasks.join_next().await {
            take(opened.unwrap_or_else(|error| Err(error.to_string())), &mut seen);
        }
        (seen, held)
    }

    async fn polls(self, count: usize, connections: usize) -> (Seen, Vec<TcpStream>) {
        let mut tasks = JoinSet::new();
        for connection in 0..connections {
            tasks.spawn(async move {
                let mut seen = Seen::new();
                let mut index = 0;
                while index < count / connections {
                    if let Err(error) =
                        self.pipelined(connection, &mut index, count / connections, &mut seen).await
                    {
                        count_in(&mut seen, &error.kind().to_string());
                        index += PIPELINE;
                    }
                }
                seen
            });
        }
        let mut all = Seen::new();
        while let Some(Ok(seen)) = tasks.join_next().await {
            seen.into_iter().for_each(|(word, n)| *all.entry(word).or_default() += n);
        }
        (all, vec![])
    }

    /// Opens polls over one connection until it closes.
    async fn pipelined(
        self,
        connection: usize,
        index: &mut usize,
        count: usize,
        seen: &mut Seen,
    ) -> io::Result<()> {
        let (mut stream, mut buffer) = (self.connect(self.http).await?, Vec::new());
        while *index < count {
            let batch: Vec<u8> = (*index..*index + PIPELINE)
                .flat_map(|n| {
                    get(&format!("/api/v1/poll?user_id=p-{connection}-{n}")).bytes(&self.http.to_string())
                })
                .collect();
            stream.write_all(&batch).await?;
            for _ in 0..PIPELINE {
                let answer = timeout(PATIENCE, Response::read(&mut stream, &mut buffer, false)).await??;
                count_in(seen, &answer.status.to_string());
                *index += 1;
                if answer.is_last() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn idle(self, count: u32) -> (Seen, Vec<TcpStream>) {
        let (mut seen, mut held) = (Seen::new(), Vec::new());
        for _ in 0..count {
            match self.connect(self.http).await {
                Ok(stream) => {
                    count_in(&mut seen, "connected");
                    held.push(stream);
                }
                Err(error) => count_in(&mut seen, &error.kind().to_string()),
            }
        }
        (seen, held)
    }

    /// Lets each session have answers of its own, so that no two share bytes, and cuts it.
    async fn heavy(self, count: u32) -> (Seen, Vec<TcpStream>) {
        let (mut seen, mut held) = self.open(count, "/ws?user_id=heavy-", "&channels=none", true).await;
        let echo = message(TEXT, format!(r#"{{"type":"echo","data":"{}"}}"#, "x".repeat(3_000)).as_bytes());
        for _ in 0..BURST {
            for stream in &mut held {
                if !matches!(timeout(PATIENCE, stream.write_all(&echo)).await, Ok(Ok(()))) {
                    count_in(&mut seen, "not said");
                }
            }
        }
        sleep(Duration::from_secs(2)).await;
        held.drain(..).for_each(|stream| cut(&stream));
        (seen, held)
    }

    /// Fills a room with members who do not read, and says large messages there.
    async fn readers(self, members: u32, speakers: u32) -> (Seen, Vec<TcpStream>) {
        let (mut seen, mut held) = self.open(members, "/ws?user_id=deaf-", "&channels=chat:deaf", true).await;
        let (more, loud) = self.open(speakers, "/ws?user_id=loud-", "&channels=none", true).await;
        more.into_iter().for_each(|(word, n)| *seen.entry(word).or_default() += n);
        for mut stream in loud {
            count_in(&mut seen, if say(&mut stream, "chat:deaf").await { "said" } else { "not said" });
            held.push(stream);
        }
        (seen, held)
    }

    async fn said(self, sessions: u32) -> (Seen, Vec<TcpStream>) {
        let (mut seen, mut held) = self.open(sessions, "/ws?user_id=said-", "&channels=none", true).await;
        for (index, stream) in held.iter_mut().enumerate() {
            let done = say(stream, &format!("chat:said-{index}")).await;
            count_in(&mut seen, if done { "said" } else { "not said" });
        }
        (seen, held)
    }

    /// Enters rooms by the dozen, and then one by one, since a subscription takes all of its rooms or none.
    async fn rooms(self, sessions: u32) -> (Seen, Vec<TcpStream>) {
        let (mut seen, held) = self.open(sessions, "/ws?user_id=rooms-", "&channels=none", true).await;
        for (index, mut stream) in held.into_iter().enumerate() {
            let (messages, some) = if index < 10 { (8, 12) } else { (BURST, 1) };
            for number in 0..messages {
                let names: Vec<_> = (0..some).map(|n| format!(r#""chat:r-{index}-{number}-{n}""#)).collect();
                let text = format!(r#"{{"type":"subscribe","channels":[{}]}}"#, names.join(","));
                let sent = stream.write_all(&message(TEXT, text.as_bytes())).await.is_ok();
                count_in(&mut seen, if sent { "entered" } else { "not entered" });
            }
            sleep(Duration::from_millis(100)).await;
            cut(&stream);
        }
        (seen, vec![])
    }
}

/// Enters a room and says there as much as the rate of messages allows.
async fn say(stream: &mut TcpStream, room: &str) -> bool {
    let enter = format!(r#"{{"type":"subscribe","channels":["{room}"]}}"#);
    let text = format!(r#"{{"type":"publish","channel":"{room}","data":"{}"}}"#, "x".repeat(LARGE));
    let talk = async {
        stream.write_all(&message(TEXT, enter.as_bytes())).await?;
        sleep(Duration::from_millis(100)).await;
        for _ in 0..BURST {
            stream.write_all(&message(TEXT, text.as_bytes())).await?;
        }
        io::Result::Ok(())
    };
    matches!(timeout(PATIENCE, talk).await, Ok(Ok(())))
}

/// Resets the connection once it is dropped.
fn cut(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn count_in(seen: &mut Seen, word: &str) {
    *seen.entry(word.to_owned()).or_default() += 1;
}
