//! A request's JSON body: within its size and its time, of the right type. Refusals come in the order that
//! `docs/interface.md` gives.

use crate::config::Config;
use crate::protocol::client::{Problem, ProblemKind, too_deep};
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Reads the whole body. Refuses with 413, 408, 400 or 415.
pub(super) async fn read(config: &Config, request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    let most = config.http.max_body;
    let large = || ProblemKind::BodyTooLarge.with(format!("A body may have {most} bytes."));
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > most as u64) {
        return Err(large());
    }
    let collected = tokio::time::timeout(config.http.body_timeout, Limited::new(body, most).collect());
    let bytes = match collected.await {
        Err(_) => return Err(ProblemKind::BodyTimeout.into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(large()),
        Ok(Err(_)) => return Err(ProblemKind::BodyUnreadable.into()),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"));
    if !json {
        return Err(ProblemKind::UnsupportedMediaType.into());
    }
    Ok(bytes)
}

/// Parses a body. Refuses with 400 if it is no JSON, with 422 if it has another shape.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    if too_deep(bytes) {
        return Err(ProblemKind::InvalidJson.with("The body is nested too deep."));
    }
    // serde does not look at the texts of members that it leaves out.
    let text =
        std::str::from_utf8(bytes).map_err(|_| ProblemKind::InvalidJson.with("The body is no UTF-8."))?;
    let parsed = serde_json::from_str(text);
    // serde reads an array as a struct, too, its elements as the members in order.
    if parsed.is_ok() && bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ProblemKind::InvalidBody.with("The body must be an object."));
    }
    parsed.map_err(|error| {
        // serde may meet a fault of shape before a fault of syntax.
        match serde_json::from_str::<IgnoredAny>(text) {
            Err(syntax_error) => ProblemKind::InvalidJson.with(syntax_error.to_string()),
            Ok(_) if error.is_data() => ProblemKind::InvalidBody.with(error.to_string()),
            Ok(_) => ProblemKind::InvalidJson.with(error.to_string()),
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
        let status = |text: &str| parse::<Shape>(text.as_bytes()).map_err(|problem| problem.kind.status());
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

    #[test]
    fn a_body_is_utf_8_also_where_nobody_reads_it() {
        for body in [&b"{\"user_id\":\"a\",\"more\":\"\xff\"}"[..], b"{\"user_id\":5,\"more\":\"\xe4\"}"] {
            assert_eq!(parse::<Shape>(body).unwrap_err().kind, ProblemKind::InvalidJson);
        }
    }
}
