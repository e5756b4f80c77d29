//! A client against a server that says what the test wants.

use super::Member;
use crate::decoder::Transport;
use crate::habit::Habit;
use crate::line::Who;
use crate::options::Ports;
use crate::stage::Stage;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

const HABIT: Habit = Habit { every: None, away: Duration::ZERO, ghosts: 0, wander: 0, hasty: 0, asks: None };

fn stage(listener: &TcpListener) -> Rc<Stage> {
    let address = listener.local_addr().unwrap();
    let ports = Ports {
        url: format!("ws://{address}/ws").parse().unwrap(),
        http: format!("http://{address}").parse().unwrap(),
        admin: format!("http://{address}").parse().unwrap(),
        channel: "news".to_owned(),
        pid: None,
    };
    Rc::new(Stage::new(Rc::new(ports), 1))
}

/// Publishes so many messages, as the stage knows.
fn publish(stage: &Stage, count: u32) {
    let mut courses = stage.courses.borrow_mut();
    let course = courses.entry("news".to_owned()).or_default();
    for _ in 0..count {
        course.begin();
        course.end(true);
    }
}

fn frame(json: &str) -> Vec<u8> {
    let mut frame = vec![0x81, u8::try_from(json.len()).unwrap()];
    frame.extend_from_slice(json.as_bytes());
    frame
}

fn message(number: u32) -> Vec<u8> {
    frame(&format!(r#"{{"type":"message","channel":"news","data":{{"load":{number}}}}}"#))
}

/// Accepts the next connection, greets it, and says these messages. Returns it and what it has asked for.
async fn greet(listener: &TcpListener, welcome: &str, messages: &[u32]) -> (TcpStream, String) {
    let mut server = listener.accept().await.unwrap().0;
    let mut request = vec![0; 4096];
    let len = server.read(&mut request).await.unwrap();
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
    answer.extend(frame(welcome));
    answer.extend(messages.iter().flat_map(|number| message(*number)));
    server.write_all(&answer).await.unwrap();
    (server, String::from_utf8(request[..len].to_vec()).unwrap())
}

#[tokio::test]
async fn a_client_says_what_it_has_and_believes_what_it_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stage = stage(&listener);
    let who = Rc::new(Who { index: 0, user: "a".to_owned(), channels: "news".to_owned() });
    let test = async {
        let (member, record) = Member::new(&stage, who, Transport::Ws, &HABIT, None);
        let client = spawn_local(member.live(None));

        let (server, asked) =
            greet(&listener, r#"{"type":"welcome","resume":"t","resumed":false}"#, &[]).await;
        assert!(asked.starts_with("GET /ws?user_id=a&channels=news HTTP"), "{asked}");
        drop(server);
        let (mut server, asked) =
            greet(&listener, r#"{"type":"welcome","resume":"u","resumed":true}"#, &[]).await;
        assert!(asked.contains("&resume=t.0 HTTP"), "{asked}");
        publish(&stage, 3);
        server.write_all(&[message(0), message(1), message(1)].concat()).await.unwrap();
        drop(server);
        // A duplicate counts, too: the server counts what it sends.
        let (server, asked) =
            greet(&listener, r#"{"type":"welcome","resume":"v","resumed":true}"#, &[2]).await;
        assert!(asked.contains("&resume=u.3 HTTP"), "{asked}");
        drop(server);
        publish(&stage, 4);
        let (mut server, asked) =
            greet(&listener, r#"{"type":"welcome","resume":"w","resumed":false}"#, &[]).await;
        assert!(asked.contains("&resume=v.1 HTTP"), "{asked}");
        while !record.borrow().gapped {
            tokio::task::yield_now().await;
        }
        publish(&stage, 2);
        server.write_all(&message(8)).await.unwrap();
        while record.borrow().tracks[0].1.next() < 9 {
            tokio::task::yield_now().await;
        }
        client.abort();

        let track = &mut record.borrow_mut().tracks[0].1;
        assert_eq!((track.said, track.duplicates, track.disorder), (4, 1, 0));
        assert_eq!(track.end(9), [7], "published after the welcome that admits the gap");
        let comebacks = stage.comebacks.borrow();
        assert_eq!((comebacks.resumed, comebacks.gaps, comebacks.lost), (2, 1, 3));
        assert_eq!(stage.replay()["ws"].count, 1);
        assert_eq!(stage.told.borrow().len(), 2);
    };
    LocalSet::new().run_until(test).await;
}
