//! Reads lines of files and programs for the streams that carry them, once for the whole cluster.
//!
//! ```text
//! file ────▶ follower (where it goes on) ─┐
//!                                         ├─▶ splitter ──▶ pace ──▶ sink ──▶ FromFeeder::Line
//! program ─▶ its output ──────────────────┘
//! ```
//!
//! A file has a thread of its own, because a disk may hang; a program is a task. Neither waits for the feeder's other
//! sources, nor they for it. Out of scope: the content of a line.

mod file;
mod follower;
mod pace;
mod program;
mod sink;
mod splitter;

use super::uplink::Uplink;
use crate::config::{self, Config};
use crate::protocol::cluster::Mark;
use sink::LineSink;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::task::AbortOnDropHandle;

/// Longest line in bytes, whatever `ws.max_message` says: it must fit into a message between processes.
const LONGEST: usize = 16 << 20;

/// Read positions of files, by the channel of their lines.
pub(super) type Marks = BTreeMap<String, Mark>;

/// All files and programs that are read. Dropping it ends them.
pub(super) struct LineReaders {
    running: BTreeMap<String, LineReader>,
    longest: Arc<AtomicUsize>,
    uplink: Uplink,
}

/// A file or program that is read. Dropping it ends reading, and kills the program.
enum LineReader {
    File { _thread: file::Thread },
    Program { _task: AbortOnDropHandle<()> },
}

impl LineReaders {
    /// Reads nothing yet.
    pub(super) fn new(uplink: Uplink) -> Self {
        Self { running: BTreeMap::new(), longest: Arc::default(), uplink }
    }

    /// Reads the files and programs of a configuration from now on. Those that stay go on undisturbed; a new file with
    /// a mark continues there.
    pub(super) fn adopt(&mut self, config: &Config, marks: &mut Marks) {
        self.longest.store(config.ws.max_message.min(LONGEST), Ordering::Relaxed);
        let wanted: BTreeMap<_, _> = config.lines().map(|lines| (lines.channel(), lines)).collect();
        self.running.retain(|of, _| wanted.contains_key(of));
        for (of, lines) in wanted {
            if self.running.contains_key(&of) {
                continue;
            }
            let sink = LineSink::new(&of, self.longest.clone(), self.uplink.clone());
            let reader = match lines {
                config::Lines::File(path) => match file::Thread::start(path, marks.remove(&of), sink) {
                    Ok(thread) => LineReader::File { _thread: thread },
                    // The next configuration tries again.
                    Err(error) => {
                        tracing::error!(event = "stream-file", path = %path.display(), %error, "is not read");
                        continue;
                    }
                },
                config::Lines::Command(program) => {
                    let task = tokio::spawn(program::run(program.clone(), sink));
                    LineReader::Program { _task: AbortOnDropHandle::new(task) }
                }
            };
            self.running.insert(of, reader);
        }
        marks.clear();
    }
}
