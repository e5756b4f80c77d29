//! Changed keys between two configurations, and the effect of each change.

use super::entry::Effect;
use super::valid::{Config, effect_of};
use serde_json::{Map, Value};

/// A changed key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Full name; `provider.NAME` for one that came or went as a whole.
    pub key: String,
    /// Effect of the change.
    pub effect: Effect,
}

/// All keys that differ, by name. Secrets are compared, never shown.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    // Both go to the children as JSON anyway, where each field stands under its key.
    let keys = match (serde_json::to_value(old), serde_json::to_value(new)) {
        (Ok(Value::Object(old)), Ok(Value::Object(new))) => changed(&old, &new),
        // Without a comparison everything counts as changed.
        _ => vec!["environment".to_owned()],
    };
    let mut changes: Vec<Change> = keys
        .into_iter()
        .map(|key| Change {
            effect: if key == "environment" { Effect::Restart } else { effect_of(&key) },
            key,
        })
        .collect();
    changes.sort();
    changes
}

/// Strongest effect of all changes; `None` if there is no change.
#[must_use]
pub fn needs(changes: &[Change]) -> Option<Effect> {
    changes.iter().map(|change| change.effect).max()
}

type Object = Map<String, Value>;

fn changed(old: &Object, new: &Object) -> Vec<String> {
    let mut keys = vec![];
    for (section, a, b) in pairs(old, new) {
        match (section, a, b) {
            ("providers", Value::Object(a), Value::Object(b)) => providers(a, b, &mut keys),
            (_, Value::Object(a), Value::Object(b)) => {
                keys.extend(pairs(a, b).map(|(key, _, _)| format!("{section}.{key}")));
            }
            // No key: it follows from control.socket, or from systemd.
            ("state", ..) => {}
            _ => keys.push(section.to_owned()),
        }
    }
    keys
}

fn providers(old: &Object, new: &Object, keys: &mut Vec<String>) {
    for (name, a, b) in pairs(old, new) {
        match (a.get("kind"), b.get("kind")) {
            (Some(Value::Object(a)), Some(Value::Object(b))) if a.get("kind") == b.get("kind") => {
                keys.extend(pairs(a, b).map(|(key, _, _)| format!("provider.{name}.{key}")));
            }
            (Some(_), Some(_)) => keys.push(format!("provider.{name}.kind")),
            _ => keys.push(format!("provider.{name}")),
        }
    }
}

/// The entries that differ; what is missing on one side is null there.
fn pairs<'o>(old: &'o Object, new: &'o Object) -> impl Iterator<Item = (&'o str, &'o Value, &'o Value)> {
    let keys: std::collections::BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    keys.into_iter()
        .map(|key| (key, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null)))
        .filter(|(_, a, b)| a != b)
}
