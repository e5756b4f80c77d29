//! Tests of the hub as a whole.

use super::parts::requests::Waiter;
use super::parts::session;
use super::parts::sessions::SessionRef;
use super::parts::uplink::Uplink;
use super::state::{READ, State};
use super::{Framing, Hub, Me, Push, SessionRequest, arrive};
use crate::config::{Source, Surroundings, load};
use crate::model::{SessionId, UserId};
use crate::os::board::Board;
use crate::protocol::client::{Close, Resume, Token};
use crate::protocol::cluster::{Endpoint, Tally, ToMaster, TokenName, Verdict};
use crate::protocol::link::{LinkReceiver, LinkWriter, link};
use crate::protocol::peer::{Peer, Taken};
use crate::transports::ws::Wire;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

/// A hub of its own, and the master's end of its link.
pub(super) fn hub(overrides: &[(&str, &str)]) -> (Hub, LinkWriter, LinkReceiver) {
    let (here, there) = tokio::net::UnixStream::pair().unwrap();
    let ((uplink, _, writer), (_, receiver, _)) = (link(here), link(there));
    let mut source = Source::find(None, Some("test"), &Surroundings::default()).unwrap();
    source.required = false;
    source.overrides = overrides.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let config = load(&source).unwrap().config;
    let me = Me { slot: 1, generation: 7, pid: 1 };
    (Hub::new(me, Arc::new(config), Uplink::new(uplink, 0), Board::new().unwrap()), writer, receiver)
}

fn request() -> SessionRequest {
    SessionRequest {
        user: UserId::new("alice").unwrap(),
        device: None,
        endpoint: Endpoint::Ws,
        stream: None,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        framing: Framing::Websocket,
        permit: None,
        pass: None,
        takes_over: false,
    }
}

#[tokio::test]
async fn the_shared_buffer_comes_back_from_every_read() {
    let (hub, ..) = hub(&[]);
    let mut state = hub.lock();
    let at = state.open(request(), None);
    // A session that has no connection, and one that has ended.
    state.read(at);
    assert_eq!(state.buffer.len(), READ);
    state.end(at, Close::Done);
    state.read(at);
    assert_eq!(state.buffer.len(), READ);
}

#[tokio::test]
async fn a_session_of_another_form_is_given_back_and_its_client_begins_anew() {
    let (hub, ..) = hub(&[]);
    let mut state = hub.lock();
    let request = request();
    let first = state.open(request.clone(), None);
    state.sessions.get_mut(first).unwrap().link = session::Link::Poll(Box::default());
    state.suspend(first, None, 1);
    let at = state.sessions.at(first.key()).unwrap();
    let token = state.sessions.get(at).and_then(|session| session.token()).unwrap();
    let resume = Resume { token, seen: None };
    let lease = crate::protocol::peer::Lease { holder: 7, request: 1 };
    let Taken::Session(mut bytes) = state.take(&resume, &request.user, lease, false) else { panic!("a gap") };
    bytes[0] = 9;
    let origin = crate::session::Origin { home: 7, lease };
    let announced = state.received(request.clone(), origin, Taken::Session(bytes), Some(vec![]));
    assert_eq!((state.counters.gaps, state.suspended.lent().count()), (1, 0), "the token holds");
    assert!(matches!(state.take(&resume, &request.user, lease, false), Taken::Session(_)));
    drop(state);
    drop(announced);
}

#[tokio::test]
async fn a_session_that_was_announced_for_a_client_that_has_gone_ends() {
    let (hub, ..) = hub(&[]);
    let token = Token { session: SessionId(1), secret: 1 };
    let resume = Resume { token, seen: None };
    let mut arriving = Box::pin(arrive(&hub, request(), Some(resume)));
    assert!(futures_util::poll!(&mut arriving).is_pending());
    let gap = Peer::Taken { request: 1, taken: Taken::Gap }.encode().unwrap();
    hub.lock().hear_peer(&hub, 9, &gap, Vec::new());
    let counts = || {
        let state = hub.lock();
        (state.population(), state.requests.unanswered())
    };
    assert_eq!(counts(), (1, 1));
    drop(arriving);
    assert_eq!(counts(), (0, 0));
}

#[tokio::test]
async fn a_copy_has_the_acks_for_which_its_client_waits() {
    let (hub, ..) = hub(&[]);
    let mut state = hub.lock();
    let at = state.open(request(), None);
    state.sessions.get_mut(at).unwrap().link = session::Link::Poll(Box::default());
    let id = state.sessions.get(at).unwrap().id();
    let numbers: Vec<_> = (0..5)
        .map(|n| {
            let ack = Some(n.to_string().into());
            state.requests.expect(Waiter::Session { key: at.key(), id, ack })
        })
        .collect();
    state.suspend(at, None, 1);
    let at = state.sessions.at(at.key()).unwrap();
    let token = state.sessions.get(at).and_then(|session| session.token()).unwrap();
    let resume = Resume { token, seen: None };
    let lease = crate::protocol::peer::Lease { holder: 7, request: 1 };
    // One receipt comes before its client.
    state.publish_receipt(numbers[0], 1);
    let taken = state.take(&resume, &request().user, lease, false);
    // The others come later.
    numbers[1..].iter().for_each(|number| state.publish_receipt(*number, 1));
    let Taken::Session(bytes) = taken else { panic!("a gap") };
    let (copy, ..) = crate::session::Snapshot::decode(&bytes).unwrap().thaw();
    let kept: Vec<_> = copy.replay.iter().flat_map(|replay| replay.kept()).map(|kept| kept.frame()).collect();
    let acks: Vec<_> =
        (0..5).map(|n| crate::ws::frame::text(format!(r#"{{"type":"ack","id":{n}}}"#))).collect();
    assert_eq!(kept, acks.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn of_copies_that_come_at_once_each_is_decided_on_and_the_master_knows_the_one_that_stays() {
    let (here, there) = tokio::net::UnixStream::pair().unwrap();
    let ((uplink, _, writer), (_, mut receiver, _)) = (link(here), link(there));
    tokio::spawn(writer.run());
    let (hub, ..) = hub(&[]);
    {
        let mut state = hub.lock();
        state.uplink = Uplink::new(uplink, 0);
        let first = state.open(request(), None);
        let before = crate::session::Session::clone(state.sessions.get(first).unwrap());
        let (second, id) = (state.open(request(), Some(&before)), before.identity.id());
        let verdicts = [first, second].map(|at| state.requests.expect_verdict(id, at));
        for mut verdict in verdicts {
            state.opened(id, Verdict::Accepted);
            assert_eq!(verdict.try_recv(), Ok(Verdict::Accepted));
        }
        state.end(first, Close::Replaced);
        assert_eq!(state.sessions.find(id), Some(second));
        state.end(second, Close::Done);
        assert_eq!((state.sessions.find(id), state.requests.unanswered()), (None, 0));
    }
    let mut told = Vec::new();
    while told.len() < 4 {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(message) = batch.next::<ToMaster<'_>>() {
            told.push(match message.unwrap() {
                ToMaster::Open(_) => "open",
                ToMaster::Closed(_) => "closed",
                other => panic!("{other:?}"),
            });
        }
    }
    assert_eq!(told, ["open", "open", "open", "closed"]);
}

/// The tokens that lead to a worker in the end, as the master hears it.
#[tokio::test]
async fn sessions_whose_clients_are_there_leave_before_suspended_ones() {
    let (hub, ..) = hub(&[]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let wire = crate::transports::ws::Wire::new(listener.accept().await.unwrap().0);
    let mut state = hub.lock();
    for _ in 0..3 {
        let at = state.open(request(), None);
        state.sessions.get_mut(at).unwrap().link = session::Link::Poll(Box::default());
        state.suspend(at, None, 1);
    }
    let at = state.open(request(), None);
    state.sessions.get_mut(at).unwrap().link = session::Link::Wire(wire);
    let leave = |state: &State| {
        state.sessions.iter().filter(|(_, one)| one.aside).map(|(at, _)| at).collect::<Vec<_>>()
    };
    state.offload(1, 8, crate::protocol::cluster::Which::Count(1));
    assert_eq!(leave(&state), [at]);
}

#[tokio::test]
async fn a_worker_that_is_to_leave_waits_for_sessions_that_are_on_their_way_to_it() {
    use crate::protocol::cluster::{BatchId, Which};
    for expects in [true, false] {
        let (hub, ..) = hub(&[]);
        let mut state = hub.lock();
        if expects {
            state.expect(BatchId { from: 3, number: 1 }, &[], &[]);
        }
        state.offload(1, 8, Which::All);
        assert_eq!(state.offloads(), expects, "the order is not over");
    }
}

async fn tokens_told(
    receiver: &mut LinkReceiver,
    all: &[(SessionRef, Option<Token>)],
) -> BTreeSet<TokenName> {
    let (mut told, mut present, mut over) = (BTreeSet::new(), BTreeSet::new(), false);
    while !over {
        let mut batch = receiver.receive().await.unwrap();
        while let Some(message) = batch.next::<ToMaster<'_>>() {
            match message.unwrap() {
                ToMaster::Away(token) => assert!(told.insert(token), "said once"),
                ToMaster::Gone(token) => assert!(told.remove(&token), "said once"),
                ToMaster::Open(open) => assert!(present.insert(open.session)),
                ToMaster::Closed(session) => {
                    assert!(present.remove(&session));
                    let number =
                        all.iter().position(|(_, token)| token.is_some_and(|t| t.session == session));
                    let leads = told.iter().any(|token| token.session == session);
                    assert!(leads || number.is_none_or(|n| n == 0), "a token always leads somewhere");
                }
                ToMaster::Drained => over = true,
                other => panic!("{other:?}"),
            }
        }
    }
    told
}

#[tokio::test]
async fn the_master_hears_which_tokens_lead_here() {
    let (here, there) = tokio::net::UnixStream::pair().unwrap();
    let ((uplink, _, writer), (_, mut receiver, _)) = (link(here), link(there));
    tokio::spawn(writer.run());
    let (hub, ..) = hub(&[("resume.sessions", "2")]);
    let (all, expected) = {
        let mut state = hub.lock();
        state.uplink = Uplink::new(uplink, 0);
        let open = |state: &mut State, replay: bool| {
            let at = state.open(request(), None);
            let session = state.sessions.get_mut(at).unwrap();
            session.link = session::Link::Poll(Box::default());
            session.replay = session.replay.take().filter(|_| replay);
            (at, session.token())
        };
        let all: Vec<_> = (0..5).map(|n| open(&mut state, n < 4)).collect();
        let names = |all: &[usize], list: &[(_, Option<Token>)]| {
            let mut names: Vec<_> = all.iter().map(|n| list[*n].1.unwrap().name()).collect();
            names.sort_unstable();
            names
        };
        let kept = |state: &State| {
            let mut names: Vec<_> = state.kept().collect();
            names.sort_unstable();
            assert_eq!(state.suspended.kept(), names.iter().fold(0, |sum, name| sum ^ name.digest()));
            names
        };
        // A token is known for its suspended session and for its ending: it leads here until both are over.
        state.bury(all[0].1.unwrap(), 4005);
        state.end(all[0].0, Close::Lost);
        assert_eq!(kept(&state), names(&[0], &all));
        let first = state.sessions.at(all[0].0.key()).unwrap();
        state.discard(first, None);
        assert_eq!(kept(&state), names(&[0], &all));
        // The third is one too many, and so is the third ending.
        (1..4).for_each(|n| state.end(all[n].0, Close::Lost));
        assert_eq!(kept(&state), names(&[0, 2, 3], &all));
        state.bury(all[1].1.unwrap(), 4005);
        state.bury(all[3].1.unwrap(), 4005);
        assert_eq!(kept(&state), names(&[1, 2, 3], &all));
        // One that is told how it ends, and one without a token.
        state.end(all[4].0, Close::Disconnected);
        assert_eq!(kept(&state), names(&[1, 2, 3], &all));
        let expected = kept(&state);
        state.uplink.tell(&ToMaster::Drained);
        (all, expected)
    };
    let told = tokens_told(&mut receiver, &all).await;
    assert_eq!(told.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn an_answer_to_a_client_that_may_come_back_is_not_denied() {
    for resumes in [true, false] {
        let (here, there) = tokio::net::UnixStream::pair().unwrap();
        let ((uplink, _, writer), (_, mut receiver, _)) = (link(here), link(there));
        tokio::spawn(writer.run());
        let (hub, ..) = hub(&[("resume.window", if resumes { "1m" } else { "0s" })]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().await.unwrap().0;
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let begun = std::time::Instant::now();
        while stream.take_error().unwrap().is_none() {
            assert!(begun.elapsed().as_secs() < 10, "no reset");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        {
            let mut state = hub.lock();
            state.uplink = Uplink::new(uplink, 0);
            let at = state.open(request(), None);
            state.sessions.get_mut(at).unwrap().link = session::Link::Wire(Wire::new(stream));
            let (frame, deadline) = (crate::ws::frame::text("{}"), crate::model::Mono(u64::MAX));
            let id = crate::model::RequestId(1);
            let push = Push { ticket: 3, id, user: "alice", symbol: "BTC-USD", frame: &frame, deadline };
            state.push(&push, 0);
            state.settle();
            assert_eq!(state.sessions.iter().count(), usize::from(resumes));
        }
        let told = loop {
            let mut batch = receiver.receive().await.unwrap();
            let mut told = None;
            while let Some(message) = batch.next::<ToMaster<'_>>() {
                if let ToMaster::Delivered { ticket: 3, tally } = message.unwrap() {
                    told = Some(tally);
                }
            }
            if let Some(tally) = told {
                break tally;
            }
        };
        assert_eq!(told, Tally { waiting: u32::from(resumes), ..Tally::default() });
    }
}

/// The process of this test runs the test once more as a child, which must not live on.
#[tokio::test]
async fn a_panic_that_leaves_the_sessions_half_changed_ends_the_process() {
    const CHILD: &str = "BTC_CLUSTER_TEST_POISON";
    if std::env::var_os(CHILD).is_some() {
        let (hub, ..) = hub(&[]);
        let own = hub.clone();
        let panicked = tokio::spawn(async move {
            let _state = own.lock();
            panic!("in the midst of it");
        });
        assert!(panicked.await.is_err());
        drop(hub.lock());
        unreachable!("a poisoned hub was entered");
    }
    let name = "worker::hub::tests::a_panic_that_leaves_the_sessions_half_changed_ends_the_process";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("in the midst of it") && !told.contains("was entered"), "{told}");
}
