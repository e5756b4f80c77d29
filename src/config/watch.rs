//! Watches the configuration's files and reads them anew once they are quiet.
//!
//! The system only gives hints to look. A change is seen in the content, and a slow poll finds changes without a hint.

mod folders;
mod hints;

use super::fault::{Faults, Origin};
use super::file::{self, Reading};
use super::load::{Loaded, load_snapshot};
use super::snapshot::Snapshot;
use super::source::Source;
use hints::Hints;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Waits of the watcher.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Files that have not changed for so long are read.
    pub quiet: Duration,
    /// A file that is missing for so long is believed to be gone. Before, it is mostly about to come back.
    pub gone: Duration,
    /// A reload that was asked for gives up on files that never are quiet.
    pub patience: Duration,
    /// Interval of looks without a hint.
    pub poll: Duration,
    /// Interval of looks while the system cannot tell of changes.
    pub blind: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            gone: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            poll: Duration::from_secs(30),
            blind: Duration::from_secs(5),
        }
    }
}

/// All files at one moment, including those of secrets.
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

/// A look that is not old enough yet to be believed.
struct Settling {
    look: Look,
    /// When to look again.
    until: Instant,
    /// A file is missing: it may come back until then.
    gone: Option<Instant>,
}

/// The watcher. All its waits are deadlines kept here, so that a `select!` may drop and repeat
/// [`Watcher::changed`] as often as it likes.
pub struct Watcher {
    source: Source,
    secrets: Vec<PathBuf>,
    timing: Timing,
    /// The look that was judged last.
    seen: Look,
    /// The files that were good last: none of them may be lost by accident.
    good: Snapshot,
    settling: Option<Settling>,
    /// A reload was asked for; until when its files may be unquiet.
    asked: Option<Instant>,
    poll_at: Instant,
    hints: Hints,
    /// Files of the latest look.
    files: Vec<PathBuf>,
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
        Self::with_hints(source, loaded, timing, Hints::of_system())
    }

    fn with_hints(source: Source, loaded: &Loaded, timing: Timing, hints: Hints) -> Self {
        let mut watcher = Self {
            seen: Look { snapshot: loaded.snapshot.clone(), secrets: loaded.secret_readings.clone() },
            good: loaded.snapshot.clone(),
            secrets: loaded.secrets.iter().map(|(_, path)| path.clone()).collect(),
            poll_at: Instant::now(),
            settling: None,
            asked: None,
            files: loaded.files.clone(),
            source,
            timing,
            hints,
        };
        watcher.require_file();
        // Between the reading and the watch something may have changed that nobody will tell.
        watcher.look(None);
        watcher
    }

    /// Why the system does not tell of changes, and how often the files are looked at instead; `None` if it does.
    #[must_use]
    pub fn trouble(&self) -> Option<(&str, Duration)> {
        self.hints.trouble().map(|why| (why, self.timing.blind))
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
            match self.settling.as_ref().map(|settling| settling.until) {
                Some(until) => {
                    sleep_until(until).await;
                    if let Some(answer) = self.settle() {
                        return answer;
                    }
                }
                None => {
                    if self.asked.is_none() {
                        tokio::select! {
                            () = self.hints.next() => {}
                            () = sleep_until(self.poll_at) => {}
                        }
                    }
                    self.look(None);
                }
            }
        }
    }

    /// Takes a look, to be confirmed by another. `gone`: see [`Settling`], of the look before.
    fn look(&mut self, gone: Option<Instant>) {
        // Hints up to here are answered by the reading that follows.
        self.hints.clear();
        // Before the reading: what is written after it must be told.
        self.watch_folders();
        let now = Instant::now();
        self.poll_at = now + if self.trouble().is_some() { self.timing.blind } else { self.timing.poll };
        let look = Look::at(&self.source, &self.secrets);
        self.files = look.snapshot.readings.iter().map(|reading| reading.path.clone()).collect();
        let is_gone = look.snapshot.misses_any_of(&self.seen.snapshot);
        let gone = is_gone.then(|| gone.unwrap_or(now + self.timing.gone));
        self.settling = Some(Settling { look, until: now + self.timing.quiet, gone });
    }

    fn watch_folders(&mut self) {
        let (main, beside) = (self.source.file.clone(), self.source.environment_file());
        // Any name stands for those that may come.
        let fixed = [main, beside, self.source.fragments().join("new.toml")];
        let files = fixed.iter().chain(&self.files).chain(&self.secrets);
        self.hints.watch(folders::folders(files.map(PathBuf::as_path)));
    }

    /// Takes the second look; an answer when it is like the first and there is something to tell.
    fn settle(&mut self) -> Option<Result<Loaded, Faults>> {
        let first = self.settling.take()?;
        self.look(first.gone);
        let second = self.settling.as_ref()?;
        if first.look != second.look {
            let late = self.asked.is_some_and(|until| until <= Instant::now());
            return late.then(|| self.unquiet(&first.look));
        }
        if second.gone.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let look = self.settling.take()?.look;
        let known = look.same_content(&self.seen);
        self.seen = look;
        // Unasked, the same text written anew is nothing to tell.
        if self.asked.take().is_none() && known { None } else { Some(self.judge()) }
    }

    /// Makes a configuration of what was seen.
    fn judge(&mut self) -> Result<Loaded, Faults> {
        let loaded = load_snapshot(&self.source, &self.seen.snapshot)?;
        let lost = self.seen.snapshot.lost(&self.good, &self.source);
        if !lost.0.is_empty() {
            return Err(lost);
        }
        self.good.clone_from(&self.seen.snapshot);
        self.secrets = loaded.secrets.iter().map(|(_, path)| path.clone()).collect();
        self.seen.secrets.clone_from(&loaded.secret_readings);
        self.require_file();
        self.watch_folders();
        Ok(loaded)
    }

    /// The answer to a reload that was asked for, if a file never stands still. The watch goes on.
    fn unquiet(&mut self, first: &Look) -> Result<Loaded, Faults> {
        self.asked = None;
        let mut faults = Faults::default();
        let mut fault = |path: &Path, text| faults.add(Origin::File { path: path.into(), line: 0 }, "", text);
        let now = self.settling.iter().flat_map(|settling| &settling.look.snapshot.readings);
        let moving: Vec<_> = now.filter(|reading| !first.snapshot.readings.contains(reading)).collect();
        moving.iter().for_each(|reading| fault(&reading.path, "is still being written"));
        if moving.is_empty() {
            fault(&self.source.file, "files come and go beside it");
        }
        Err(faults)
    }

    /// A main file that was there once must be there: a deleted one is a fault, not a wish for the defaults.
    fn require_file(&mut self) {
        self.source.required |= !self.seen.snapshot.misses(&self.source.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, load};

    /// A watched file that says nothing.
    fn watched(hints: Hints, timing: Timing) -> (tempfile::TempDir, PathBuf, Watcher) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "").unwrap();
        let source = Source::find(Some(&file), Some("test"), &Surroundings::default()).unwrap();
        let loaded = load(&source).unwrap();
        (folder, file, Watcher::with_hints(source, &loaded, timing, hints))
    }

    #[tokio::test]
    async fn its_own_reading_is_no_reason_to_look_again() {
        let (_folder, file, mut watcher) = watched(Hints::of_system(), Timing::default());
        let nothing = tokio::time::timeout(Duration::from_millis(900), watcher.changed()).await;
        assert!(nothing.is_err() && watcher.settling.is_none(), "it looks and looks");
        std::fs::write(&file, "# told\n").unwrap();
        assert!(watcher.changed().await.is_ok() && watcher.settling.is_none());
    }

    /// A watch that lives and never tells, with room for folders or without.
    struct Mute {
        room: bool,
    }

    impl Mute {
        /// The sender is leaked: it lives.
        fn make(tell: Box<dyn Fn(notify::Result<notify::Event>) + Send>, room: bool) -> hints::System {
            Box::leak(tell);
            Box::new(Self { room })
        }
    }

    impl notify::Watcher for Mute {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
            Ok(Self { room: true })
        }

        fn watch(&mut self, _: &Path, _: notify::RecursiveMode) -> notify::Result<()> {
            let full = || notify::Error::new(notify::ErrorKind::MaxFilesWatch);
            self.room.then_some(()).ok_or_else(full)
        }

        fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
            Ok(())
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_cannot_tell_is_told_of_and_the_poll_takes_its_place() {
        let no_instance: hints::Make = |_| Err(notify::Error::io(std::io::Error::from_raw_os_error(24)));
        // The sender is kept by nobody: what a watch looks like whose thread has ended.
        let dead: hints::Make = |_| Ok(Box::new(notify::NullWatcher));
        let full: hints::Make = |tell| Ok(Mute::make(tell, false));
        for (make, words) in [
            (no_instance, "no inotify instance is left"),
            (dead, "ended"),
            (full, "no inotify watch is left"),
        ] {
            let (_folder, file, mut watcher) = watched(Hints::new(make), Timing::default());
            // The first look has settled.
            let _ = tokio::time::timeout(Duration::from_secs(1), watcher.changed()).await;
            let (why, every) = watcher.trouble().expect(words);
            assert!(why.contains(words) && every == Duration::from_secs(5), "{why}");
            std::fs::write(&file, "# told by nobody\n").unwrap();
            let start = Instant::now();
            assert!(watcher.changed().await.is_ok());
            assert!(start.elapsed() <= every + Duration::from_secs(1), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_can_tell_again_is_used_again() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static WELL: AtomicBool = AtomicBool::new(false);
        let make: hints::Make = |tell| match WELL.load(Ordering::SeqCst) {
            true => Ok(Mute::make(tell, true)),
            false => Err(notify::Error::generic("not yet")),
        };
        let (_folder, _file, mut watcher) = watched(Hints::new(make), Timing::default());
        assert!(watcher.trouble().is_some());
        WELL.store(true, Ordering::SeqCst);
        let nothing = tokio::time::timeout(Duration::from_secs(7), watcher.changed()).await;
        assert!(nothing.is_err());
        assert_eq!(watcher.trouble(), None);
    }
}
