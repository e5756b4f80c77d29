//! Writes log lines as text, as JSON lines, or to the journal with their fields. The level can change at run time.

mod ids;
mod journal;
mod kinds;
mod lines;
mod rotation;
mod sink;
mod target;

use crate::config::{LogFormat, LogSection};
pub use ids::{id, is_hashing};
use kinds::LineKinds;
use rotation::Rotation;
use sink::{Bounds, Rotated, Sink};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The layers below the writer.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Writer = Box<dyn Layer<Filtered> + Send + Sync>;

struct Logger {
    role: String,
    level: reload::Handle<EnvFilter, Registry>,
    writer: reload::Handle<Writer, Filtered>,
    output: Output,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Longest wait, at the end of a process, for lines that nobody takes. No key: whoever ended the process waits for it.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The log file or standard error. What cannot be written is lost: it must not stop the daemon.
#[derive(Clone, Default)]
struct Output {
    sink: lines::Current,
    kinds: Arc<LineKinds>,
    /// The file that lines are written to, or are to be.
    path: Arc<Mutex<Option<PathBuf>>>,
    /// Set in the process that moves full files aside.
    rotated: Arc<OnceLock<Rotated>>,
}

impl Output {
    fn bounds(&self, config: &LogSection) -> Bounds {
        let rotation = Rotation { max_size: config.max_size as u64, keep: config.keep };
        Bounds { room: config.queue, rotation: self.rotated.get().map(|_| rotation) }
    }

    fn start(&self, config: &LogSection) {
        let path = config.file.clone();
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path.clone();
        let tell = |lines, why: &str| tracing::warn!(event = "log-lost", lines, why, "log lines were lost");
        match Sink::start(path, self.bounds(config), self.rotated.get().cloned(), Box::new(tell)) {
            // Another thread: the old one may hang, and writes what it has when it goes on.
            Some(sink) => *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sink)),
            None => tracing::error!(event = "log-stuck", "the log stays where it is: its writers hang"),
        }
    }

    fn sink(&self) -> Option<Arc<Sink>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn path(&self) -> Option<PathBuf> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether standard error goes to the journal (`JOURNAL_STREAM` names its device and inode, systemd.exec(5)).
fn journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let stat = rustix::fs::fstat(io::stderr().as_fd());
    stat.is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The layer that writes lines in the configured format.
fn writer(config: &LogSection, role: &str, output: &Output) -> Writer {
    let colours = config.file.is_none() && io::stderr().is_terminal();
    let format = match config.format {
        LogFormat::Auto if config.file.is_none() && journal() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        other => other,
    };
    let lines = |json| lines::Lines { sink: output.sink.clone(), kinds: output.kinds.clone(), json };
    match format {
        LogFormat::Json => {
            return Box::new(fmt::layer().json().flatten_event(true).with_writer(lines(true)));
        }
        LogFormat::Journald => {
            // Falls back to standard error if there is no journal.
            if let Ok(layer) = journal::Journal::new(role, output.kinds.clone()) {
                return Box::new(layer);
            }
        }
        LogFormat::Auto | LogFormat::Text => {}
    }
    Box::new(fmt::layer().with_writer(lines(false)).with_ansi(colours).with_target(false))
}

fn filter(config: &LogSection) -> EnvFilter {
    EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Starts logging; later calls do nothing. `role` names this process: `master`, `feeder`, `worker 3`.
pub fn init(config: &LogSection, role: &str) {
    if LOGGER.get().is_some() {
        return;
    }
    let output = Output::default();
    ids::set_hashing(config.hash_ids);
    output.start(config);
    let (filtering, level) = reload::Layer::new(filter(config));
    let (writing, writer) = reload::Layer::new(writer(config, role, &output));
    let _ = tracing_subscriber::registry().with(filtering).with(writing).try_init();
    let _ = LOGGER.set(Logger { role: role.to_owned(), level, writer, output });
    // The standard hook writes to standard error, and waits for its reader.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = shown(panic_message(panic.payload()));
        tracing::error!(event = "panic", place, why, "a defect, please report it");
    }));
    tracing::debug!(role, "logging");
}

/// The standard library quotes texts in backticks, and a text of a client may hold its id.
fn shown(why: &str) -> &str {
    if is_hashing() { why.split('`').next().unwrap_or_default() } else { why }
}

fn panic_message(payload: &dyn std::any::Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Applies a new configuration.
pub fn adopt(config: &LogSection) {
    let Some(logger) = LOGGER.get() else { return };
    ids::set_hashing(config.hash_ids);
    if logger.output.path() != config.file {
        logger.output.start(config);
    } else if let Some(sink) = logger.output.sink() {
        sink.bound(logger.output.bounds(config));
    }
    let _ = logger.writer.reload(writer(config, &logger.role, &logger.output));
    let _ = logger.level.reload(filter(config));
}

/// Makes this process the one that moves full log files aside. `rotated` is called on another thread after each time, so
/// that the others open the file again; if it returns false, it is called again a second later.
pub fn rotate(config: &LogSection, rotated: impl Fn() -> bool + Send + Sync + 'static) {
    let Some(output) = LOGGER.get().map(|logger| &logger.output) else { return };
    let rotated: Rotated = Arc::new(rotated);
    if output.rotated.set(rotated.clone()).is_ok()
        && let Some(sink) = output.sink()
    {
        sink.when_rotated(rotated);
        sink.bound(output.bounds(config));
    }
}

/// Tries whether this process may write lines to that file; leaves nothing behind. The disk may hang.
///
/// # Errors
/// Why not, and what to do about it.
pub fn attempt(path: &Path) -> Result<(), String> {
    target::attempt(path)
}

/// Writes the last line of each kind that came too often. To be called each second.
pub fn tell_left_out() {
    LOGGER.get().into_iter().for_each(|logger| logger.output.kinds.tell());
}

/// Opens `log.file` again after it was moved away.
pub fn reopen() {
    if let Some(sink) = LOGGER.get().and_then(|logger| logger.output.sink()) {
        sink.reopen();
    }
}

/// Waits a moment, at the end of the process, until lines on their way are written.
pub fn flush() {
    if let Some(sink) = LOGGER.get().and_then(|logger| logger.output.sink()) {
        sink.flush(LAST_WORDS);
    }
}
