//! Messages of clients on `/command`.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Asks for this after the prefix: a string unquoted, any other JSON as it is written.
    Echo(Cow<'a, str>),
    /// Asks for `PONG`.
    Ping,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Reads a command; `None` if the text is none.
#[must_use]
pub fn command(text: &str) -> Option<Command<'_>> {
    // serde reads an array as a struct, too.
    let raw: Raw<'_> =
        serde_json::from_str(text).ok().filter(|_| text.trim_ascii_start().starts_with('{'))?;
    match &*raw.action {
        "ECHO" => match raw.data.map(RawValue::get) {
            None => Some(Command::Echo("".into())),
            Some(data) if data.starts_with('"') => serde_json::from_str(data).ok().map(Command::Echo),
            Some(data) => Some(Command::Echo(data.into())),
        },
        "PING" => Some(Command::Ping),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let echo = |text: &'static str| Some(Command::Echo(text.into()));
        assert_eq!(command(r#"{"action":"ECHO","data":"при\u0432ет","more":1}"#), echo("привет"));
        assert_eq!(command(r#"{"action":"ECHO","data": {"a":[1.50]} }"#), echo(r#"{"a":[1.50]}"#));
        assert_eq!(command(r#"{"action":"ECHO"}"#), echo(""));
        assert_eq!(command(r#" {"data":7,"action":"PING"}"#), Some(Command::Ping));
        for text in ["", "PING", r#""PING""#, r#"["PING"]"#, r#"{"action":"ping"}"#, r#"{"action":1}"#, "{}"]
        {
            assert_eq!(command(text), None, "{text}");
        }
        assert_eq!(command(r#"{"action":"ECHO","data":"\ud800"}"#), None);
    }
}
