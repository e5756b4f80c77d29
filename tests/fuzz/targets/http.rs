//! Bodies and queries of requests.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use super::quotes::Order;
use super::{body as json, parameters, wanted};
use crate::fuzzing::Parts;
use crate::model::UserId;
use crate::protocol::client::{Problem, ProblemKind, Resume};
use axum::http::Uri;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A body, which the first byte gives to a route. A refusal is 400 where the body is no JSON, 422 where it is, and what
/// it says is JSON.
pub fn body(data: &[u8]) {
    let mut parts = Parts(data);
    let result = match parts.byte() % 2 {
        0 => json::parse::<Order<'_>>(parts.0).map(|order| order.check()),
        _ => json::parse::<Message<'_>>(parts.0).map(|message| {
            let text = std::str::from_utf8(parts.0).expect("a body that was taken is text");
            assert!(text.contains(message.data.get()));
            serde_json::from_str::<IgnoredAny>(message.data.get()).expect("JSON");
        }),
    };
    let Err(problem) = result else { return };
    let status = problem.kind.status();
    assert!(status == 400 || status == 422, "{status}");
    let text = std::str::from_utf8(parts.0);
    let is_text = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    assert!(status == 400 || is_text, "JSON of another shape");
    is_json(&problem);
}

fn is_json(problem: &Problem) {
    serde_json::from_str::<serde_json::Value>(&problem.json()).expect("a problem is JSON");
}

/// A query of a request for a session.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = format!("/ws?{text}").parse::<Uri>() else { return };
    let masked = crate::access::tokens::masked(uri.query().unwrap_or_default());
    assert_eq!(crate::access::tokens::masked(&masked), masked);
    match parameters::query::<wanted::Parameters>(&uri) {
        Ok(query) => query.check(),
        Err(problem) => {
            assert_eq!(problem.kind.status(), 400);
            is_json(&problem);
        }
    }
}

impl Order<'_> {
    fn check(&self) {
        let Err(problem) = parameters::user(&self.user_id, ProblemKind::BodyUserId) else { return };
        is_json(&problem);
    }
}

impl wanted::Parameters {
    fn check(&self) {
        if let Some(user) = self.user_id.as_deref().and_then(|text| UserId::new(text).ok()) {
            assert!(user.as_str().is_ascii());
        }
        if let Some(resume) = self.resume.as_deref().and_then(Resume::parse) {
            assert_eq!(Resume::parse(&resume.to_string()), Some(resume));
        }
        let _ = self.wait_ms.as_deref().map(wanted::milliseconds);
        let _ = self.takeover.as_deref().map(wanted::flag);
    }
}
