//! What the master tells of the cluster: statistics, metrics, lists.

use super::core::Master;
use crate::model::Mono;
use serde_json::{Value, json};
use crate::protocol::cluster::Port;

impl Master {
    pub(super) fn stats_json(&self) -> String { String::from("{}") }
    pub(super) fn metrics_text(&self) -> String { String::new() }
    pub(super) fn sessions_json(&self, _user: Option<&str>) -> String { String::from("[]") }
    pub(super) fn status_json(&self) -> Value { json!({"ok": true, "listening": {"http": self.addresses(Port::Http), "ws": self.addresses(Port::Ws), "admin": self.addresses(Port::Admin)}}) }
    pub(super) fn send_stats(&mut self, _now: Mono) {}
    pub(super) fn tell_status(&mut self) {}
}
