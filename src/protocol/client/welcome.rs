//! The first message of a session, and those that change what it told: ages of prices, the worker.

use super::outbound::typed;
use super::{ServerType, SystemEvent};
use crate::model::{Rules, Wall};
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// The first message of every session.
#[derive(Debug, Serialize)]
pub struct Welcome<'a> {
    pub session_id: &'a str,
    pub user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    pub worker: WelcomeWorker,
    pub server: WelcomeServer,
    pub time: String,
    pub heartbeat_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<&'a str>,
    pub resumed: bool,
    /// How many changes of its process the session has survived.
    #[serde(skip_serializing_if = "is_zero")]
    pub moves: u32,
    /// Time until the session's token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    pub channels: Vec<&'a str>,
    pub price: Option<&'a RawValue>,
    #[serde(flatten)]
    pub rules: PriceRules,
}

/// The ages at which a client's own clock may call a price stale, or take it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PriceRules {
    /// `price.fresh_for`
    pub fresh_for_ms: u64,
    /// `price.max_age`
    pub max_age_ms: u64,
    /// Past this age there is no price: `price.forget_after`, or `price.max_age` if stale prices are refused.
    pub gone_after_ms: u64,
}

impl From<Rules> for PriceRules {
    fn from(rules: Rules) -> Self {
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            fresh_for_ms: ms(rules.fresh_for),
            max_age_ms: ms(rules.max_age),
            gone_after_ms: ms(rules.gone_after()),
        }
    }
}

/// The process that serves a session.
#[derive(Debug, Serialize)]
pub struct WelcomeWorker {
    pub id: u16,
    pub pid: u32,
}

#[derive(Debug, Serialize)]
pub struct WelcomeServer {
    pub name: &'static str,
    pub version: &'static str,
}

impl<'a> Welcome<'a> {
    /// The welcome of a session on a worker.
    #[must_use]
    pub fn new(session: &'a str, user: &'a str, (id, pid): (u16, u32), time: Wall) -> Self {
        Self {
            session_id: session,
            user_id: user,
            device: None,
            worker: WelcomeWorker { id, pid },
            server: WelcomeServer { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            time: time.to_string(),
            heartbeat_ms: 0,
            resume: None,
            resumed: false,
            moves: 0,
            expires_in_ms: None,
            channels: Vec::new(),
            price: None,
            rules: PriceRules::default(),
        }
    }
}

fn is_zero(moves: &u32) -> bool {
    *moves == 0
}

/// `welcome`
#[must_use]
pub fn welcome(body: &Welcome<'_>) -> String {
    typed(ServerType::Welcome, body)
}

/// `system`, `price-rules`: from now on other ages hold than the welcome said.
#[must_use]
pub fn price_rules(rules: PriceRules) -> String {
    #[derive(Serialize)]
    struct Event {
        event: &'static str,
        #[serde(flatten)]
        rules: PriceRules,
    }
    typed(ServerType::System, &Event { event: SystemEvent::PriceRules.as_str(), rules })
}

/// `system`, `moved`: the session goes on at another process, on the same connection. `silence`: the time in which it
/// heard nothing; `moves`: how many changes of its process it has survived, this one included.
#[must_use]
pub fn session_moved((id, pid): (u16, u32), silence: Duration, moves: u32) -> String {
    let (kind, event) = (ServerType::System, SystemEvent::Moved.as_str());
    let silence = silence.as_millis();
    format!(
        r#"{{"type":"{kind}","event":"{event}","worker":{{"id":{id},"pid":{pid}}},"silence_ms":{silence},"moves":{moves}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        fresh_for: Duration::from_secs(10),
        max_age: Duration::from_secs(20),
        forget_after: Duration::from_secs(30),
        refuse_stale: false,
    };

    #[test]
    fn a_welcome_says_when_a_price_is_old() {
        let told = |refuse_stale| {
            let rules = PriceRules::from(Rules { refuse_stale, ..RULES });
            let text = welcome(&Welcome { rules, ..Welcome::new("s", "u", (1, 2), Wall(0)) });
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            ["fresh_for_ms", "max_age_ms", "gone_after_ms"].map(|key| value[key].as_u64().unwrap())
        };
        assert_eq!(told(false), [10_000, 20_000, 30_000]);
        assert_eq!(told(true), [10_000, 20_000, 20_000]);
    }

    #[test]
    fn a_welcome_and_a_move_say_how_many_moves_there_were() {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let told = |moves| read(&welcome(&Welcome { moves, ..Welcome::new("s", "u", (1, 2), Wall(0)) }));
        assert_eq!((told(0).get("moves"), told(3)["moves"].as_u64()), (None, Some(3)));
        let expected = serde_json::json!({
            "type": "system", "event": "moved", "worker": { "id": 2, "pid": 77 }, "silence_ms": 12, "moves": 3,
        });
        assert_eq!(read(&session_moved((2, 77), Duration::from_micros(12_900), 3)), expected);
    }

    #[test]
    fn other_ages_are_told_like_those_of_the_welcome() {
        let value: serde_json::Value = serde_json::from_str(&price_rules(RULES.into())).unwrap();
        let expected = serde_json::json!({
            "type": "system", "event": "price-rules",
            "fresh_for_ms": 10_000, "max_age_ms": 20_000, "gone_after_ms": 30_000,
        });
        assert_eq!(value, expected);
    }
}
