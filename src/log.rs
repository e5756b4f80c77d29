//! Writes log lines as text, as JSON lines, or to the journal with their fields. The level can change at run time.

mod journal;

use crate::config::{LogFormat, LogSection};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
    file: LogFile,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The log file or standard error. Errors while writing the log are ignored: they must not stop the daemon.
#[derive(Clone)]
struct LogFile(Arc<Mutex<(Option<PathBuf>, Option<File>)>>);

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = match &mut inner.1 {
            Some(file) => file.write_all(bytes),
            None => io::stderr().write_all(bytes),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile {
    fn open(&self, path: Option<PathBuf>) {
        let file = path.as_ref().and_then(|path| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| eprintln!("log.file {}: {error}", path.display())).ok()
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (path, file);
    }
}

/// Whether standard error goes to the journal (`JOURNAL_STREAM` names its device and inode, systemd.exec(5)).
fn journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let stat = rustix::fs::fstat(io::stderr().as_fd());
    stat.is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The layer that writes lines in the configured format.
fn writer(config: &LogSection, role: &str, file: &LogFile) -> Writer {
    let output = file.clone();
    let make = move || output.clone();
    let colours = config.file.is_none() && io::stderr().is_terminal();
    let format = match config.format {
        LogFormat::Auto if config.file.is_none() && journal() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        other => other,
    };
    match format {
        LogFormat::Json => return Box::new(fmt::layer().json().flatten_event(true).with_writer(make)),
        LogFormat::Journald => {
            // Falls back to standard error if there is no journal.
            if let Ok(layer) = journal::Journal::new(role) {
                return Box::new(layer);
            }
        }
        LogFormat::Auto | LogFormat::Text => {}
    }
    Box::new(fmt::layer().with_writer(make).with_ansi(colours).with_target(false))
}

fn filter(config: &LogSection) -> EnvFilter {
    EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Starts logging; later calls do nothing. `role` names this process: `master`, `feeder`, `worker 3`.
pub fn init(config: &LogSection, role: &str) {
    if LOGGER.get().is_some() {
        return;
    }
    let file = LogFile(Arc::new(Mutex::new((None, None))));
    file.open(config.file.clone());
    let (filtering, level) = reload::Layer::new(filter(config));
    let (writing, writer) = reload::Layer::new(writer(config, role, &file));
    let _ = tracing_subscriber::registry().with(filtering).with(writing).try_init();
    let _ = LOGGER.set(Logger { role: role.to_owned(), level, writer, file });
    tracing::debug!(role, "logging");
}

/// Applies a new configuration.
pub fn adopt(config: &LogSection) {
    let Some(logger) = LOGGER.get() else { return };
    let known = logger.file.0.lock().unwrap_or_else(PoisonError::into_inner).0 == config.file;
    if !known {
        logger.file.open(config.file.clone());
    }
    let _ = logger.writer.reload(writer(config, &logger.role, &logger.file));
    let _ = logger.level.reload(filter(config));
}

/// Opens `log.file` again after it was moved away.
pub fn reopen() {
    if let Some(logger) = LOGGER.get() {
        let path = logger.file.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        logger.file.open(path);
    }
}
