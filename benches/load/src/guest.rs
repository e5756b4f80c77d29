//! Sessions of the other endpoints: streams, `/broadcast`, `/chat`, `/command`. Nothing of theirs comes again.

use crate::decoder::{End, Heard};
use crate::habit::about;
use crate::line::{Door, Line, Who};
use crate::stage::Stage;
use crate::talk::Talk;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

/// Runs one client until it leaves; a lost connection is opened again.
pub(crate) async fn live(
    stage: Rc<Stage>,
    who: Rc<Who>,
    path: &'static str,
    leave: Instant,
    turn: OwnedSemaphorePermit,
) {
    let (mut turn, mut talk) = (Some(turn), Talk::default());
    while Instant::now() < leave {
        let end = match Line::open(&stage.ports, &who, Door::Other(path), None).await {
            Ok(mut line) => {
                match stay(&stage, &mut line, &mut talk, (path, &who.user, leave), &mut turn).await {
                    Some(end) => end,
                    None if fastrand::bool() => return line.reset(),
                    None => {
                        line.leave();
                        // The server ends the connection; nobody waits for that for long.
                        sleep(Duration::from_millis(200)).await;
                        return;
                    }
                }
            }
            Err(end) => end,
        };
        turn = None;
        talk.forget();
        stage.guests.borrow_mut().end(end);
        sleep(Duration::from_millis(fastrand::u64(50..500))).await;
    }
    drop(turn);
}

/// `None`: it is time to leave.
async fn stay(
    stage: &Stage,
    line: &mut Line,
    talk: &mut Talk,
    (path, user, leave): (&'static str, &str, Instant),
    turn: &mut Option<OwnedSemaphorePermit>,
) -> Option<End> {
    let far = leave + Duration::from_secs(1);
    // Each message there goes to all sessions, so questions are rare.
    let asks = match path {
        "/command" => Some(Duration::from_secs(5)),
        "/chat" | "/broadcast" => Some(Duration::from_secs(60)),
        _ => None,
    };
    let mut time = pin!(sleep_until(leave));
    let mut ask = pin!(sleep_until(asks.map_or(far, |asks| Instant::now() + about(asks))));
    let mut opened = false;
    loop {
        tokio::select! {
            () = &mut time => return None,
            () = &mut ask => {
                if talk.ask(stage) && let Some(text) = talk.elsewhere(path, user) {
                    line.say(&text);
                }
                ask.as_mut().reset(asks.map_or(far, |asks| Instant::now() + about(asks)));
            }
            () = line.readable() => {
                let end = line.take(|heard| if let Heard::Message(text) = heard {
                    stage.guests.borrow_mut().heard += 1;
                    if is_answer(path, text, user) {
                        talk.answer(stage);
                    }
                });
                if let Err(end) = end {
                    return Some(end);
                }
                *turn = None;
                stage.guests.borrow_mut().opened += u64::from(!opened);
                opened = true;
            }
        }
    }
}

/// Whether that is what comes back to a user who has said something.
fn is_answer(path: &str, text: &[u8], user: &str) -> bool {
    let text = String::from_utf8_lossy(text);
    match path {
        "/command" => true,
        "/chat" => text.contains(&format!(r#""{user}""#)),
        _ => text.starts_with(r#"{"type":"echo""#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_own_one() {
        let said = Talk::default().elsewhere("/chat", "mix-1").unwrap();
        assert!(
            is_answer("/chat", said.as_bytes(), "mix-1") && !is_answer("/chat", said.as_bytes(), "mix-12")
        );
        assert!(is_answer("/broadcast", br#"{"type":"echo","data":{}}"#, "a"));
        assert!(!is_answer("/broadcast", br#"{"type":"broadcast","data":{}}"#, "a"));
    }
}
