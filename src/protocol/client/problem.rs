//! Refusals over HTTP: RFC 9457 problems. The slug is also the log event, the metric label and the close reason.

use std::borrow::Cow;
use std::time::Duration;

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The last part of `type`.
    pub slug: &'static str,
    /// What is wrong, for a person.
    pub detail: Cow<'static, str>,
    /// `Retry-After` in whole seconds, at least 1.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem. 429 and 503 come back after one second unless [`Problem::after`] says otherwise.
    #[must_use]
    pub fn new(status: u16, slug: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = matches!(status, 429 | 503).then_some(1);
        Self { status, slug, detail: detail.into(), retry_after }
    }

    /// The same, to be tried again after `wait`.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after =
            Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero())));
        self
    }

    /// The body, `application/problem+json`.
    #[must_use]
    pub fn json(&self) -> String {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            r#type: String,
            title: String,
            status: u16,
            detail: &'a str,
        }
        let mut title = self.slug.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let body = Body {
            r#type: format!("/problems/{}", self.slug),
            title,
            status: self.status,
            detail: &self.detail,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_itself() {
        let problem = Problem::new(404, "user-not-connected", "no session of this user");
        let body: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        assert_eq!(body["type"], "/problems/user-not-connected");
        assert_eq!((&body["title"], &body["status"]), (&"User not connected".into(), &404.into()));
    }

    #[test]
    fn a_refusal_for_now_says_when_to_come_back() {
        let after = |ms| Problem::new(429, "x", "").after(Duration::from_millis(ms)).retry_after;
        assert_eq!((after(0), after(1), after(1000), after(1001)), (Some(1), Some(1), Some(1), Some(2)));
        assert_eq!(Problem::new(503, "x", "").retry_after, Some(1));
        assert_eq!(Problem::new(404, "x", "").retry_after, None);
    }
}
