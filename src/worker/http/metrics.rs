//! `GET /metrics`, in the form that the reader asks for.

use super::answer;
use super::ask::ask;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::{Exposition, Question};
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

/// Serves the route on the admin port.
pub(super) async fn show(State(hub): State<Hub>, headers: HeaderMap) -> Result<Response, Problem> {
    let form = preferred(&headers);
    let text = ask(&hub, &Question::Metrics(form)).await?;
    let kind = match form {
        Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
        Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    };
    let mut response = answer::of(StatusCode::OK, kind, text.unwrap_or_default());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Serves the route on the HTTP port: only without an admin port.
pub(super) async fn show_public(state: State<Hub>, headers: HeaderMap) -> Result<Response, Problem> {
    if state.config().admin.listen.is_some() {
        return Err(ProblemKind::NotFound.with("The metrics are on the admin port."));
    }
    show(state, headers).await
}

/// The form that a reader likes best (RFC 9110, section 12.5.1); the text where it does not care, or takes neither:
/// a reader that is refused tells nothing.
fn preferred(headers: &HeaderMap) -> Exposition {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let (mut text, mut open) = (Liking::default(), Liking::default());
    for range in lines.flat_map(|line| line.split(',')).filter_map(Range::parse) {
        text.hear(&range, ["text", "plain"], &["0.0.4"]);
        open.hear(&range, ["application", "openmetrics-text"], &["1.0.0"]);
    }
    if open.q > text.q { Exposition::OpenMetrics } else { Exposition::Text }
}

/// How much a reader likes one form, by the most specific range that names it.
#[derive(Debug, Default)]
struct Liking {
    q: f32,
    /// 0: no range yet, 1: `*/*`, 2: `type/*`, 3: the type, 4: its version as well.
    specific: u8,
}

impl Liking {
    fn hear(&mut self, range: &Range<'_>, [major, minor]: [&str; 2], versions: &[&str]) {
        let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let specific = match (range.major, range.minor) {
            ("*", "*") => 1,
            (one, "*") if is(one, major) => 2,
            (one, two) if is(one, major) && is(two, minor) => match range.version {
                None => 3,
                Some(version) if versions.contains(&version) => 4,
                Some(_) => return,
            },
            _ => return,
        };
        if specific > self.specific {
            *self = Self { q: range.q, specific };
        } else if specific == self.specific {
            self.q = self.q.max(range.q);
        }
    }
}

/// One element of `Accept`.
#[derive(Debug)]
struct Range<'a> {
    major: &'a str,
    minor: &'a str,
    version: Option<&'a str>,
    q: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (major, minor) = parts.next()?.split_once('/')?;
        let mut range = Self { major, minor, version: None, q: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                name if name.eq_ignore_ascii_case("q") => {
                    range.q = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
                }
                _ => {}
            }
        }
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_form_that_it_likes_best() {
        const V2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                          q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        const V3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        use Exposition::{OpenMetrics, Text};
        for (accept, form) in [
            (&[][..], Text),
            (&[""], Text),
            (&["*/*"], Text),
            (&["text/*"], Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text),
            (&["text/plain;version=0.0.4"], Text),
            (&["application/json"], Text),
            (&[V2], OpenMetrics),
            (&[V3], OpenMetrics),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8"], OpenMetrics),
            (&["application/*"], OpenMetrics),
            (&["text/plain", "application/openmetrics-text"], Text),
            (&["text/plain;q=0.5", "application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.4"], Text),
            (&["application/openmetrics-text;q=0.3, */*;q=0.2"], OpenMetrics),
            (&["application/openmetrics-text;q=0"], Text),
            (&["application/openmetrics-text;version=0.0.1"], Text),
            (&["application/openmetrics-text;version=2.0.0, */*;q=0.1"], Text),
            (&["text/plain;q=0, application/openmetrics-text;q=0.001"], OpenMetrics),
            (&["application/openmetrics-text;q=2"], Text),
            (&["application/openmetrics-text;q=x", "nonsense", ";;;", "/"], Text),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            assert_eq!(preferred(&headers), form, "{accept:?}");
        }
    }
}
