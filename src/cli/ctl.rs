//! `btc-cluster ctl`: asks the running daemon over its control socket.

use super::arguments::{Ctl, What};
use super::exit::Exit;
use super::{check, table};
use crate::config::{Faults, Source, control_socket};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Longest wait for an answer: a reload waits for new processes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(ctl: &Ctl, source: Result<Source, Faults>) -> ExitCode {
    let path = match (&ctl.socket, source) {
        (Some(path), _) => path.clone(),
        (None, Ok(source)) => control_socket(&source),
        (None, Err(faults)) => return check::refuse(&faults),
    };
    if matches!(ctl.what, What::Watch) {
        return watch(&path, ctl.json);
    }
    match ask(&path, &question(&ctl.what)) {
        Ok(answer) => show(ctl, &answer),
        Err(error) => fail(&path, &error),
    }
}

fn fail(path: &Path, error: &io::Error) -> ExitCode {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    match error.kind() {
        NotFound | ConnectionRefused => eprintln!("not running at {}", path.display()),
        _ => eprintln!("{}: {error}", path.display()),
    }
    ExitCode::from(Exit::Failed)
}

fn question(what: &What) -> Value {
    match what {
        What::Status => json!({ "command": "status" }),
        What::Workers | What::Watch => json!({ "command": "workers" }),
        What::Sessions { user } => json!({ "command": "sessions", "user": user }),
        What::Sources => json!({ "command": "sources" }),
        What::Reload => json!({ "command": "reload" }),
        What::Retry { source } => json!({ "command": "retry", "source": source }),
        What::RestartWorker { id } => json!({ "command": "restart-worker", "id": id }),
        What::Kick { session } => json!({ "command": "kick", "session": session }),
        What::Publish { channel, data } => {
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.clone()));
            json!({ "command": "publish", "channel": channel, "data": data })
        }
        What::Stop => json!({ "command": "stop" }),
    }
}

pub(super) fn ask(path: &Path, question: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{question}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up"));
    }
    Ok(serde_json::from_str(&line)?)
}

fn show(ctl: &Ctl, answer: &Value) -> ExitCode {
    let ok = answer["ok"].as_bool() != Some(false);
    if ctl.json {
        // The status has a list of workers, too, but is printed whole.
        let list = match ctl.what {
            What::Workers | What::Watch => Some("workers"),
            What::Sessions { .. } => Some("sessions"),
            What::Sources => Some("sources"),
            _ => None,
        };
        let body = list.and_then(|name| answer.get(name)).filter(|list| list.is_array() && ok);
        println!("{}", body.unwrap_or(answer));
    } else if ok {
        print(&ctl.what, answer);
    } else {
        let faults = answer["faults"].as_array().into_iter().flatten();
        let error = answer.get("error").into_iter();
        faults.chain(error).filter_map(Value::as_str).for_each(|text| eprintln!("{text}"));
    }
    ExitCode::from(if ok { Exit::Done } else { Exit::Failed })
}

fn print(what: &What, answer: &Value) {
    let bold = io::stdout().is_terminal();
    match what {
        What::Status => status(answer),
        What::Workers | What::Watch => workers(answer, bold),
        What::Sessions { .. } => {
            let fields = ["session_id", "user_id", "device", "endpoint", "worker", "address", "since"];
            rows(answer, "sessions", &fields, bold);
        }
        What::Sources => sources(answer, bold),
        What::Reload => {
            let words = |key: &str| {
                let list = answer[key].as_array().into_iter().flatten();
                list.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            };
            let changed = words("changed");
            println!(
                "revision {}: {}",
                answer["revision"],
                if changed.is_empty() { "no change" } else { &changed }
            );
            if !words("restart").is_empty() {
                println!("needs a restart of the daemon: {}", words("restart"));
            }
        }
        What::Publish { .. } => println!("{} sessions", answer["sessions"]),
        What::Retry { .. } => {
            let names = answer["sources"].as_array().into_iter().flatten().filter_map(Value::as_str);
            println!("tried now: {}", names.collect::<Vec<_>>().join(", "));
        }
        What::RestartWorker { .. } | What::Kick { .. } | What::Stop => println!("done"),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        // A source's budget, the only object in a table.
        Value::Object(budget) if budget.contains_key("limit") => {
            format!("{}/{}", cell(&budget["used"]), cell(&budget["limit"]))
        }
        other => other.to_string(),
    }
}

fn rows(answer: &Value, list: &str, fields: &[&str], bold: bool) {
    let all = answer[list].as_array().into_iter().flatten();
    let rows: Vec<_> = all.map(|row| fields.iter().map(|field| cell(&row[*field])).collect()).collect();
    table::print(fields, &rows, bold);
}

fn sources(answer: &Value, bold: bool) {
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
    rows(answer, "sources", &fields, bold);
    if let Some(why) = answer["refused"].as_str() {
        println!("no new price of {}: {why}", cell(&answer["symbol"]));
    }
}

fn workers(answer: &Value, bold: bool) {
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
    table::print(&headings, &rows, bold);
}

fn status(answer: &Value) {
    let line = |name: &str, text: String| println!("{name:<14}{text}");
    line("version", cell(&answer["version"]));
    line("pid", cell(&answer["pid"]));
    line("environment", cell(&answer["environment"]));
    line("uptime", table::time(answer["uptime_s"].as_u64().unwrap_or(0)));
    for port in ["http", "ws", "admin"] {
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
    line("feeder", format!("{}, pid {}", cell(&answer["feeder"]["state"]), cell(&answer["feeder"]["pid"])));
    line("configuration", format!("revision {} of {}", answer["revision"], cell(&answer["config"])));
    if let Some(trouble) = answer["watch_trouble"].as_str() {
        line("not watched", trouble.to_owned());
    }
    let last = &answer["last_reload"];
    if last["ok"] == Value::Bool(false) {
        let faults = last["faults"].as_array().into_iter().flatten().filter_map(Value::as_str);
        faults.for_each(|fault| line("reload failed", fault.to_owned()));
    }
}

fn watch(path: &Path, json: bool) -> ExitCode {
    loop {
        match ask(path, &question(&What::Watch)) {
            Err(error) => return fail(path, &error),
            Ok(answer) if json => println!("{}", answer["workers"]),
            Ok(answer) => {
                if io::stdout().is_terminal() {
                    print!("\x1b[2J\x1b[H");
                }
                workers(&answer, io::stdout().is_terminal());
            }
        }
        #[expect(clippy::disallowed_methods, reason = "this process has no runtime and nothing else to do")]
        std::thread::sleep(Duration::from_secs(1));
    }
}
