//! Watches the configuration's files and reads them anew once they are quiet.
//!
//! Folders are watched, not files: editors and configuration maps replace files, and a watch on a file dies with
//! it. What the system tells is only a hint to look; whether anything changed is seen in the content, and a slow
//! poll finds what nobody told.

use super::fault::{Faults, Origin};
use super::file::{self, Content, Reading, Snapshot};
use super::load::{Loaded, load_snapshot};
use super::source::Source;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Waits of the watcher.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Files that have not changed for so long are read.
    pub quiet: Duration,
    /// The same where the main file has gone: it is mostly about to come back.
    pub gone: Duration,
    /// A reload that was asked for gives up on files that never are quiet.
    pub patience: Duration,
    /// How often to look although nobody told of a change.
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            gone: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            poll: Duration::from_secs(30),
        }
    }
}

/// All files at one moment, those of secrets as well.
#[derive(Clone, PartialEq, Eq)]
struct Look {
    snapshot: Snapshot,
    secrets: Vec<Reading>,
}

impl Look {
    fn at(source: &Source, secrets: &[PathBuf]) -> Self {
        Self {
            snapshot: Snapshot::read(source),
            secrets: secrets.iter().map(|path| file::read(path)).collect(),
        }
    }

    fn same_content(&self, other: &Self) -> bool {
        let said = |look: &Self| look.secrets.iter().map(|r| r.content.clone()).collect::<Vec<_>>();
        self.snapshot.same_content(&other.snapshot) && said(self) == said(other)
    }
}

/// The watcher. All its waits are deadlines kept here, so that a `select!` may drop and repeat
/// [`Watcher::changed`] as often as it likes.
pub struct Watcher {
    source: Source,
    secrets: Vec<PathBuf>,
    timing: Timing,
    /// What was judged last.
    seen: Look,
    /// A look that is not old enough yet to be believed, and when it will be.
    settling: Option<(Look, Instant)>,
    /// A reload was asked for; until when its files may be unquiet.
    asked: Option<Instant>,
    poll_at: Instant,
    hints: mpsc::Receiver<()>,
    notify: Result<RecommendedWatcher, notify::Error>,
    /// Files of the latest look, and the folders watched for them.
    files: Vec<PathBuf>,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Begins to watch what `loaded` was made of.
    #[must_use]
    pub fn start(source: Source, loaded: &Loaded) -> Self {
        Self::with_timing(source, loaded, Timing::default())
    }

    /// [`Watcher::start`] with other waits.
    #[must_use]
    pub fn with_timing(source: Source, loaded: &Loaded, timing: Timing) -> Self {
        // One place is enough: any number of hints mean one look.
        let (hint, hints) = mpsc::channel(1);
        let notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if is_hint(&event) {
                // Full: a hint is waiting already.
                let _ = hint.try_send(());
            }
        });
        let secrets: Vec<PathBuf> = loaded.secrets.iter().map(|(_, path)| path.clone()).collect();
        let mut watcher = Self {
            seen: Look { snapshot: loaded.snapshot.clone(), secrets: loaded.secret_readings.clone() },
            poll_at: Instant::now() + timing.poll,
            settling: None,
            asked: None,
            files: loaded.files.clone(),
            watched: BTreeSet::new(),
            source,
            secrets,
            timing,
            hints,
            notify,
        };
        watcher.require_file();
        // Between the reading and the watch something may have changed that nobody will tell.
        watcher.look();
        watcher
    }

    /// Why changes are only found by the slow poll; `None` when they are told at once.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.notify.as_ref().err().map(ToString::to_string)
    }

    /// Asks for a reload: the next [`Watcher::changed`] answers once the files are quiet, whether they differ or
    /// not. Asking again before that changes nothing.
    pub fn ask(&mut self) {
        self.asked.get_or_insert(Instant::now() + self.timing.patience);
    }

    /// Waits until the files say something else than last time, are quiet, and were read twice alike; gives what
    /// they say now. What was told once, valid or not, is not told again.
    ///
    /// # Errors
    /// Every fault of the new configuration.
    pub async fn changed(&mut self) -> Result<Loaded, Faults> {
        loop {
            match self.settling.as_ref().map(|(_, until)| *until) {
                Some(until) => {
                    sleep_until(until).await;
                    if let Some(answer) = self.settle() {
                        return answer;
                    }
                }
                None => {
                    if self.asked.is_none() {
                        tokio::select! {
                            // The sender lives as long as the watch: without one there is only the poll.
                            Some(()) = self.hints.recv() => {}
                            () = sleep_until(self.poll_at) => {}
                        }
                    }
                    self.look();
                }
            }
        }
    }

    /// Takes a first look, to be confirmed by a second.
    fn look(&mut self) {
        // Hints up to here are answered by the reading that follows.
        while self.hints.try_recv().is_ok() {}
        // Before the reading: what is written after it must be told.
        self.watch_folders();
        let now = Instant::now();
        self.poll_at = now + self.timing.poll;
        let look = Look::at(&self.source, &self.secrets);
        self.files = look
            .snapshot
            .paths()
            .chain(self.secrets.iter().map(PathBuf::as_path))
            .map(PathBuf::from)
            .collect();
        let gone = !self.is_absent(&self.seen) && self.is_absent(&look);
        let wait = if gone { self.timing.gone } else { self.timing.quiet };
        self.settling = Some((look, now + wait));
    }

    fn is_absent(&self, look: &Look) -> bool {
        let main = look.snapshot.readings.iter().find(|reading| reading.path == self.source.file);
        main.is_none_or(|reading| reading.content == Content::Absent)
    }

    /// Takes the second look; an answer when it is like the first and there is something to tell.
    fn settle(&mut self) -> Option<Result<Loaded, Faults>> {
        let first = self.settling.take().map(|(look, _)| look);
        self.look();
        let second = self.settling.as_ref().map(|(look, _)| look);
        if first.as_ref() != second {
            let late = self.asked.is_some_and(|until| until <= Instant::now());
            return late.then(|| self.unquiet(first.as_ref()));
        }
        let (look, _) = self.settling.take()?;
        if self.asked.take().is_none() && look.same_content(&self.seen) {
            // Written anew with the same text.
            self.seen = look;
            return None;
        }
        self.seen = look;
        let answer = load_snapshot(&self.source, &self.seen.snapshot);
        if let Ok(loaded) = &answer {
            self.secrets = loaded.secrets.iter().map(|(_, path)| path.clone()).collect();
            self.seen.secrets.clone_from(&loaded.secret_readings);
            self.require_file();
            self.watch_folders();
        }
        Some(answer)
    }

    /// The answer to who asked, where a file never stands still. The watch goes on.
    fn unquiet(&mut self, first: Option<&Look>) -> Result<Loaded, Faults> {
        self.asked = None;
        let mut faults = Faults::default();
        let before = first.map(|look| look.snapshot.readings.as_slice()).unwrap_or_default();
        let now =
            self.settling.as_ref().map(|(look, _)| look.snapshot.readings.as_slice()).unwrap_or_default();
        for reading in now.iter().filter(|reading| !before.contains(reading)) {
            let origin = Origin::File { path: reading.path.as_path().into(), line: 0 };
            faults.add(origin, "", "is still being written");
        }
        if faults.0.is_empty() {
            let origin = Origin::File { path: self.source.file.as_path().into(), line: 0 };
            faults.add(origin, "", "files come and go beside it");
        }
        Err(faults)
    }

    /// A main file that was there once must be there: a deleted one is a fault, not a wish for the defaults.
    fn require_file(&mut self) {
        self.source.required |= !self.is_absent(&self.seen);
    }

    fn watch_folders(&mut self) {
        let Ok(notify) = &mut self.notify else { return };
        let wanted = folders(&self.source, &self.files);
        for folder in self.watched.difference(&wanted) {
            let _ = notify.unwatch(folder);
        }
        // Each one anew: a folder that was removed and made again has a deaf watch, and may even have its old
        // number. For one that is watched already it changes nothing. What cannot be watched is found by the
        // poll, and tried again then.
        self.watched =
            wanted.into_iter().filter(|f| notify.watch(f, RecursiveMode::NonRecursive).is_ok()).collect();
    }
}

/// Reading a file makes events, too: who took those for hints would never end.
fn is_hint(event: &notify::Result<notify::Event>) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            _ => true,
        },
        // A lost event is a reason to look.
        Err(_) => true,
    }
}

/// The folders that hold the files as they are named and as they really are.
fn folders(source: &Source, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut wanted = BTreeSet::from([source.folder().to_owned(), source.fragments()]);
    for file in files.iter().chain([&source.file]) {
        wanted.insert(folder_of(file));
        wanted.extend(file.canonicalize().ok().as_deref().map(folder_of));
    }
    // A folder that is a link changes by a change in the folder that holds the link.
    let is_link = |folder: &&PathBuf| std::fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink());
    let links: Vec<_> = wanted.iter().filter(is_link).map(|folder| folder_of(folder)).collect();
    wanted.extend(links);
    wanted.retain(|folder| folder.is_dir());
    wanted
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, load};

    #[tokio::test]
    async fn its_own_reading_is_no_reason_to_look_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "").unwrap();
        let source = Source::find(Some(&file), Some("test"), &Surroundings::default()).unwrap();
        let mut watcher = Watcher::start(source.clone(), &load(&source).unwrap());
        let nothing = tokio::time::timeout(Duration::from_millis(900), watcher.changed()).await;
        assert!(nothing.is_err() && watcher.settling.is_none(), "it looks and looks");
        std::fs::write(&file, "# told\n").unwrap();
        assert!(watcher.changed().await.is_ok() && watcher.settling.is_none());
    }

    #[test]
    fn only_what_may_be_a_change_is_a_hint() {
        let hint = |kind| is_hint(&Ok(notify::Event::new(kind)));
        assert!(!hint(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!hint(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(hint(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(hint(EventKind::Any) && is_hint(&Err(notify::Error::generic("lost"))));
    }
}
