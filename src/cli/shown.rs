//! The answers of the control socket in words, for people.

use super::arguments::What;
use super::table;
use crate::model::visible;
use serde_json::Value;
use std::fmt::Write as _;

/// What a person reads.
pub(super) fn words(what: &What, answer: &Value, bold: bool) -> String {
    match what {
        What::Status => status(answer, bold),
        What::Workers | What::Watch => workers(answer, bold),
        What::Sessions { .. } => {
            let fields = ["session_id", "user_id", "device", "endpoint", "worker", "address", "since"];
            rows(answer, "sessions", &fields, bold)
        }
        What::Sources => sources(answer, bold),
        What::Reload => {
            let words = |key: &str| {
                let list = answer[key].as_array().into_iter().flatten();
                list.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            };
            let changed = words("changed");
            let changed = if changed.is_empty() { "no change" } else { &changed };
            let mut text = format!("revision {}: {changed}\n", answer["revision"]);
            if !words("restart").is_empty() {
                let _ = writeln!(text, "needs a restart of the daemon: {}", words("restart"));
            }
            text
        }
        What::Publish { .. } | What::Reconnect { .. } => format!("{} sessions\n", answer["sessions"]),
        What::Retry { .. } => {
            let names = answer["sources"].as_array().into_iter().flatten().filter_map(Value::as_str);
            format!("tried now: {}\n", names.collect::<Vec<_>>().join(", "))
        }
        What::Upgrade { .. } => {
            let keeper = older_keeper(&answer["status"]).map(|text| format!("keeper: {text}\n"));
            upgrade(&answer["upgrade"]) + &keeper.unwrap_or_default()
        }
        What::Move { .. } | What::Drain { .. } | What::Rebalance => moved(answer),
        What::RestartWorker { .. } | What::Kick { .. } | What::Revoke { .. } | What::Stop { .. } => {
            "done\n".to_owned()
        }
    }
}

fn moved(answer: &Value) -> String {
    let number = |field: &str| answer[field].as_u64().unwrap_or(0);
    let (held, returned, closed) = (number("held"), number("returned"), number("closed"));
    let mut text = format!("{held} held, {closed} closed, longest silence {} ms\n", number("silence_ms"));
    if returned > 0 {
        let _ = writeln!(text, "{returned} could not move in time and stay");
    }
    text
}

/// `0.1.0 to 0.2.0: 15000 sessions held, 0 closed, at most 84 ms silent`
fn upgrade(upgrade: &Value) -> String {
    let text = |name: &str| cell(&upgrade[name]);
    let mut words = format!(
        "{} to {}: {} sessions held, {} closed, at most {} ms silent\n",
        text("from"),
        text("to"),
        text("held"),
        text("closed"),
        text("silence_ms")
    );
    for loss in upgrade["losses"].as_array().into_iter().flatten() {
        let _ = writeln!(words, "not taken over: {}", cell(loss));
    }
    words
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text).into_owned(),
        // A source's budget, the only object in a table.
        Value::Object(budget) if budget.contains_key("limit") => {
            format!("{}/{}", cell(&budget["used"]), cell(&budget["limit"]))
        }
        other => other.to_string(),
    }
}

fn rows(answer: &Value, list: &str, fields: &[&str], bold: bool) -> String {
    let all = answer[list].as_array().into_iter().flatten();
    let rows: Vec<_> = all.map(|row| fields.iter().map(|field| cell(&row[*field])).collect()).collect();
    table::text(fields, &rows, bold)
}

fn sources(answer: &Value, bold: bool) -> String {
    let mut fields = vec![
        "name",
        "state",
        "serving",
        "verdict",
        "pair",
        "price",
        "mock",
        "age_ms",
        "ticks",
        "rejected",
        "reconnects",
        "retry_in_ms",
        "budget",
        "error",
    ];
    let all = answer["sources"].as_array().into_iter().flatten();
    // Leaves out empty columns: failover has no verdicts, few sources have a budget, and few prices are made up.
    fields.retain(|field| {
        let says = |row: &Value| !row[*field].is_null() && row[*field] != Value::Bool(false);
        !["verdict", "retry_in_ms", "mock", "budget"].contains(field) || all.clone().any(says)
    });
    let mut text = rows(answer, "sources", &fields, bold);
    if let Some(why) = answer["refused"].as_str() {
        let _ = writeln!(text, "no new price of {}: {}", cell(&answer["symbol"]), visible(why));
    }
    text
}

fn workers(answer: &Value, bold: bool) -> String {
    let headings = [
        "id", "pid", "state", "uptime", "restarts", "sessions", "users", "cpu", "memory", "in", "out", "lag",
    ];
    let row = |worker: &Value| {
        let plain = |field: &str| cell(&worker[field]);
        vec![
            plain("id"),
            plain("pid"),
            plain("state"),
            table::time(worker["uptime_s"].as_u64().unwrap_or(0)),
            plain("restarts"),
            plain("sessions"),
            plain("users"),
            format!("{} %", plain("cpu_pct")),
            table::size(worker["rss_bytes"].as_u64().unwrap_or(0)),
            plain("messages_in"),
            plain("messages_out"),
            format!("{} ms", plain("lag_ms")),
        ]
    };
    let rows: Vec<_> = answer["workers"].as_array().into_iter().flatten().map(row).collect();
    table::text(&headings, &rows, bold)
}

fn processes(answer: &Value, bold: bool) -> String {
    let headings = ["role", "pid", "state", "uptime", "restarts", "version"];
    let row = |process: &Value| {
        let uptime = table::time(process["uptime_s"].as_u64().unwrap_or(0));
        let [role, pid, state, restarts, version] =
            ["role", "pid", "state", "restarts", "version"].map(|field| cell(&process[field]));
        vec![role, pid, state, uptime, restarts, version]
    };
    let rows: Vec<_> = answer["processes"].as_array().into_iter().flatten().map(row).collect();
    table::text(&headings, &rows, bold)
}

/// `death from worker 2: 4998 held, 2 closed, longest silence 87 ms, at 2026-11-30T17:14:38.000Z`
fn handover(last: &Value) -> String {
    let mut text = cell(&last["why"]);
    for (word, key) in [("from", "from"), ("to", "to")] {
        if let Some(name) = last[key].as_str() {
            let _ = write!(text, " {word} {name}");
        }
    }
    let (held, closed, silence) = (&last["held"], &last["closed"], &last["silence_ms"]);
    let _ = write!(
        text,
        ": {held} held, {closed} closed, longest silence {silence} ms, at {}",
        cell(&last["time"])
    );
    text
}

/// What is to be known of a keeper of another version than that of the rest.
fn older_keeper(status: &Value) -> Option<String> {
    let keeper = &status["processes"][0];
    let differs = keeper["role"] == "keeper" && keeper["version"] != status["version"];
    differs.then(|| format!("version {}, until the daemon is restarted", cell(&keeper["version"])))
}

fn status(answer: &Value, bold: bool) -> String {
    let mut all = String::new();
    let mut line = |name: &str, text: String| _ = writeln!(all, "{name:<14}{}", visible(&text));
    line("version", cell(&answer["version"]));
    older_keeper(answer).into_iter().for_each(|text| line("keeper", text));
    line("pid", cell(&answer["pid"]));
    line("environment", cell(&answer["environment"]));
    line("uptime", table::time(answer["uptime_s"].as_u64().unwrap_or(0)));
    for port in ["http", "ws", "admin", "http-tls", "ws-tls", "admin-tls"] {
        let all = answer["listening"][port].as_array().into_iter().flatten();
        let addresses: Vec<_> = all.filter_map(Value::as_str).collect();
        if !addresses.is_empty() {
            line(port, addresses.join(", "));
        }
    }
    line("state", cell(&answer["state"]));
    line("price", cell(&answer["price_text"]));
    let totals = &answer["totals"];
    line("workers", format!("{} ready", totals["workers"]));
    line("sessions", format!("{} of {} users", totals["sessions"], totals["users"]));
    let cover = &answer["crash_cover"];
    let count = |key: &str| cover[key].as_u64().unwrap_or(0);
    if count("covered") + count("uncovered") > 0 {
        line("crash cover", format!("{} covered, {} uncovered", count("covered"), count("uncovered")));
    }
    if let Some(last) = answer["handovers"].as_array().and_then(|all| all.last()) {
        line("handover", handover(last));
    }
    if let Some(why) = answer["upgrade"]["why"].as_str() {
        line("not upgraded", why.to_owned());
    }
    for (title, text) in keys(&answer["keys"]) {
        line(title, text);
    }
    line("configuration", format!("revision {} of {}", answer["revision"], cell(&answer["config"])));
    if let Some(trouble) = answer["watch_trouble"].as_str() {
        line("not watched", trouble.to_owned());
    }
    let last = &answer["last_reload"];
    if last["ok"] == Value::Bool(false) {
        let faults = last["faults"].as_array().into_iter().flatten().filter_map(Value::as_str);
        faults.for_each(|fault| line("reload failed", fault.to_owned()));
    }
    all + "\n" + &processes(answer, bold)
}

/// Keys that tokens are checked with; nothing in open mode.
fn keys(keys: &Value) -> Vec<(&'static str, String)> {
    let count = |key: &str| keys[key].as_u64().unwrap_or(0);
    if keys.is_null() {
        return Vec::new();
    }
    let (files, endpoint) = (count("secrets") + count("public_keys"), &keys["jwks"]);
    if endpoint.is_null() {
        return vec![("keys", format!("{files} of files"))];
    }
    let known = format!("{files} of files, {} of {}", cell(&endpoint["keys"]), cell(&endpoint["host"]));
    let trouble = endpoint["trouble"].as_str().map(|why| ("not fetched", why.to_owned()));
    [("keys", known)].into_iter().chain(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_counted_and_trouble_is_told() {
        assert_eq!(keys(&Value::Null), []);
        assert_eq!(
            keys(&json!({ "secrets": 1, "public_keys": 2, "jwks": null })),
            [("keys", "3 of files".into())]
        );
        let jwks = json!({ "host": "a.example", "keys": 4, "trouble": "HTTP 500" });
        let shown = keys(&json!({ "secrets": 0, "public_keys": 0, "jwks": jwks }));
        assert_eq!(
            shown,
            [("keys", "0 of files, 4 of a.example".into()), ("not fetched", "HTTP 500".into())]
        );
    }

    #[test]
    fn a_keeper_of_another_version_is_told() {
        let status =
            |keeper: &str| json!({ "version": "2", "processes": [{ "role": "keeper", "version": keeper }] });
        assert_eq!(older_keeper(&status("2")), None);
        assert_eq!(older_keeper(&status("1")).unwrap(), "version 1, until the daemon is restarted");
        assert_eq!(older_keeper(&Value::Null), None);
        let mut refused = status("1");
        refused["upgrade"] = json!({ "why": "it ended with SIGABRT" });
        let text = super::status(&refused, false);
        assert!(
            text.contains("keeper        version 1,") && text.contains("not upgraded  it ended"),
            "{text}"
        );
    }
}
