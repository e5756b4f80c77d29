//! Writes lines in the journal's own protocol: a readable text in `MESSAGE`, each field beside it under its own name in
//! capitals (`journalctl EVENT=child-died`), and the sender (`ROLE`, `WORKER`).
//!
//! Neither a hung journal nor a line repeated a thousand times may harm the daemon: a line that cannot be sent at once
//! is dropped, and so is a line of a kind that came too often; the next line says how many were dropped.

use super::ids;
use super::kinds::{Held, LineKinds};
use super::lines::seen;
use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The socket of journald. systemd holds it: it outlives a restart of journald.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value in bytes; the rest is cut. The whole line must fit into one datagram.
const LONGEST: usize = 8 << 10;

/// The tracing layer.
pub(super) struct Journal {
    sender: Arc<Sender>,
    /// The sender's fields in the journal's form.
    identity: String,
    /// The slot, in a worker process.
    worker: Option<String>,
    kinds: Arc<LineKinds>,
}

/// The way to the journal.
struct Sender {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Sender {
    /// `head`: the fields before those of the line.
    fn send(&self, mut head: Vec<u8>, line: JournalLine, left_out: u64) -> io::Result<()> {
        if left_out > 0 {
            put(&mut head, "LEFT_OUT", &left_out.to_string());
        }
        line.finish(&mut head, left_out);
        self.socket.send_to(&head, &self.path).map(drop)
    }
}

impl Journal {
    /// `role` is `master`, `feeder` or `worker 3`.
    pub(super) fn new(role: &str, kinds: Arc<LineKinds>) -> io::Result<Self> {
        Self::at(Path::new(SOCKET), role, kinds)
    }

    fn at(path: &Path, role: &str, kinds: Arc<LineKinds>) -> io::Result<Self> {
        // Fails if there is no journal, or nobody who reads it.
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let (role, worker) = match role.split_once(' ') {
            Some((role, worker)) => (role, Some(worker)),
            None => (role, None),
        };
        Ok(Self {
            sender: Arc::new(Sender { socket, path: path.to_owned() }),
            identity: format!("SYSLOG_IDENTIFIER=btc-cluster\nROLE={role}\n"),
            worker: worker.map(str::to_owned),
            kinds,
        })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let kind = event.metadata().callsite();
        let hold = || {
            let (sender, (head, line)) = (self.sender.clone(), self.line(event));
            // A line that is lost now is one of those that nobody misses.
            Box::new(move |left_out| _ = sender.send(head, line, left_out)) as Held
        };
        let Some(left_out) = self.kinds.admit(kind.clone(), hold) else { return };
        let (head, line) = self.line(event);
        if self.sender.send(head, line, left_out).is_err() {
            self.kinds.lost(kind, left_out);
        }
    }
}

impl Journal {
    /// The fields before those of the line, and the line.
    fn line(&self, event: &Event<'_>) -> (Vec<u8>, JournalLine) {
        let mut line = JournalLine::default();
        event.record(&mut line);
        let mut head =
            format!("PRIORITY={}\n{}", priority(*event.metadata().level()), self.identity).into_bytes();
        put(&mut head, "TARGET", event.metadata().target());
        if let Some(worker) = self.worker.as_ref().filter(|_| !line.has("worker")) {
            put(&mut head, "WORKER", worker);
        }
        (head, line)
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The text and the fields of one event.
#[derive(Default)]
struct JournalLine {
    message: String,
    event: String,
    fields: Vec<(&'static str, String)>,
}

impl JournalLine {
    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| *known == name)
    }

    fn take(&mut self, field: &Field, mut text: String) {
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        if let Some(seen) = seen(text.as_bytes(), false).and_then(|bytes| String::from_utf8(bytes).ok()) {
            text = seen;
        }
        if let Some(hashed) =
            Some(&text).filter(|_| ids::is_hashing()).and_then(|text| ids::without_uuids(text))
        {
            text = hashed;
        }
        match field.name() {
            "message" => self.message = text,
            "event" => self.event = text,
            name => self.fields.push((name, text)),
        }
    }

    /// Writes `child-died worker=1 pid=4711 how=SIGKILL` and the fields.
    fn finish(self, bytes: &mut Vec<u8>, left_out: u64) {
        let mut text = self.event.clone();
        if !self.message.is_empty() {
            let between = if text.is_empty() { "" } else { ": " };
            let _ = write!(text, "{between}{}", self.message);
        }
        for (name, value) in &self.fields {
            let quote = if value.is_empty() || value.contains([' ', '"', '\n']) { "\"" } else { "" };
            let _ = write!(text, " {name}={quote}{value}{quote}");
        }
        if left_out > 0 {
            let _ = write!(text, " (and {left_out} more like this, left out)");
        }
        put(bytes, "MESSAGE", text.trim_start());
        if !self.event.is_empty() {
            put(bytes, "EVENT", &self.event);
        }
        for (name, value) in &self.fields {
            put(bytes, &key(name), value);
        }
    }
}

impl Visit for JournalLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

/// Converts a name to what the journal allows: capitals, digits and `_`, a letter first, at most 64.
fn key(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).chars().map(fit).take(64).collect()
}

/// Writes a field; its length comes first if the value has several lines.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    if name.is_empty() {
        return;
    }
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::kinds::BURST;
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// Returns what the journal receives while `say` runs.
    fn heard(role: &str, say: impl FnOnce()) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let layer = Journal::at(&path, role, Arc::default()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let mut buffer = vec![0; 64 << 10];
        std::iter::from_fn(|| {
            let len = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
        })
        .collect()
    }

    #[test]
    fn people_and_programs_read_the_same_line() {
        let lines = heard("worker 3", || {
            tracing::warn!(event = "slow-consumer", session = %"s1", user = "alice", code = 4102, "cut");
        });
        let line = &lines[0];
        for field in [
            "PRIORITY=4\n",
            "SYSLOG_IDENTIFIER=btc-cluster\n",
            "ROLE=worker\n",
            "\nWORKER=3\n",
            "MESSAGE=slow-consumer: cut session=s1 user=alice code=4102\n",
            "EVENT=slow-consumer\n",
            "SESSION=s1\n",
            "USER=alice\n",
            "CODE=4102\n",
        ] {
            assert!(line.contains(field), "{field:?} in {line:?}");
        }
    }

    #[test]
    fn a_line_of_several_lines_cannot_forge_a_field() {
        let lines = heard("master", || {
            tracing::info!(event = "x", fault = "one\nPRIORITY=0", big = "é".repeat(9000))
        });
        assert!(lines[0].contains("FAULT\n\u{e}\0\0\0\0\0\0\0one\nPRIORITY=0\n"), "{:?}", lines[0]);
        assert!(lines[0].len() < 3 * LONGEST, "{}", lines[0].len());
        assert_eq!((key("r#type"), key("_x.y-1")), ("R_TYPE".to_owned(), "X_Y_1".to_owned()));
    }

    #[test]
    fn a_kind_of_line_that_floods_is_limited_and_the_others_are_not() {
        let lines = heard("master", || {
            for n in 0..10 * BURST {
                // The kernel's queue is smaller than all the lines: unread lines are lost, too.
                tracing::info!(event = "often", n);
            }
            tracing::info!(event = "once");
        });
        assert!(lines.len() <= BURST as usize + 3, "{}", lines.len());
    }

    #[test]
    fn a_socket_that_nobody_reads_is_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixDatagram::bind(&path).unwrap());
        assert!(path.exists() && Journal::at(&path, "master", Arc::default()).is_err());
    }

    #[test]
    fn a_journal_that_stands_still_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path, "master", Arc::default()).unwrap();
        let say = |n: u32| tracing::info!(event = "still", n);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            // More than the kernel's datagram queue takes (net.unix.max_dgram_qlen), or than the burst allows.
            (0..2 * BURST).for_each(say);
        });
        let mut buffer = [0; 4096];
        assert!(socket.recv(&mut buffer).unwrap() > 0);
    }

    #[test]
    fn what_was_left_out_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path, "master", Arc::default()).unwrap();
        let say = |n: u32| tracing::info!(event = "told", n);
        let mut buffer = [0; 4096];
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            say(0);
            socket.recv(&mut buffer).unwrap();
            std::fs::rename(&path, folder.path().join("away")).unwrap();
            say(1);
            say(2);
            std::fs::rename(folder.path().join("away"), &path).unwrap();
            say(3);
        });
        let len = socket.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
        assert!(
            line.contains("LEFT_OUT=2\n") && line.contains("n=3 (and 2 more like this, left out)"),
            "{line}"
        );
    }
}
