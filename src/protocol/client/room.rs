//! Chat rooms: their names and their presence.

use super::{ServerType, quoted};
use crate::model::{Device, Wall};
use std::fmt::Write as _;

/// The room in the name of its channel, `chat:ROOM`: 1 to 64 characters of a user id's alphabet.
#[must_use]
pub fn room(channel: &str) -> Option<&str> {
    // A device has the same alphabet and length.
    channel.strip_prefix("chat:").filter(|name| Device::new(name).is_ok())
}

/// `presence`: users and sessions of a room, or of the whole cluster. `users` are named only with `stats.users`.
#[must_use]
pub fn presence<'a>(
    channel: &str,
    (total, sessions): (usize, usize),
    users: Option<impl Iterator<Item = (&'a str, u32)>>,
    time: Wall,
) -> String {
    let mut out = format!(
        r#"{{"type":"{}","channel":{},"users_total":{total},"sessions":{sessions},"time":"{time}""#,
        ServerType::Presence,
        quoted(channel)
    );
    if let Some(users) = users {
        out.push_str(r#","users":["#);
        for (at, (user, sessions)) in users.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}{{"user_id":{},"sessions":{sessions}}}"#, quoted(user));
        }
        out.push(']');
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rooms_have_one_alphabet() {
        assert_eq!(room("chat:lobby"), Some("lobby"));
        assert_eq!(room(&format!("chat:{}", "x".repeat(64))).map(str::len), Some(64));
        for bad in ["lobby", "chat:", "chat:a b", "chat:a,b", "chat:\"", &format!("chat:{}", "x".repeat(65))]
        {
            assert_eq!(room(bad), None, "{bad}");
        }
    }

    #[test]
    fn presence_is_json() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let some = presence("chat:a", (2, 3), Some([("ann", 2), ("bob", 1)].into_iter()), Wall(0));
        let mut expected = json!({
            "type": "presence", "channel": "chat:a", "users_total": 2, "sessions": 3,
            "time": "1970-01-01T00:00:00.000Z",
            "users": [{"user_id": "ann", "sessions": 2}, {"user_id": "bob", "sessions": 1}],
        });
        assert_eq!(read(&some), expected);
        expected.as_object_mut().unwrap().remove("users");
        let none = None::<std::iter::Empty<(&str, u32)>>;
        assert_eq!(read(&presence("chat:a", (2, 3), none, Wall(0))), expected);
    }
}
