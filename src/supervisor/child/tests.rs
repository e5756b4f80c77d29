//! Against a keeper that the tests play.

use super::*;
use crate::protocol::cluster::{ToMaster, ToWorker};
use crate::protocol::keeper::ToKeeper;
use std::os::unix::net::UnixStream as StdUnixStream;

/// The next order, and its descriptor.
async fn order(keeper: &mut LinkReceiver) -> (String, Option<OwnedFd>) {
    let mut batch = keeper.receive().await.unwrap();
    let (message, with) = batch.next_with::<ToKeeper<'_>>().unwrap().unwrap();
    (format!("{message:?}"), with.into_iter().next())
}

fn end_of_link(with: Option<OwnedFd>) -> (LinkSender, LinkReceiver) {
    let stream = StdUnixStream::from(with.unwrap());
    stream.set_nonblocking(true).unwrap();
    let (sender, receiver, writer) = link(UnixStream::from_std(stream).unwrap());
    tokio::spawn(writer.run());
    (sender, receiver)
}

#[tokio::test]
async fn a_process_is_ordered_with_its_end_of_the_link_and_its_end_is_told() {
    let (line, mut keeper) = Line::pair().unwrap();
    let mut spawner = Spawner::new(line);
    spawner.order(Role::Worker(3), 7).unwrap();
    let (said, with) = order(&mut keeper).await;
    assert_eq!(said, "Start { generation: 7, role: Worker(3) }");
    let (child, mut hears) = end_of_link(with);
    let mut spawned = spawner.started(7).unwrap();
    assert!(spawner.started(7).is_none() && spawner.not_started(7).is_none());
    tokio::spawn(spawned.writer.run());
    spawned.sender.send(&ToWorker::Resync).unwrap();
    assert_eq!(hears.receive().await.unwrap().next::<ToWorker<'_>>().unwrap().unwrap(), ToWorker::Resync);
    child.send(&ToMaster::Drained).unwrap();
    let mut batch = spawned.receiver.receive().await.unwrap();
    assert_eq!(batch.next::<ToMaster<'_>>().unwrap().unwrap(), ToMaster::Drained);

    spawner.kill(7);
    assert_eq!(order(&mut keeper).await.0, "Kill { generation: 7 }");
    spawner.exited(7, End::Status(0));
    assert_eq!(spawned.exit.await, Ok(End::Status(0)));
    spawner.exited(7, End::Status(1));
}

#[tokio::test]
async fn one_that_could_not_be_started_is_forgotten() {
    let (line, mut keeper) = Line::pair().unwrap();
    let mut spawner = Spawner::new(line);
    spawner.order(Role::Feeder, 1).unwrap();
    let (_, with) = order(&mut keeper).await;
    assert_eq!(spawner.not_started(1), Some(Role::Feeder));
    assert!(spawner.started(1).is_none());
    let (_, mut hears) = end_of_link(with);
    assert!(hears.receive().await.is_err(), "the master's end of the link is closed");
}

#[tokio::test]
async fn a_living_process_gets_another_link() {
    let (line, mut keeper) = Line::pair().unwrap();
    let mut spawner = Spawner::new(line);
    let spawned = spawner.relink(Role::Worker(1), 9).unwrap();
    let (said, with) = order(&mut keeper).await;
    assert_eq!((said.as_str(), spawned.role), ("Relink { generation: 9 }", Role::Worker(1)));
    tokio::spawn(spawned.writer.run());
    spawned.sender.send(&ToWorker::Resync).unwrap();
    let (_, mut hears) = end_of_link(with);
    assert_eq!(hears.receive().await.unwrap().next::<ToWorker<'_>>().unwrap().unwrap(), ToWorker::Resync);
}
