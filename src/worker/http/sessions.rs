//! `GET /api/v1/sessions`: the sessions of the cluster, page by page from the master and on to the client, so that neither
//! holds a list of all.

use super::answer;
use super::ask::ask_page;
use super::parameters::{self, Parameters};
use crate::model::UserId;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::Question;
use crate::worker::hub::{Hub, Reply};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use std::io;

#[derive(Deserialize)]
pub(super) struct Asked {
    user_id: Option<String>,
}

/// `GET /api/v1/sessions`
pub(super) async fn show(
    State(hub): State<Hub>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Response, Problem> {
    let user = asked.user_id.as_deref().map(|text| parameters::user(text, ProblemKind::QueryUserId));
    let user = user.transpose()?;
    let first = page(&hub, user.as_ref(), 0).await?;
    if first.next.is_none() {
        return Ok(answer::json(StatusCode::OK, format!("[{}]", first.text)));
    }
    let list = List { hub, user, next: first.next, begun: !first.text.is_empty() };
    Ok(streamed(first.text, list))
}

async fn page(hub: &Hub, user: Option<&UserId>, from: u32) -> Result<Reply, Problem> {
    let question = Question::Sessions { user: user.map(UserId::as_str), from };
    ask_page(hub, &question).await.map(Option::unwrap_or_default)
}

/// The pages that follow.
struct List {
    hub: Hub,
    user: Option<UserId>,
    next: Option<u32>,
    /// Whether a session has been told, so that a comma precedes the next.
    begun: bool,
}

impl List {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let Some(from) = self.next else { return Ok(None) };
        // A list that breaks off is no JSON: the client sees that something is missing.
        let reply = page(&self.hub, self.user.as_ref(), from).await;
        let Reply { text, next } = reply.map_err(|_| io::ErrorKind::TimedOut)?;
        let comma = if self.begun && !text.is_empty() { "," } else { "" };
        let end = if next.is_none() { "]" } else { "" };
        (self.next, self.begun) = (next, self.begun || !text.is_empty());
        Ok(Some((format!("{comma}{text}{end}").into(), self)))
    }
}

/// A page is asked for when the client has taken the one before.
fn streamed(first: String, list: List) -> Response {
    let begin = stream::once(async move { Ok(Bytes::from(format!("[{first}"))) });
    let rest = stream::try_unfold(list, List::next);
    let mut response = Body::from_stream(futures_util::StreamExt::chain(begin, rest)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
