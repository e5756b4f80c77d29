//! LineReaders of files and programs, for the streams that carry them: read here, once for the whole cluster.
//!
//! ```text
//! file ────▶ follower (where it goes on) ─┐
//!                                         ├─▶ splitter ──▶ pace ──▶ sink ──▶ FromFeeder::Line
//! program ─▶ its output ──────────────────┘
//! ```
//!
//! A file has a thread of its own, for a disk may hang; a program is a task. Neither waits for the other sources of
//! the feeder, nor they for it. Out of scope: what is in a line.

mod file;
mod follower;
mod pace;
mod program;
mod sink;
mod splitter;

use crate::config::{self, Config};
use crate::protocol::cluster::Mark;
use crate::protocol::link::LinkSender;
use sink::LineSink;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::task::AbortOnDropHandle;

/// A line is no longer than this, whatever `ws.max_message` says: it must fit into a message between processes.
const LONGEST: usize = 16 << 20;

/// How far files have been read, by the channel of their lines.
pub(super) type Marks = BTreeMap<String, Mark>;

/// All that is read. Dropped, it ends.
pub(super) struct LineReaders {
    running: BTreeMap<String, LineReader>,
    longest: Arc<AtomicUsize>,
    link: LinkSender,
}

/// One file or program that is read. Dropped, it is read no more, and a program is killed.
enum LineReader {
    File { _thread: file::Thread },
    Program { _task: AbortOnDropHandle<()> },
}

impl LineReaders {
    /// Nothing yet.
    pub(super) fn new(link: LinkSender) -> Self {
        Self { running: BTreeMap::new(), longest: Arc::default(), link }
    }

    /// Reads what the streams of a configuration carry from now on. What is the same goes on undisturbed; a file with
    /// a mark goes on there.
    pub(super) fn adopt(&mut self, config: &Config, marks: &mut Marks) {
        self.longest.store(config.ws.max_message.min(LONGEST), Ordering::Relaxed);
        let wanted: BTreeMap<_, _> = config.lines().map(|lines| (lines.channel(), lines)).collect();
        self.running.retain(|of, _| wanted.contains_key(of));
        for (of, lines) in wanted {
            if self.running.contains_key(&of) {
                continue;
            }
            let sink = LineSink::new(&of, self.longest.clone(), self.link.clone());
            let reader = match lines {
                config::Lines::File(path) => match file::Thread::start(path, marks.remove(&of), sink) {
                    Ok(thread) => LineReader::File { _thread: thread },
                    // It is tried again with the next configuration.
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
