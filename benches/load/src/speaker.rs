//! Publishes numbered messages in all rooms in turn, over one session.

use crate::crowd::room;
use crate::decoder::{End, Heard, Transport};
use crate::habit::about;
use crate::line::{Door, Line, Who};
use crate::said::kind;
use crate::stage::Stage;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Longest time to an `ack`.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between the welcome and the first message, in which the session enters its rooms.
const ENTERING: Duration = Duration::from_secs(2);

/// Speaks until the stage is silent, so often a second. Where it loses its session it opens another one; whether its
/// last message was heard nobody knows then.
pub(crate) async fn speak(stage: Rc<Stage>, rooms: u32, rate: f64) {
    let channels = (0..rooms).map(room).collect::<Vec<_>>().join(",");
    let who = Rc::new(Who { index: 0, user: "mix-speaker".to_owned(), channels });
    let period = Duration::from_secs_f64(1.0 / rate);
    let mut turn = 0;
    while !stage.silent.get() {
        if let Ok(mut line) = Line::open(&stage.ports, &who, Door::Main(Transport::Ws), None).await
            && listen(&mut line, Instant::now() + ENTERING).await.is_ok()
        {
            while !stage.silent.get() {
                turn = (turn + 1) % rooms;
                if say(&stage, &mut line, &room(turn)).await.is_err() {
                    break;
                }
                if listen(&mut line, Instant::now() + about(period)).await.is_err() {
                    break;
                }
            }
            line.leave();
        }
        sleep(about(Duration::from_millis(500))).await;
    }
}

/// Discards messages until then.
async fn listen(line: &mut Line, until: Instant) -> Result<(), End> {
    loop {
        tokio::select! {
            () = sleep_until(until) => return Ok(()),
            () = line.readable() => line.take(|_| ())?,
        }
    }
}

/// Says the room's next message and waits for its `ack`.
async fn say(stage: &Stage, line: &mut Line, room: &str) -> Result<(), End> {
    let number = stage.courses.borrow_mut().entry(room.to_owned()).or_default().begin();
    let json = format!(r#"{{"type":"publish","channel":"{room}","data":{{"load":{number}}},"id":{number}}}"#);
    let mut answer = None;
    let mut end = if line.say(&json) { Ok(()) } else { Err(End::Lost) };
    let patience = Instant::now() + PATIENCE;
    while end.is_ok() && answer.is_none() && timeout_at(patience, line.readable()).await.is_ok() {
        end = line.take(|heard| {
            if let Heard::Message(json) = heard
                && matches!(kind(json), "ack" | "error")
            {
                // An error: it is not in its room yet.
                answer = Some(kind(json) == "ack");
            }
        });
    }
    if let Some(course) = stage.courses.borrow_mut().get_mut(room) {
        course.end(answer == Some(true));
    }
    end
}
