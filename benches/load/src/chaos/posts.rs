//! POSTs for random users, and publications on numbered channels.

use super::ledger::Accepted;
use super::world::{Phase, World, lock};
use crate::client::Client;
use serde::Deserialize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Most POSTs at the same time.
const POSTERS: f64 = 64.0;
/// In this time a client has read that it is closed.
const READING: Duration = Duration::from_millis(500);

/// Users and their clients.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) names: Vec<String>,
    /// By user.
    pub(crate) clients: Vec<Vec<u32>>,
    /// By client; clients of other endpoints have none.
    pub(crate) owners: Vec<Option<u32>>,
}

#[derive(Deserialize)]
struct Receipt {
    request_id: uuid::Uuid,
    sessions: u32,
}

/// Asks for quotes, so many a second, until the run is calm.
pub(crate) async fn ask_all(world: Arc<World>, users: Arc<Users>, rate: f64) {
    let posters = rate.ceil().clamp(1.0, POSTERS);
    let mut tasks = JoinSet::new();
    let mut left = posters;
    while left > 0.0 {
        left -= 1.0;
        tasks.spawn_local(ask(world.clone(), users.clone(), Duration::from_secs_f64(posters / rate)));
    }
    while tasks.join_next().await.is_some() {}
}

async fn ask(world: Arc<World>, users: Arc<Users>, period: Duration) {
    let mut client = Client::new(world.ports.http.address);
    sleep(period.mul_f64(fastrand::f64())).await;
    let mut turns = interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while *world.phase.borrow() == Phase::Running {
        turns.tick().await;
        post(&world, &users, &mut client, fastrand::usize(0..users.names.len())).await;
    }
}

async fn post(world: &Arc<World>, users: &Users, client: &mut Client, at: usize) {
    let (clients, user) = (&users.clients[at], u32::try_from(at).unwrap_or(u32::MAX));
    let presence =
        || -> Vec<Option<u32>> { clients.iter().map(|client| world.seat(*client).present()).collect() };
    let mark = |begins| clients.iter().for_each(|client| world.seat(*client).post(begins, world.now()));
    let (before, posted) = (presence(), Instant::now());
    mark(true);
    let path = format!("{}/api/v1/quotes", world.ports.http.path);
    let answer = client.post(&path, &format!(r#"{{"user_id":"{}"}}"#, users.names[at])).await;
    mark(false);
    let answered = Instant::now();
    let status = match answer {
        Ok((202, body)) => {
            match serde_json::from_str::<Receipt>(&body) {
                Ok(Receipt { request_id, sessions }) => {
                    let accepted = Accepted { user, sessions, posted, answered };
                    lock(&world.ledger).accept(request_id.as_u128(), accepted);
                }
                Err(_) => lock(&world.ledger).doubt(user),
            }
            "202".to_owned()
        }
        Ok((status, _)) => {
            if status != 404 {
                lock(&world.ledger).doubt(user);
            }
            status.to_string()
        }
        Err(error) => {
            lock(&world.ledger).doubt(user);
            error.kind().to_string()
        }
    };
    let stayed = {
        let (world, clients) = (world.clone(), clients.clone());
        move || {
            let stayed = |(client, before): (&u32, &Option<u32>)| {
                before.is_some() && world.seat(*client).present() == *before
            };
            clients.iter().zip(&before).any(stayed)
        }
    };
    // Nobody knows whether a frame reached a client that was just cut.
    let status = if status == "504" && !stayed() { "504 for a cut client".to_owned() } else { status };
    let denied = status == "404";
    world.notice_at(world.epoch_at(posted), |noticed| *noticed.posts.entry(status).or_default() += 1);
    if denied {
        let (world, name) = (world.clone(), users.names[at].clone());
        spawn_local(async move {
            sleep(READING).await;
            if stayed() {
                world.notice_at(world.epoch_at(posted), |noticed| noticed.denied += 1);
                world.tell("404", || format!("{name} is connected"));
            }
        });
    }
}

/// Publishes on the channels in turn, so often a second, until the run is calm.
pub(crate) async fn publish_all(world: Arc<World>, channels: Rc<[String]>, rate: f64) -> Result<(), String> {
    let mut client = Client::new(world.ports.admin.address);
    let mut turns = interval(Duration::from_secs_f64(1.0 / rate));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for (count, channel) in channels.iter().cycle().enumerate() {
        turns.tick().await;
        if *world.phase.borrow() != Phase::Running {
            break;
        }
        let number = lock(&world.courses).entry(channel.clone()).or_default().begin();
        let path = format!("{}/api/v1/channels/{channel}/messages", world.ports.admin.path);
        let answer = client.post(&path, &format!(r#"{{"data":{{"load":{number}}}}}"#)).await;
        let accepted = matches!(answer, Ok((202, _)));
        if let Some(course) = lock(&world.courses).get_mut(channel) {
            course.end(accepted);
        }
        match answer {
            Ok((202, _)) => (),
            other if count == 0 => return Err(format!("POST {path}: {other:?}")),
            Ok((status, _)) => {
                world.notice(|noticed| *noticed.posts.entry(format!("channel {status}")).or_default() += 1);
            }
            Err(_) => {
                world.notice(|noticed| *noticed.posts.entry("channel lost".to_owned()).or_default() += 1)
            }
        }
    }
    Ok(())
}
