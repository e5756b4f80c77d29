//! `btc-cluster ctl`: asks the running daemon over its control socket.

use super::arguments::{Ctl, What};
use super::exit::Exit;
use super::out::{self, complain};
use super::{check, shown};
use crate::config::{Faults, Source, control_socket};
use crate::model::visible;
use crate::os::trust;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Pause between two looks for the outcome of an upgrade.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for an answer: a reload waits for new processes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where many sessions move, at a rate.
const MOVES: Duration = Duration::from_secs(600);

pub(super) fn run(ctl: &Ctl, source: Result<Source, Faults>) -> ExitCode {
    let path = match (&ctl.socket, source) {
        (Some(path), _) => path.clone(),
        (None, Ok(source)) => control_socket(&source),
        (None, Err(faults)) => return check::refuse(&faults),
    };
    if matches!(ctl.what, What::Watch) {
        return watch(&path, ctl.json);
    }
    let moves = matches!(ctl.what, What::Move { .. } | What::Drain { .. } | What::Rebalance);
    let patience = if moves { MOVES } else { PATIENCE };
    let answer = match ctl.what {
        What::Upgrade { .. } => upgrade(&path, &question(&ctl.what)),
        What::Stop { keep_sessions: true } => stop(&path, &question(&ctl.what)),
        _ => ask_for(&path, &question(&ctl.what), patience),
    };
    match answer {
        Ok(answer) => show(ctl, &answer),
        Err(error) => fail(&path, &error, patience),
    }
}

fn fail(path: &Path, error: &io::Error, patience: Duration) -> ExitCode {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    match error.kind() {
        NotFound | ConnectionRefused if listens(path) => complain(&format!(
            "serving, but its socket {} is gone; the daemon makes it again within seconds (if not, its file system is \
             another one: a container)",
            path.display()
        )),
        WouldBlock => {
            complain(&format!(
                "{}: the daemon does not answer within {patience:?}: it is stopped, or hangs",
                path.display()
            ));
        }
        ConnectionRefused if !is_socket(path) => complain(&format!("{} is no socket", path.display())),
        NotFound | ConnectionRefused => complain(&format!("not running at {}", path.display())),
        _ => complain(&format!("{}: {error}", path.display())),
    }
    ExitCode::from(Exit::Failed)
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Whether a socket that was made there is listened to, although it is at its path no more (proc(5), `/proc/net/unix`).
fn listens(path: &Path) -> bool {
    /// `SO_ACCEPTCON`.
    const LISTENS: &str = "00010000";
    let Ok(path) = std::path::absolute(path) else { return false };
    let all = std::fs::read("/proc/net/unix").unwrap_or_default();
    String::from_utf8_lossy(&all).lines().any(|line| {
        let fields: Vec<_> = line.splitn(8, ' ').collect();
        fields.get(3) == Some(&LISTENS) && fields.get(7).is_some_and(|name| Path::new(name.trim()) == path)
    })
}

/// Fails unless whoever answers is root, this user, or one who decides what is at the path.
fn trusted(stream: &UnixStream, path: &Path) -> io::Result<()> {
    let denied = |why| io::Error::new(io::ErrorKind::PermissionDenied, format!("not trusted: {why}"));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let keepers = trust::keepers(folder).map_err(denied)?;
    let peer = rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw();
    match keepers.contains(&peer) {
        true => Ok(()),
        false => Err(denied(format!("user {peer} answers there"))),
    }
}

fn question(what: &What) -> String {
    let question = match what {
        What::Status => json!({ "command": "status" }),
        What::Workers | What::Watch => json!({ "command": "workers" }),
        What::Sessions { user } => json!({ "command": "sessions", "user": user }),
        What::Sources => json!({ "command": "sources" }),
        What::Reload => json!({ "command": "reload" }),
        What::Retry { source } => json!({ "command": "retry", "source": source }),
        What::RestartWorker { id } => json!({ "command": "restart-worker", "id": id }),
        What::Move { session, worker } => json!({ "command": "move", "session": session, "worker": worker }),
        What::Drain { worker } => json!({ "command": "drain", "worker": worker }),
        What::Rebalance => json!({ "command": "rebalance" }),
        What::Kick { session } => json!({ "command": "kick", "session": session }),
        What::Revoke { jti, user, issued_before, until } => {
            let [issued_before, until] = [issued_before, until].map(|moment| moment.map(|it| it.to_string()));
            json!({
                "command": "revoke", "jti": jti, "user": user, "issued_before": issued_before, "until": until
            })
        }
        What::Reconnect { user } => json!({ "command": "reconnect", "user": user }),
        What::Publish { channel, data } => return publication(channel, data),
        What::Upgrade { binary } => {
            let binary =
                binary.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            json!({ "command": "upgrade", "binary": binary })
        }
        What::Stop { keep_sessions } => json!({ "command": "stop", "keep_sessions": keep_sessions }),
    };
    question.to_string()
}

/// The data goes byte by byte if it is JSON, else as a string.
fn publication(channel: &str, data: &str) -> String {
    let (channel, text) = (json!(channel), json!(data).to_string());
    let data = match serde_json::from_str::<&RawValue>(data) {
        // Between its values JSON may have line ends, which end a question.
        Ok(raw) => raw.get().replace(['\n', '\r'], " "),
        Err(_) => text,
    };
    format!(r#"{{"command":"publish","channel":{channel},"data":{data}}}"#)
}

/// Connects, with that patience for this and for all that follows: a daemon that is stopped accepts nobody.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(patience))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

pub(super) fn ask(path: &Path, question: &str) -> io::Result<Value> {
    ask_for(path, question, PATIENCE)
}

fn ask_for(path: &Path, question: &str, patience: Duration) -> io::Result<Value> {
    let mut stream = connect(path, patience)?;
    trusted(&stream, path)?;
    writeln!(stream, "{question}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Asks for an upgrade and waits for its outcome, which another master tells.
fn upgrade(path: &Path, question: &str) -> io::Result<Value> {
    let begun = ask(path, question)?;
    let number = &begun["upgrade"]["number"];
    if begun["ok"] != true || !number.is_u64() {
        return Ok(begun);
    }
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        pause();
        // Between the two masters nobody answers.
        let Ok(status) = ask(path, r#"{"command":"status"}"#) else { continue };
        let upgrade = &status["upgrade"];
        if upgrade["number"] == *number && upgrade["outcome"].is_string() {
            let ok = upgrade["outcome"] == "upgraded";
            let told = json!({ "version": status["version"], "processes": status["processes"] });
            return Ok(json!({ "ok": ok, "error": upgrade["why"], "upgrade": upgrade, "status": told }));
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no outcome within {PATIENCE:?}")))
}

/// Asks for an end and waits until nobody answers any more.
fn stop(path: &Path, question: &str) -> io::Result<Value> {
    let answer = ask(path, question)?;
    let since = Instant::now();
    while answer["ok"] == true && since.elapsed() < PATIENCE && ask(path, r#"{"command":"status"}"#).is_ok() {
        pause();
    }
    Ok(answer)
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "this process has no runtime and nothing else to do")]
    std::thread::sleep(LOOK);
}

fn show(ctl: &Ctl, answer: &Value) -> ExitCode {
    let ok = answer["ok"].as_bool() != Some(false);
    let code = if ok { Exit::Done } else { Exit::Failed };
    if ctl.json {
        // The status has a list of workers, too, but is printed whole.
        let list = match ctl.what {
            What::Workers | What::Watch => Some("workers"),
            What::Sessions { .. } => Some("sessions"),
            What::Sources => Some("sources"),
            _ => None,
        };
        let body = list.and_then(|name| answer.get(name)).filter(|list| list.is_array() && ok);
        out::end(&format!("{}\n", body.unwrap_or(answer)), code)
    } else if ok {
        out::end(&shown::words(&ctl.what, answer, io::stdout().is_terminal()), code)
    } else {
        let faults = answer["faults"].as_array().into_iter().flatten();
        let error = answer.get("error").into_iter();
        faults.chain(error).filter_map(Value::as_str).for_each(|text| complain(&visible(text)));
        ExitCode::from(code)
    }
}

fn watch(path: &Path, json: bool) -> ExitCode {
    let terminal = io::stdout().is_terminal();
    loop {
        let text = match ask(path, &question(&What::Watch)) {
            Err(error) => return fail(path, &error, PATIENCE),
            Ok(answer) if json => format!("{}\n", answer["workers"]),
            Ok(answer) => {
                let clear = if terminal { "\x1b[2J\x1b[H" } else { "" };
                clear.to_owned() + &shown::words(&What::Watch, &answer, terminal)
            }
        };
        let printed = out::print(&text);
        if printed.is_err() {
            return out::ended(printed, Exit::Done);
        }
        #[expect(clippy::disallowed_methods, reason = "this process has no runtime and nothing else to do")]
        std::thread::sleep(Duration::from_secs(1));
    }
}
