//! Questions that only the master can answer.

use crate::model::Mono;
use crate::os::clock;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::{Question, ToMaster};
use crate::worker::hub::{Hub, Reply};
use std::time::Duration;
use tokio::sync::oneshot;

/// The master answers by the deadline; after this time more, the question is given up.
const LATE: Duration = Duration::from_millis(250);

/// Waits for the master's answer to a question that is on its way.
pub(super) async fn answered<T>(
    hub: &Hub,
    number: u64,
    receiver: oneshot::Receiver<T>,
    deadline: Mono,
) -> Result<T, Problem> {
    let patience = clock::instant(deadline.after(LATE));
    match tokio::time::timeout_at(patience.into(), receiver).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => {
            hub.lock().requests.forget(number);
            Err(ProblemKind::ClusterBusy.into())
        }
    }
}

/// Asks the master; `None`: there is no such thing.
pub(super) async fn ask(hub: &Hub, question: &Question<'_>) -> Result<Option<String>, Problem> {
    Ok(ask_page(hub, question).await?.map(|reply| reply.text))
}

/// Asks for what may be a page of a list.
pub(super) async fn ask_page(hub: &Hub, question: &Question<'_>) -> Result<Option<Reply>, Problem> {
    let (number, receiver, deadline) = {
        let mut state = hub.lock();
        let (request, receiver) = state.requests.question();
        let message = ToMaster::Ask { request, question: question.clone() };
        state.requests.repeatable(request, &message);
        if state.uplink.send(&message).is_err() {
            state.requests.forget(request);
            return Err(ProblemKind::ClusterBusy.into());
        }
        (request, receiver, clock::mono().after(state.config.quotes.timeout))
    };
    answered(hub, number, receiver, deadline).await
}
