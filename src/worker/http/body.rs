//! A request's JSON body: within its size and its time, of the right type, read in the order of refusals that the
//! contract names.

use crate::config::Config;
use crate::protocol::client::{Problem, too_deep};
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Reads all of it: 413, 408, 415.
pub(super) async fn read(config: &Config, request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    let most = config.http.max_body;
    let large = || Problem::new(413, "body-too-large", format!("a body may have {most} bytes"));
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > most as u64) {
        return Err(large());
    }
    let collected = tokio::time::timeout(config.http.body_timeout, Limited::new(body, most).collect());
    let bytes = match collected.await {
        Err(_) => return Err(Problem::new(408, "body-timeout", "the body took too long")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(large()),
        Ok(Err(_)) => return Err(Problem::new(400, "invalid-body", "the body could not be read")),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"));
    if !json {
        return Err(Problem::new(415, "unsupported-media-type", "the body must be application/json"));
    }
    Ok(bytes)
}

/// Understands it: 400 for what is no JSON, 422 for another shape.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let syntax = |detail: String| Problem::new(400, "invalid-json", detail);
    if too_deep(bytes) {
        return Err(syntax("nested too deep".to_owned()));
    }
    let parsed = serde_json::from_slice(bytes);
    // serde takes an array for a struct as well, its members in their order.
    if parsed.is_ok() && bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(422, "invalid-body", "the body must be an object"));
    }
    parsed.map_err(|error| {
        // The first fault that serde meets may be one of shape before one of syntax.
        match serde_json::from_slice::<IgnoredAny>(bytes) {
            Err(syntax_error) => syntax(syntax_error.to_string()),
            Ok(_) if error.is_data() => Problem::new(422, "invalid-body", error.to_string()),
            Ok(_) => syntax(error.to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Shape {
        #[expect(dead_code, reason = "only its shape matters")]
        user_id: String,
    }

    #[test]
    fn syntax_comes_before_shape() {
        let status = |text: &str| parse::<Shape>(text.as_bytes()).map_err(|problem| problem.status);
        assert!(status(r#"{"user_id":"a","more":[]}"#).is_ok());
        for text in
            ["", "{", "nonsense", r#"{"user_id":5, x"#, r#"{"user_id":NaN}"#, r#"{"user_id":"\ud800"}"#]
        {
            assert_eq!(status(text).unwrap_err(), 400, "{text}");
        }
        for text in ["null", "[]", r#"["a"]"#, "{}", r#"{"user_id":5}"#, r#"{"user_id":"a","user_id":"b"}"#] {
            assert_eq!(status(text).unwrap_err(), 422, "{text}");
        }
        assert_eq!(status(&"[".repeat(1000)).unwrap_err(), 400);
    }
}
