//! Messages on `/chat`: sent on as they came, a message that is too long cut.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, rename = "userName")]
    user: &'a RawValue,
    #[serde(borrow)]
    message: &'a RawValue,
}

/// The text that all clients get, with at most `most` characters of its message; `None` for a JSON object that is no
/// `chat-message`. Any text that is no JSON object is a message itself.
#[must_use]
pub fn chat(text: &str, most: usize) -> Option<Cow<'_, str>> {
    if !is_object(text) {
        return Some(cut(text, most).into());
    }
    let event: Event<'_> =
        serde_json::from_str(text).ok().filter(|event: &Event<'_>| event.event == "chat-message")?;
    // serde reads an array as a struct, too.
    let payload = Some(event.payload.get()).filter(|payload| payload.starts_with('{'))?;
    let Payload { user, message } = serde_json::from_str(payload).ok()?;
    let (true, written) = (user.get().starts_with('"'), message.get()) else { return None };
    let message: Cow<'_, str> = serde_json::from_str(written).ok()?;
    let short = cut(&message, most);
    if short.len() == message.len() {
        return Some(text.into());
    }
    // Only the message is written anew; the rest stays as the client wrote it.
    let from = written.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let (before, after) = (text.get(..from)?, text.get(from + written.len()..)?);
    Some(format!("{before}{}{after}", super::quoted(short)).into())
}

fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The first `most` characters.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(message: &str) -> String {
        format!(
            r#" {{"x":[1.50], "event":"chat-message","payload":{{"userName":"Аня","message":{message} ,"y":1}}}}"#
        )
    }

    #[test]
    fn what_is_short_goes_out_to_the_byte() {
        for text in [&of(r#""при\u0432ет""#), "plain", "", "[1, 2]", "7", "\"{}\"", "{broken", r#"{"a":1} x"#]
        {
            assert_eq!(chat(text, 20).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_long_is_cut_at_a_character() {
        assert_eq!(chat("привет", 3).as_deref(), Some("при"));
        assert_eq!(chat(&of(r#""a\ud83d\ude00b\"c""#), 2).unwrap(), of("\"a😀\""));
        assert_eq!(chat(&of(r#""ab\"c""#), 3).unwrap(), of(r#""ab\"""#));
        assert_eq!(chat(&of("\"é\u{301}\""), 2).unwrap(), of("\"é\u{301}\""));
    }

    #[test]
    fn any_other_object_is_no_message() {
        let long =
            format!(r#"{{"event":"chat-message","payload":{}1{}}}"#, "[".repeat(9999), "]".repeat(9999));
        for text in [
            "{}",
            &long,
            &of("7"),
            &of("null"),
            &of(r#""\ud800""#),
            r#"{"event":"chat-message"}"#,
            r#"{"event":"chat-message","payload":["a","b"]}"#,
            r#"{"event":"chat-message","payload":{"message":"x"}}"#,
            r#"{"event":"chat-message","payload":{"userName":1,"message":"x"}}"#,
            r#"{"event":"Chat-Message","payload":{"userName":"a","message":"x"}}"#,
            r#"{"event":1,"payload":{"userName":"a","message":"x"}}"#,
        ] {
            assert_eq!(chat(text, 50), None, "{text:.80}");
        }
    }

    proptest! {
        #[test]
        fn a_message_is_as_long_as_it_may_be(message in ".{0,30}", most in 1usize..20) {
            let out = chat(&of(&super::super::quoted(&message)), most).unwrap().into_owned();
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            let expected: String = message.chars().take(most).collect();
            prop_assert_eq!(value["payload"]["message"].as_str().unwrap(), expected);
        }

        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = chat(&text, 3);
        }
    }
}
