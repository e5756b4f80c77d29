//! Messages to a channel, and quotes for whoever is there; of each it is known what the answer was.

use crate::client::Client;
use crate::stage::Stage;
use serde::Deserialize;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Most quotes at the same time.
const POSTERS: f64 = 64.0;

#[derive(Deserialize)]
struct Receipt {
    request_id: uuid::Uuid,
}

/// Publishes a message with the next number over the admin port. Returns the status, or the answer as an error.
pub(crate) async fn publish(stage: &Stage, client: &mut Client, channel: &str) -> Result<u16, String> {
    let number = stage.courses.borrow_mut().entry(channel.to_owned()).or_default().begin();
    let path = format!("{}/api/v1/channels/{channel}/messages", stage.ports.admin.path);
    let answer = client.post(&path, &format!(r#"{{"data":{{"load":{number}}}}}"#)).await;
    let accepted = matches!(answer, Ok((202, _)));
    if let Some(course) = stage.courses.borrow_mut().get_mut(channel) {
        course.end(accepted);
    }
    let (status, body) = answer.map_err(|error| error.to_string())?;
    if accepted { Ok(status) } else { Err(format!("POST {path}: {status} {body}")) }
}

/// Calls `publish` so often for the stage's channel, so many times at most, until it is silent.
pub(crate) async fn publish_all(stage: &Stage, rate: f64, count: u32) -> Result<u64, String> {
    let mut client = Client::new(stage.ports.admin.address);
    let mut turns = interval(Duration::from_secs_f64(1.0 / rate));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = 0;
    for number in 0..count {
        turns.tick().await;
        if stage.silent.get() {
            break;
        }
        match publish(stage, &mut client, &stage.ports.channel).await {
            Ok(_) => (),
            Err(error) if number == 0 => return Err(error),
            Err(_) => failed += 1,
        }
    }
    Ok(failed)
}

/// Asks for quotes for random users, so many a second, until the stage is silent.
pub(crate) async fn ask_all(stage: Rc<Stage>, rate: f64) {
    let posters = rate.ceil().clamp(1.0, POSTERS);
    let mut tasks = JoinSet::new();
    let mut left = posters;
    while left > 0.0 {
        left -= 1.0;
        tasks.spawn_local(ask(stage.clone(), Duration::from_secs_f64(posters / rate)));
    }
    while tasks.join_next().await.is_some() {}
}

async fn ask(stage: Rc<Stage>, period: Duration) {
    let mut client = Client::new(stage.ports.http.address);
    let path = format!("{}/api/v1/quotes", stage.ports.http.path);
    let mut next = Instant::now() + period.mul_f64(fastrand::f64());
    while !stage.silent.get() {
        sleep_until(next).await;
        next = Instant::now().max(next + period);
        let who = {
            let present = stage.present.borrow();
            present.get(fastrand::usize(0..present.len().max(1))).cloned().flatten()
        };
        let Some(who) = who else { continue };
        let posted = Instant::now();
        let answer = client.post(&path, &format!(r#"{{"user_id":"{}"}}"#, who.user)).await;
        let mut receipts = stage.receipts.borrow_mut();
        match answer {
            Ok((202, body)) => match serde_json::from_str::<Receipt>(&body) {
                Ok(receipt) => {
                    receipts.accepted(receipt.request_id.as_u128(), who.index, posted, Instant::now());
                }
                Err(_) => receipts.refused("strange".to_owned()),
            },
            Ok((status, _)) => receipts.refused(status.to_string()),
            Err(error) => receipts.refused(error.kind().to_string()),
        }
    }
}
