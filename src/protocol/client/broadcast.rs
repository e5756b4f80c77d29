//! Messages on `/broadcast`.

use super::{ServerType, SystemEvent, quoted, too_deep};
use crate::model::Wall;
use serde_json::value::RawValue;

/// A client's message, for its sender (`echo`) or the others (`broadcast`). JSON stays as it is; any other text, and
/// JSON that is nested too deep, becomes a string.
#[must_use]
pub fn relayed(kind: ServerType, said: &str, from: &str, time: Wall) -> String {
    let json = !too_deep(said.as_bytes()) && serde_json::from_str::<&RawValue>(said).is_ok();
    let data = if json { said.to_owned() } else { quoted(said) };
    format!(r#"{{"type":"{kind}","data":{data},"from":{},"time":"{time}"}}"#, quoted(from))
}

/// `welcome`
#[must_use]
pub fn broadcast_welcome(
    session: &str,
    client: &str,
    (id, pid): (u16, u32),
    time: Wall,
    beat: u64,
) -> String {
    let kind = ServerType::Welcome;
    let (client, name, version) = (quoted(client), env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    format!(
        r#"{{"type":"{kind}","session_id":"{session}","client":{client},"worker":{{"id":{id},"pid":{pid}}},"server":{{"name":"{name}","version":"{version}"}},"time":"{time}","heartbeat_ms":{beat}}}"#
    )
}

/// `client_connected` or `client_disconnected`: how many since the last one, the first of them, and how many are there.
#[must_use]
pub fn moved(kind: ServerType, count: u32, clients: &[String], total: u32, time: Wall) -> String {
    let clients = serde_json::to_string(clients).unwrap_or_default();
    format!(r#"{{"type":"{kind}","count":{count},"clients":{clients},"total":{total},"time":"{time}"}}"#)
}

/// `system`, `heartbeat`
#[must_use]
pub fn heartbeat(connections: u32, memory: u64, uptime: u64, time: Wall) -> String {
    let (kind, event) = (ServerType::System, SystemEvent::Heartbeat.as_str());
    format!(
        r#"{{"type":"{kind}","event":"{event}","connections":{connections},"memory_bytes":{memory},"uptime_s":{uptime},"time":"{time}"}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn json_stays_and_text_becomes_a_text() {
        let data = |said: &str| read(&relayed(ServerType::Echo, said, "a\"b", Wall(0)))["data"].clone();
        assert_eq!(data(" {\"a\":[1.5]} \n"), json!({"a": [1.5]}));
        for said in ["", "привет", "{broken", "\"", "1 2", &format!("{}{}", "[".repeat(99), "]".repeat(99))]
        {
            assert_eq!(data(said), json!(said), "{said}");
        }
        assert_eq!(data("\"quoted\""), json!("quoted"));
        assert!(
            relayed(ServerType::Echo, "[1.50]", "a", Wall(0)).contains(r#""data":[1.50],"#),
            "as it was written"
        );
        let whole = read(&relayed(ServerType::Broadcast, "7", "a", Wall(0)));
        let expected =
            json!({"type": "broadcast", "data": 7, "from": "a", "time": "1970-01-01T00:00:00.000Z"});
        assert_eq!(whole, expected);
    }

    #[test]
    fn the_others_are_json() {
        assert_eq!(
            read(&moved(ServerType::ClientConnected, 3, &["a".into()], 5, Wall(0)))["clients"],
            json!(["a"])
        );
        assert_eq!(read(&heartbeat(1, 2, 3, Wall(0)))["memory_bytes"], 2);
        assert_eq!(read(&broadcast_welcome("s", "c", (1, 2), Wall(0), 3))["worker"]["pid"], 2);
    }
}
