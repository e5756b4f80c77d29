//! Over real sockets.

use super::*;
use crate::protocol::cluster::ToMaster;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{PipeReader, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Command, Stdio};

fn pair() -> (LinkSender, LinkReceiver) {
    let (left, right) = UnixStream::pair().unwrap();
    let (sender, _, writer) = link(left);
    tokio::spawn(writer.run());
    (sender, link(right).1)
}

fn message(ticket: u64) -> ToMaster<'static> {
    ToMaster::Published { ticket, sessions: 1 }
}

/// The writing ends of a pipe: its reader sees the end when all copies are closed.
fn ends(count: usize) -> (PipeReader, Vec<OwnedFd>) {
    let (reader, writer) = pipe().unwrap();
    let copies = (0..count).map(|_| writer.try_clone().unwrap().into()).collect();
    (reader, copies)
}

/// Waits a little: a process that another test starts has copies of everything until it becomes its program.
fn all_are_closed(reader: PipeReader) -> bool {
    let mut wanted = [PollFd::new(&reader, PollFlags::IN)];
    poll(&mut wanted, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    wanted[0].revents().contains(PollFlags::HUP)
}

#[tokio::test]
async fn messages_arrive_in_order_with_their_own_descriptors() {
    let (sender, mut receiver) = pair();
    let mut inodes = Vec::new();
    for ticket in 0..10_000u64 {
        let files: Vec<_> = (0..ticket % 1000 / 997).map(|_| tempfile::tempfile().unwrap()).collect();
        inodes.extend(files.iter().map(|file| (ticket, file.metadata().unwrap().ino())));
        sender.send_with(&message(ticket), files.into_iter().map(OwnedFd::from).collect()).unwrap();
    }
    let (mut next, mut got) = (0, Vec::new());
    while next < 10_000 {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(received) = batch.next_with::<ToMaster<'_>>() {
            let (received, descriptors) = received.unwrap();
            assert_eq!(received, message(next));
            got.extend(descriptors.into_iter().map(|one| (next, File::from(one).metadata().unwrap().ino())));
            next += 1;
        }
    }
    assert_eq!((got.len(), got), (30, inodes));
}

#[tokio::test]
async fn a_message_is_written_while_later_ones_wait() {
    let (left, right) = UnixStream::pair().unwrap();
    let (sender, _, writer) = link(left);
    tokio::spawn(writer.run());
    let mut receiver = link(right).1;
    sender.send(&message(1)).unwrap();
    let first = sender.said();
    assert_eq!((sender.written(), sender.waiting() as u64), (0, first));
    sender.send(&"x".repeat(4 << 20)).unwrap();
    let both = sender.said();
    while sender.written() < first {
        tokio::task::yield_now().await;
    }
    assert!(sender.written() < both && sender.waiting() > 0, "the socket is full");
    let mut got = 0;
    while got < 2 {
        let mut batch = receiver.receive().await.unwrap();
        got += std::iter::from_fn(|| batch.next_with::<()>()).count();
    }
    assert_eq!((sender.written(), sender.waiting(), sender.said()), (both, 0, both));
}

#[tokio::test]
async fn what_is_sent_at_once_is_the_kernels_and_goes_after_what_waits() {
    let (left, right) = UnixStream::pair().unwrap();
    let (sender, _, writer) = link(left);
    let mut receiver = link(right).1;
    let (reader, mut copies) = ends(600);
    let mut say = |ticket, at_once: bool| {
        let copies = vec![copies.pop().unwrap()];
        let sent = [LinkSender::send_with, LinkSender::send_at_once][usize::from(at_once)];
        sent(&sender, &message(ticket), copies).unwrap();
        sender.waiting()
    };
    assert_eq!([say(0, true), say(1, true)], [0, 0], "nobody writes yet");
    let waiting = say(2, false);
    assert!(waiting > 0 && say(3, true) > waiting);
    tokio::spawn(writer.run());
    let (mut next, mut came) = (0, 0);
    // Until the socket is full, and then the rest.
    (4..600).for_each(|ticket| _ = say(ticket, true));
    while next < 600 {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(received) = batch.next_with::<ToMaster<'_>>() {
            let (received, descriptors) = received.unwrap();
            assert_eq!(received, message(next));
            (next, came) = (next + 1, came + descriptors.len());
        }
    }
    assert_eq!((came, sender.written()), (600, sender.said()));
    assert!(all_are_closed(reader));
}

#[tokio::test]
async fn more_descriptors_than_one_write_may_carry_go_with_several_messages() {
    let (sender, mut receiver) = pair();
    let (reader, _) = ends(0);
    for ticket in 0..4 {
        let copies = (0..150).map(|_| reader.try_clone().unwrap().into()).collect();
        sender.send_with(&message(ticket), copies).unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 4 {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(received) = batch.next_with::<ToMaster<'_>>() {
            got.push(received.unwrap().1.len());
        }
    }
    assert_eq!(got, [150; 4]);
    let copies = (0..254).map(|_| reader.try_clone().unwrap().into()).collect();
    assert!(matches!(sender.send_with(&message(9), copies), Err(LinkError::TooManyDescriptors(1))));
}

#[tokio::test]
async fn a_large_message_with_descriptors_takes_many_writes() {
    let (sender, mut receiver) = pair();
    let (reader, copies) = ends(3);
    let text = "x".repeat(3 << 20);
    sender.send(&text).unwrap();
    sender.send_with(&text, copies).unwrap();
    sender.send(&"end").unwrap();
    let mut got = Vec::new();
    while got.len() < 3 {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(received) = batch.next_with::<String>() {
            let (text, descriptors) = received.unwrap();
            got.push((text.len(), descriptors.len()));
        }
    }
    assert_eq!(got, [(3 << 20, 0), (3 << 20, 3), (3, 0)]);
    assert!(all_are_closed(reader));
}

#[tokio::test]
async fn descriptors_that_nobody_takes_are_closed() {
    let (sender, mut receiver) = pair();
    let (unwanted, copies) = ends(2);
    sender.send_with(&message(0), copies).unwrap();
    let (unread, copies) = ends(2);
    sender.send_with(&message(1), copies).unwrap();
    let mut seen = 0;
    while seen == 0 {
        let mut batch = receiver.receive().await.unwrap();
        seen += usize::from(batch.next::<ToMaster<'_>>().is_some());
    }
    assert!(all_are_closed(unwanted));
    drop(receiver);
    assert!(all_are_closed(unread));
}

#[tokio::test]
async fn garbage_and_an_end_are_told() {
    let (left, right) = UnixStream::pair().unwrap();
    let (_sender, mut receiver, _writer) = link(right);
    left.try_write(&[1, 0, 0, 0, 0, 250]).unwrap();
    let mut batch = receiver.receive().await.unwrap();
    assert!(matches!(batch.next::<ToMaster<'_>>(), Some(Err(LinkError::Garbage(_)))));
    left.try_write(&[255; 5]).unwrap();
    assert!(matches!(receiver.receive().await, Err(LinkError::Oversized(_))));
    drop(left);
    let (left, right) = UnixStream::pair().unwrap();
    drop(left);
    let (_sender, mut receiver, _writer) = link(right);
    assert!(matches!(receiver.receive().await, Err(LinkError::Closed)));
}

#[tokio::test]
async fn a_message_that_is_too_long_leaves_nothing_behind() {
    let (sender, mut receiver) = pair();
    let (reader, copies) = ends(1);
    let long = "x".repeat(33 << 20);
    assert!(matches!(sender.send_with(&long, copies), Err(LinkError::Oversized(_))));
    assert!(all_are_closed(reader));
    sender.send(&message(1)).unwrap();
    assert_eq!(receiver.receive().await.unwrap().next::<ToMaster<'_>>().unwrap().unwrap(), message(1));
}

/// Not a test but the child of the one below: receives one message, with room for three more descriptors.
#[tokio::test]
#[ignore = "the child of another test"]
async fn receive_at_the_limit() {
    let stream = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    stream.set_nonblocking(true).unwrap();
    let (sender, mut receiver, writer) = link(UnixStream::from_std(stream).unwrap());
    tokio::spawn(writer.run());
    let highest: u64 = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap())
        .max()
        .unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current| setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
    limit(highest + 1);
    let _gaps: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    limit(highest + 4);
    for _ in 0..2 {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(received) = batch.next_with::<String>() {
            let words = match received {
                Ok((text, descriptors)) => format!("{text}: {}", descriptors.len()),
                Err(error) => error.to_string(),
            };
            sender.send(&words).unwrap();
        }
    }
    while sender.waiting() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn too_few_descriptors_at_the_receivers_limit_refuse_the_whole_message() {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let name = "protocol::link::tests::receive_at_the_limit";
    let arguments = ["--exact", name, "--ignored", "--quiet", "--test-threads=1"];
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    ours.set_nonblocking(true).unwrap();
    let (sender, mut receiver, writer) = link(UnixStream::from_std(ours).unwrap());
    tokio::spawn(writer.run());
    let (reader, copies) = ends(10);
    sender.send_with(&"ten", copies).unwrap();
    let mut next = async || {
        let mut batch = receiver.receive().await.unwrap();
        batch.next::<String>().unwrap().unwrap()
    };
    let told = next().await;
    assert!(told.starts_with("3 of 10 descriptors came"), "{told}");
    assert!(all_are_closed(reader), "those that came are closed");
    let (_reader, copies) = ends(1);
    sender.send_with(&"one", copies).unwrap();
    assert_eq!(next().await, "one: 1");
    assert!(child.wait().unwrap().success());
}
