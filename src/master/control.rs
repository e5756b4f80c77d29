//! The control socket: one JSON object on a line asks, one on a line answers. Whoever may open the socket (its
//! owner) may do everything.

use super::command::{Asked, Command};
use super::core::Master;
use super::directory;
use super::event::Event;
use super::reloads::Outcome;
use crate::model::SessionId;
use crate::os::clock;
use crate::protocol::client;
use crate::protocol::cluster::{Role, Slot, ToFeeder};
use crate::ws::frame;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Longest question in bytes.
const LINE: u64 = 1 << 20;
/// Longest time for a question to come, and for its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions at one time.
const AT_ONCE: usize = 32;

/// Serves the socket, and the one that takes its place.
pub(super) async fn serve(
    mut listener: UnixListener,
    mut renewed: mpsc::Receiver<UnixListener>,
    events: mpsc::Sender<Event>,
) {
    let places = std::sync::Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(other) = renewed.recv() => {
                listener = other;
                continue;
            }
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let events = events.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, events).await {
                tracing::debug!(%error, "control");
            }
        });
    }
}

/// [`Command::Publish`] with the bytes of its data as they came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication<'a> {
    #[serde(borrow)]
    command: std::borrow::Cow<'a, str>,
    channel: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

async fn converse(stream: UnixStream, events: mpsc::Sender<Event>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LINE));
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Publication<'_>>(&line) {
        Ok(it) if it.command == "publish" => Ok(Command::publish(it.channel, it.data.get())),
        _ => serde_json::from_str(&line),
    };
    let answer = match answer {
        Err(error) => failed(error.to_string()),
        Ok(Command::Sessions { user, .. }) => return list(user, &events, &mut write).await,
        Ok(command) => ask(command, &events).await,
    };
    tell(&mut write, &format!("{answer}\n")).await
}

async fn ask(command: Command, events: &mpsc::Sender<Event>) -> Value {
    let (answer, receiver) = oneshot::channel();
    let _ = events.send(Event::Asked(Asked { command, answer })).await;
    receiver.await.unwrap_or_else(|_| failed("the daemon is ending"))
}

async fn tell(write: &mut OwnedWriteHalf, text: &str) -> io::Result<()> {
    timeout(PATIENCE, write.write_all(text.as_bytes())).await?
}

/// Writes the sessions page by page: between two of them the master has time for everything else.
async fn list(
    user: Option<String>,
    events: &mpsc::Sender<Event>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let (mut from, mut before) = (0, r#"{"ok":true,"sessions":["#);
    loop {
        let page = ask(Command::Sessions { user: user.clone(), from }, events).await;
        let text = page["page"].as_str().ok_or(io::ErrorKind::UnexpectedEof)?;
        if !text.is_empty() {
            tell(write, before).await?;
            tell(write, text).await?;
            before = ",";
        }
        match page["next"].as_u64().and_then(|next| u32::try_from(next).ok()) {
            Some(next) => from = next,
            None if before == "," => return tell(write, "]}\n").await,
            None => return tell(write, &format!("{before}]}}\n")).await,
        }
    }
}

pub(super) fn done() -> Value {
    json!({ "ok": true })
}

pub(super) fn failed(error: impl Into<String>) -> Value {
    json!({ "ok": false, "error": error.into() })
}

fn raw(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

impl Master {
    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { command, answer } = asked;
        let value = match command {
            Command::Status => self.status_json(),
            Command::Workers => json!({ "ok": true, "workers": raw(&self.stats_json())["workers"] }),
            Command::Sessions { user, from } => {
                let (page, next) = self.directory.page(user.as_deref(), from, directory::PAGE);
                json!({ "page": page, "next": next })
            }
            Command::Sources => {
                let mut value = self.feed.sources_json(clock::boot());
                value["ok"] = Value::Bool(true);
                value
            }
            Command::Price { symbol } => self
                .price_json(symbol.as_deref())
                .unwrap_or_else(|| failed("price.symbols does not have this symbol")),
            Command::Reload => return self.reload_for(answer),
            Command::Retry { source } => self.retry(source.as_deref()),
            Command::RestartWorker { id } => self.restart_worker(id),
            Command::Move { session, worker } => return self.move_for(&session, worker, answer),
            Command::Drain { worker } => return self.drain_for(worker, answer),
            Command::Rebalance => return self.rebalance_for(answer),
            Command::Kick { session } => {
                let found = SessionId::parse(&session).is_some_and(|session| self.disconnect(session));
                if found { done() } else { failed("there is no such session") }
            }
            Command::Revoke(order) => self.revoke_for(&order),
            Command::Reconnect { user } => json!({ "ok": true, "sessions": self.reconnect(&user) }),
            Command::Publish { channel, data, raw } => {
                let data = if raw.is_empty() { data.to_string() } else { raw };
                return self.publish_for(&channel, &data, answer);
            }
            Command::Upgrade { binary } => return self.upgrade_for(binary, answer),
            Command::Stop { keep_sessions } => {
                if keep_sessions {
                    return self.stop_keeping_for(answer);
                }
                self.stop();
                done()
            }
        };
        let _ = answer.send(value);
    }

    /// Has a price source tried now, or all of them.
    fn retry(&mut self, source: Option<&str>) -> Value {
        let all = &self.in_force.config().price.providers;
        if let Some(name) = source
            && !all.iter().any(|known| known == name)
        {
            return failed(format!("price.providers has no source {name}; it has: {}", all.join(", ")));
        }
        let sources = source.map_or_else(|| all.clone(), |name| vec![name.to_owned()]);
        self.children.tell_feeders(&ToFeeder::Retry { source });
        json!({ "ok": true, "sources": sources })
    }

    fn restart_worker(&mut self, id: Slot) -> Value {
        let now = clock::mono();
        let role = Role::Worker(id);
        if self.fleet.state(role).is_none() {
            return failed(format!("there is no worker {id}"));
        }
        let mut actions = self.fleet.revive(now, role);
        if actions.is_empty() {
            actions = self.fleet.replace(now, role);
        }
        self.act(actions);
        done()
    }

    fn reload_for(&mut self, answer: oneshot::Sender<Value>) {
        let (sender, receiver) = oneshot::channel::<Outcome>();
        tokio::spawn(async move {
            let value = match receiver.await {
                Ok(outcome) => serde_json::to_value(outcome).unwrap_or(Value::Null),
                Err(_) => failed("the daemon is ending"),
            };
            let _ = answer.send(value);
        });
        self.reload(Some(sender));
    }

    fn publish_for(&mut self, channel: &str, data: &str, answer: oneshot::Sender<Value>) {
        let known = self.in_force.config().channels.iter().any(|known| known.name == channel);
        if !known && client::room(channel).is_none() {
            let _ = answer.send(failed("no [[channels]] of the configuration has this name"));
            return;
        }
        let text = client::channel_message(channel, None, clock::wall(), data);
        let (request, receiver) = self.children.expect();
        self.say(request, channel, &frame::text(text), clock::mono());
        tokio::spawn(async move {
            let sessions = receiver.await.unwrap_or(0);
            let _ = answer.send(json!({ "ok": true, "sessions": sessions }));
        });
    }
}
