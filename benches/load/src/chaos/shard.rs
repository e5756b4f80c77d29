//! Threads of clients, each with a runtime of its own.

use super::Options;
use super::habit::{Habit, sort};
use super::posts::Users;
use super::tab::Tab;
use super::world::World;
use crate::connect::PER_ADDRESS;
use crate::line::Who;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

/// Source addresses.
const ADDRESSES: u32 = 8;
/// Of each dozen of main sessions so many belong to one user.
const TOGETHER: u32 = 3;
/// Main sessions of which one is in a room.
const IN_A_ROOM: u32 = 5;

/// The channel of a room; `None`: there are no rooms.
pub(crate) fn room(number: u32, rooms: u32) -> Option<String> {
    (rooms > 0).then(|| format!("chat:load-{}", number % rooms))
}

/// Gives each main session a user; some share one.
pub(crate) fn users(clients: u32) -> Users {
    let (mut users, mut main, mut shared) = (Users::default(), 0_u32, None);
    for client in 0..clients {
        if !sort(client).is_main() {
            users.owners.push(None);
            continue;
        }
        let together = main % 12 < TOGETHER;
        if main % 12 == 0 || !together {
            users.names.push(format!("chaos-{client}"));
            users.clients.push(vec![]);
        }
        let last = users.names.len() - 1;
        if main % 12 == 0 {
            shared = Some(last);
        }
        let user = if together { shared.unwrap_or(last) } else { last };
        users.clients[user].push(client);
        users.owners.push(u32::try_from(user).ok());
        main += 1;
    }
    users
}

/// Starts the threads; they end when all leave.
pub(crate) fn start(
    world: &Arc<World>,
    users: &Arc<Users>,
    options: &Options,
) -> Result<Vec<JoinHandle<()>>, String> {
    let threads = u32::from(options.threads);
    (0..threads)
        .map(|thread| {
            let (world, users, options) = (world.clone(), users.clone(), options.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let clients = move || {
                let clients = (0..options.clients).filter(|client| client % threads == thread);
                LocalSet::new().block_on(&runtime, live(&world, &users, &options, clients));
            };
            Builder::new().name(format!("clients-{thread}")).spawn(clients).map_err(|error| error.to_string())
        })
        .collect()
}

async fn live(world: &Arc<World>, users: &Users, options: &Options, clients: impl Iterator<Item = u32>) {
    let turns = Arc::new(Semaphore::new(options.open_inflight as usize));
    let (ports, mut tasks) = (Rc::new(world.ports.clone()), JoinSet::new());
    for client in clients {
        let Ok(turn) = turns.clone().acquire_owned().await else { break };
        let (habit, who) = (habit(client, options), who(client, users, options));
        tasks.spawn_local(Tab::new(world, &ports, who, habit, turn).live());
    }
    while tasks.join_next().await.is_some() {}
}

/// Whether this client is one of so many percent, drawn by another number for each question.
fn is_drawn(client: u32, percent: u8, question: u32) -> bool {
    client.wrapping_mul(2_654_435_761).rotate_left(question * 7) % 100 < u32::from(percent)
}

/// Whether the client is one by which silence is measured.
fn is_probe(client: u32, options: &Options) -> bool {
    let step = options.clients / options.probes.clamp(1, options.clients);
    options.probes > 0 && client.is_multiple_of(step)
}

fn habit(client: u32, options: &Options) -> Habit {
    use super::habit::Sort::{Chat, Echo, Main, Stream};
    use crate::decoder::Transport::{Sse, Ws};
    let sort = sort(client);
    let speaker = sort == Chat && (0..client).all(|before| super::habit::sort(before) != Chat);
    let talks = match sort {
        Main(Ws) => is_drawn(client, options.talkers, 1),
        Echo => true,
        _ => speaker,
    };
    // A poll waits for company: what it hears is late by design.
    let hears_at_once = matches!(sort, Main(Ws | Sse));
    let cuts = matches!(sort, Main(_)) && is_drawn(client, options.cutters, 2);
    Habit {
        sort,
        probe: sort == Stream || is_probe(client, options) && hears_at_once && !cuts,
        speaker,
        cut: cuts.then_some(options.cut),
        away: options.away,
        act: talks.then_some(options.talk),
    }
}

fn who(client: u32, users: &Users, options: &Options) -> Who {
    // Neighbours come from different addresses.
    let index = client + client % ADDRESSES * PER_ADDRESS;
    let Some(user) = users.owners[client as usize] else {
        return Who { index, user: format!("other-{client}"), channels: String::new() };
    };
    let mut channels = "news".to_owned();
    if is_probe(client, options) {
        channels.push_str(",price:BTC-USD");
    }
    if client.is_multiple_of(IN_A_ROOM)
        && let Some(room) = room(client / IN_A_ROOM, options.rooms)
    {
        channels.push(',');
        channels.push_str(&room);
    }
    Who { index, user: users.names[user as usize].clone(), channels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_main_session_has_a_user_and_some_share_one() {
        let users = users(500);
        assert_eq!((users.owners.len(), users.names.len()), (500, users.clients.len()));
        for (client, owner) in (0_u32..).zip(&users.owners) {
            assert_eq!(owner.is_some(), sort(client).is_main());
            if let Some(owner) = owner {
                assert!(users.clients[*owner as usize].contains(&client));
            }
        }
        let shared = users.clients.iter().filter(|clients| clients.len() == TOGETHER as usize).count();
        assert!(shared > 30 && users.clients.iter().all(|clients| matches!(clients.len(), 1..=3)));
    }

    #[test]
    fn draws_are_fair() {
        let drawn = (0..10_000).filter(|client| is_drawn(*client, 30, 1)).count();
        assert!((2700..3300).contains(&drawn), "{drawn}");
        let both = (0..10_000).filter(|client| is_drawn(*client, 30, 1) && is_drawn(*client, 30, 2)).count();
        assert!((500..1300).contains(&both), "{both}");
    }
}
