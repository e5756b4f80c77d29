//! Questions that only the master can answer.

use crate::protocol::client::Problem;
use crate::protocol::cluster::{Question, ToMaster};
use crate::worker::hub::{Hub, Lost};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longer than the master's own patience.
const LATE: Duration = Duration::from_millis(250);

/// The problem of a request that the master did not answer.
pub(super) fn busy() -> Problem {
    Problem::new(503, "cluster-busy", "the master did not answer in time")
}

/// Waits for the answer to a question for so long, and a little longer.
pub(super) async fn answered<T>(
    hub: &Hub,
    number: u64,
    receiver: oneshot::Receiver<T>,
    wait: Duration,
) -> Result<T, Lost> {
    match tokio::time::timeout(wait + LATE, receiver).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => {
            hub.lock().requests.forget(number);
            Err(Lost)
        }
    }
}

/// Asks the master; `None`: there is no such thing.
pub(super) async fn ask(hub: &Hub, question: &Question<'_>) -> Result<Option<String>, Problem> {
    let (number, receiver, wait) = {
        let mut state = hub.lock();
        let (request, receiver) = state.requests.question();
        let question = question.clone();
        state.uplink.send(&ToMaster::Ask { request, question }).map_err(|_| busy())?;
        (request, receiver, state.config.quotes.timeout)
    };
    answered(hub, number, receiver, wait).await.map_err(|Lost| busy())
}
