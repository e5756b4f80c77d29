//! Hints of the system that files may have changed. If it gives none, the reason is kept; only the poll is left.

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tokio::sync::mpsc;

type Event = notify::Result<notify::Event>;
/// A watch of the system; tests have others.
pub(super) type System = Box<dyn notify::Watcher + Send>;
/// Makes a watch that calls back with what it is told.
pub(super) type Make = fn(Box<dyn Fn(Event) + Send>) -> notify::Result<System>;

/// Watches folders, and notes whether anything may have changed in them.
pub(super) struct Hints {
    make: Make,
    system: Option<System>,
    told: mpsc::Receiver<()>,
    watched: BTreeSet<PathBuf>,
    trouble: Option<String>,
}

impl Hints {
    pub(super) fn new(make: Make) -> Self {
        let (_, told) = mpsc::channel(1);
        Self { make, system: None, told, watched: BTreeSet::new(), trouble: None }
    }

    pub(super) fn of_system() -> Self {
        Self::new(|tell| Ok(Box::new(notify::recommended_watcher(tell)?)))
    }

    /// Why changes are not told; `None` if they are.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Watches these folders and no others. What fails now is tried again the next time.
    pub(super) fn watch(&mut self, wanted: BTreeSet<PathBuf>) {
        self.trouble = self.try_watch(wanted).err().map(|error| words(&error));
    }

    fn try_watch(&mut self, wanted: BTreeSet<PathBuf>) -> notify::Result<()> {
        // A watch that ended by itself has dropped its sender.
        if self.told.is_closed() {
            self.system = None;
        }
        let system = match &mut self.system {
            Some(system) => system,
            None => {
                self.watched.clear();
                // Capacity 1: any number of hints mean one look.
                let (hint, told) = mpsc::channel(1);
                self.told = told;
                self.system.insert((self.make)(Box::new(move |event| {
                    if is_hint(&event) {
                        // Full: a hint is waiting already.
                        let _ = hint.try_send(());
                    }
                }))?)
            }
        };
        for folder in self.watched.difference(&wanted) {
            let _ = system.unwatch(folder);
        }
        // Each folder is watched anew: one that was removed and made again has a deaf watch, and may even have its old
        // number. For one that is watched already this changes nothing.
        let mut failed = Ok(());
        let mut watched = BTreeSet::new();
        for folder in wanted {
            match system.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => _ = watched.insert(folder),
                // Removed since it was found: this is told by the folder above it.
                Err(_) if !folder.exists() => {}
                Err(error) => failed = Err(error.add_path(folder)),
            }
        }
        self.watched = watched;
        if self.told.is_closed() { Err(notify::Error::generic("the watch has ended")) } else { failed }
    }

    /// Waits for a hint. The end of the watch is one, too; while it is known, none comes.
    pub(super) async fn next(&mut self) {
        if self.told.recv().await.is_none() && self.trouble.is_some() {
            std::future::pending().await
        }
    }

    /// Forgets the hints up to here.
    pub(super) fn clear(&mut self) {
        while self.told.try_recv().is_ok() {}
    }
}

fn words(error: &notify::Error) -> String {
    let place = error.paths.first().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    let why = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "no inotify watch is left (fs.inotify.max_user_watches)".to_owned()
        }
        notify::ErrorKind::Io(why) if why.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            format!("no inotify instance is left (fs.inotify.max_user_instances, or open files): {why}")
        }
        notify::ErrorKind::Io(why) => why.to_string(),
        notify::ErrorKind::Generic(why) => why.clone(),
        other => format!("{other:?}"),
    };
    format!("{place}{why}")
}

/// Tells whether an event may mean a change. Reading makes events, too, which would cause reading without end.
fn is_hint(event: &Event) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            _ => true,
        },
        // A lost event is a reason to look.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_change_is_a_hint() {
        let hint = |kind| is_hint(&Ok(notify::Event::new(kind)));
        assert!(!hint(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!hint(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(hint(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(hint(EventKind::Any) && is_hint(&Err(notify::Error::generic("lost"))));
    }
}
