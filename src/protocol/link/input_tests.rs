//! Random histories: messages with descriptors, cut anywhere, some descriptors lost on the way.

use super::*;
use proptest::prelude::*;
use std::rc::Rc;

/// A message as it is sent: its body and, by its number, whose descriptors it carries and how many of them are lost.
#[derive(Clone, Debug)]
struct Sent {
    body: Vec<u8>,
    descriptors: u8,
    lost: u8,
}

fn sent() -> impl Strategy<Value = Sent> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    (body, 0..4u8, 0..6u8).prop_map(|(body, descriptors, lost)| Sent {
        body,
        descriptors,
        // Most lose none.
        lost: lost.saturating_sub(3).min(descriptors),
    })
}

/// A descriptor: whose it is, and something that counts the copies.
type Descriptor = (usize, Rc<()>);

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let body = postcard::to_allocvec(&self.body).unwrap();
        let head = Head::new(body.len(), self.descriptors.into()).unwrap();
        [&head.bytes()[..], &body].concat()
    }

    fn set(&self, number: usize, counted: &Rc<()>) -> Option<Vec<Descriptor>> {
        let one = || (number, counted.clone());
        (self.descriptors > 0).then(|| (self.lost..self.descriptors).map(|_| one()).collect())
    }
}

/// The receiver's view of one message.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Message(Vec<u8>, Vec<usize>),
    Refused { announced: usize, received: usize },
}

fn drain(batch: &mut Batch<Descriptor>, got: &mut Vec<Got>) {
    while let Some(result) = batch.next_with::<Vec<u8>>() {
        got.push(match result {
            Ok((body, set)) => Got::Message(body, set.iter().map(|(number, _)| *number).collect()),
            Err(LinkError::MissingDescriptors { announced, received }) => {
                Got::Refused { announced, received }
            }
            Err(error) => panic!("{error}"),
        });
    }
}

proptest! {
    #[test]
    fn every_message_has_exactly_its_own_descriptors_however_the_bytes_are_cut(
        messages in prop::collection::vec(sent(), 0..12),
        cuts in prop::collection::vec(1..90usize, 1..40),
    ) {
        let counted = Rc::new(());
        let (mut input, mut got) = (Input::default(), Vec::new());
        let mut cuts = cuts.iter().cycle();
        for (number, message) in messages.iter().enumerate() {
            // A read never reaches from the bytes before into a message with descriptors and past it.
            let (bytes, mut set) = (message.bytes(), message.set(number, &counted));
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                input.push(piece, set.take());
                rest = behind;
                if let Some(mut batch) = input.whole().unwrap() {
                    drain(&mut batch, &mut got);
                }
            }
        }
        let expected: Vec<_> = messages.iter().enumerate().map(|(number, message)| {
            let (announced, lost) = (usize::from(message.descriptors), usize::from(message.lost));
            if lost > 0 {
                return Got::Refused { announced, received: announced - lost };
            }
            Got::Message(message.body.clone(), vec![number; announced])
        }).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(Rc::strong_count(&counted), 1, "all descriptors are closed");
    }

    #[test]
    fn several_messages_of_one_read_keep_their_own(messages in prop::collection::vec(sent(), 0..12), read in 0..12usize) {
        let counted = Rc::new(());
        let mut input = Input::default();
        for (number, message) in messages.iter().enumerate() {
            input.push(&message.bytes(), message.set(number, &counted));
        }
        let (mut batch, mut got) = (input.whole().unwrap(), 0);
        while got < read && let Some(Some(_)) = batch.as_mut().map(Batch::next_with::<Vec<u8>>) {
            got += 1;
        }
        prop_assert_eq!(got, read.min(messages.len()));
        drop(batch);
        prop_assert_eq!(Rc::strong_count(&counted), 1, "those of messages that nobody read are closed");
    }

    #[test]
    fn noise_is_an_error_and_keeps_no_descriptor(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), 0..3usize), 0..30),
    ) {
        let counted = Rc::new(());
        let mut input = Input::default();
        for (piece, descriptors) in pieces {
            let set = (0..descriptors).map(|_| (0, counted.clone())).collect::<Vec<Descriptor>>();
            input.push(&piece, (!set.is_empty()).then_some(set));
            match input.whole() {
                Ok(Some(mut batch)) => while let Some(Ok(_)) = batch.next_with::<Vec<u8>>() {},
                Ok(None) => prop_assert!(Rc::strong_count(&counted) <= 3, "those of one message"),
                Err(_) => break,
            }
        }
        drop(input);
        prop_assert_eq!(Rc::strong_count(&counted), 1);
    }
}

#[test]
fn descriptors_that_no_message_announced_are_refused() {
    let mut input = Input::default();
    let plain = Sent { body: vec![1], descriptors: 0, lost: 0 };
    input.push(&plain.bytes(), Some(vec![()]));
    assert!(matches!(input.whole(), Err(LinkError::TooManyDescriptors(1))));

    let (mut input, with) = (Input::default(), Sent { descriptors: 1, ..plain });
    input.push(&with.bytes(), Some(vec![(), ()]));
    let mut batch = input.whole().unwrap().unwrap();
    assert!(matches!(batch.next::<Vec<u8>>(), Some(Err(LinkError::TooManyDescriptors(1)))));
    assert!(batch.next::<Vec<u8>>().is_none());
}

#[test]
fn a_message_whose_descriptors_never_came_is_refused_and_the_next_one_is_heard() {
    let mut input = Input::<()>::default();
    let with = Sent { body: vec![1], descriptors: 2, lost: 0 };
    input.push(&with.bytes(), None);
    input.push(&Sent { descriptors: 0, ..with }.bytes(), None);
    let mut batch = input.whole().unwrap().unwrap();
    let missing = LinkError::MissingDescriptors { announced: 2, received: 0 };
    assert_eq!(batch.next::<Vec<u8>>().unwrap().unwrap_err().to_string(), missing.to_string());
    assert_eq!(batch.next::<Vec<u8>>().unwrap().unwrap(), [1]);
}
