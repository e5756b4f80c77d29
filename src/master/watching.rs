//! The watcher of the configuration, on a thread of its own: a file system may hang, and the master must not.

use super::certificates::InForce;
use crate::config::{Fault, Faults, Loaded, Origin, Source, Watcher};
use crate::log;
use crate::net::tls::certificates::Certificates;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Longest wait for files that somebody asked to be read. (Files that are never quiet are given up earlier.)
/// No key: it would stand in the files that cannot be read, and `ctl` and systemd wait longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why changed files go unnoticed until they are read again, and how often they are.
type Trouble = Option<(String, Duration)>;

/// Orders to the thread.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    /// Count of reloads that were asked for.
    asks: u64,
    /// Nothing is to be read now.
    paused: bool,
}

struct Found {
    /// The reloads that this reading answers.
    asks: u64,
    read: Result<(Loaded, Certificates), Faults>,
}

/// The master's side.
pub(super) struct Watching {
    orders: watch::Sender<Orders>,
    found: mpsc::Receiver<Found>,
    trouble: watch::Receiver<Trouble>,
    /// When the files that were asked for must have been read.
    until: Option<Instant>,
    /// The main file.
    file: PathBuf,
}

impl Watching {
    /// Begins to watch what `loaded` was made of.
    ///
    /// # Errors
    /// The system gives no other thread.
    pub(super) fn start(source: Source, loaded: Loaded, pairs: InForce) -> io::Result<Self> {
        let file = source.file.clone();
        let (orders, theirs) = watch::channel(Orders::default());
        let (tell, found) = mpsc::channel(1);
        let (told, trouble) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            let work =
                Work { tried: loaded.config.log.file.clone(), pairs, orders: theirs, tell, trouble: told };
            runtime.block_on(work.run(|| Watcher::start(source, &loaded)));
        };
        std::thread::Builder::new().name("watcher".to_owned()).spawn(work)?;
        Ok(Self { orders, found, trouble, until: None, file })
    }

    /// Asks for a reload: [`Watching::next`] answers.
    pub(super) fn ask(&mut self) {
        self.orders.send_modify(|orders| orders.asks += 1);
        self.until.get_or_insert(Instant::now() + PATIENCE);
    }

    /// Lets the files rest, or reads them again.
    pub(super) fn pause(&mut self, paused: bool) {
        let changed =
            self.orders.send_if_modified(|orders| std::mem::replace(&mut orders.paused, paused) != paused);
        if changed && self.until.is_some() {
            self.until = Some(Instant::now() + PATIENCE);
        }
    }

    /// Why the system does not tell of changes, and how often the files are looked at instead; `None` if it does.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.borrow().clone()
    }

    /// Waits for the next reading that the master does not know. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Every fault of the new configuration.
    pub(super) async fn next(&mut self) -> Result<(Loaded, Certificates), Faults> {
        loop {
            let late = self.until.unwrap_or_else(|| Instant::now() + PATIENCE);
            tokio::select! {
                found = self.found.recv() => match found {
                    // Read before the newest reload was asked for: there will be another.
                    Some(found) if found.asks < self.orders.borrow().asks => {}
                    Some(found) => {
                        self.until = None;
                        return found.read;
                    }
                    // The thread has panicked: whoever asks is told.
                    None if self.until.take().is_some() => return Err(self.fault("the configuration is not watched any more")),
                    None => std::future::pending().await,
                },
                () = sleep_until(late) => {
                    if self.until.take().is_some() {
                        return Err(self.fault("cannot be read: a file system does not answer"));
                    }
                }
            }
        }
    }

    fn fault(&self, text: &str) -> Faults {
        let origin = Origin::File { path: self.file.as_path().into(), line: 0 };
        Fault { origin, key: String::new(), text: text.to_owned() }.into()
    }
}

/// The thread's side.
struct Work {
    /// The log file that lines can be written to.
    tried: Option<PathBuf>,
    /// The certificates in force.
    pairs: InForce,
    orders: watch::Receiver<Orders>,
    tell: mpsc::Sender<Found>,
    trouble: watch::Sender<Trouble>,
}

impl Work {
    /// Watches until the master ends.
    async fn run(mut self, start: impl FnOnce() -> Watcher) {
        let (mut watcher, mut asks) = (start(), 0);
        loop {
            let trouble = watcher.trouble().map(|(why, every)| (why.to_owned(), every));
            self.trouble.send_if_modified(|known| std::mem::replace(known, trouble.clone()) != trouble);
            let orders = *self.orders.borrow_and_update();
            if orders.asks > asks {
                asks = orders.asks;
                watcher.ask();
            }
            let read = tokio::select! {
                order = self.orders.changed() => match order {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                read = watcher.changed(), if !orders.paused => self.attempt(read),
            };
            if self.tell.send(Found { asks, read }).await.is_err() {
                return;
            }
        }
    }

    /// Tries another log file before it is in force, and reads certificates.
    fn attempt(&mut self, read: Result<Loaded, Faults>) -> Result<(Loaded, Certificates), Faults> {
        let loaded = read?;
        let certificates = self.pairs.read(&loaded)?;
        let file = &loaded.config.log.file;
        if let Some(path) = file
            && self.tried.as_ref() != Some(path)
        {
            log::attempt(path).map_err(|why| loaded.fault("log.file", why))?;
        }
        self.tried.clone_from(file);
        Ok((loaded, certificates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> (Watching, watch::Receiver<Orders>, mpsc::Sender<Found>) {
        let (orders, theirs) = watch::channel(Orders::default());
        let (tell, found) = mpsc::channel(1);
        let (_, trouble) = watch::channel(None);
        (Watching { orders, found, trouble, until: None, file: "x.toml".into() }, theirs, tell)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_answered_even_if_the_file_system_is_not() {
        let (mut watching, orders, _tell) = quiet();
        let nothing = tokio::time::timeout(PATIENCE * 9, watching.next()).await;
        assert!(nothing.is_err(), "nobody has asked");
        watching.ask();
        let asked = Instant::now();
        let fault = watching.next().await.unwrap_err().to_string();
        assert_eq!(fault, "x.toml: cannot be read: a file system does not answer");
        assert_eq!((asked.elapsed(), orders.borrow().asks), (PATIENCE, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_trial_does_not_count() {
        let (mut watching, _orders, tell) = quiet();
        watching.pause(true);
        watching.ask();
        tokio::time::advance(PATIENCE * 2).await;
        watching.pause(false);
        let late = tokio::time::timeout(PATIENCE / 2, watching.next()).await;
        assert!(late.is_err(), "the reading has only begun");
        let found = |asks, text: &str| Found { asks, read: Err(quiet().0.fault(text)) };
        tell.send(found(0, "old")).await.unwrap();
        let old = tokio::time::timeout(PATIENCE / 4, watching.next()).await;
        assert!(old.is_err(), "it was read before the reload was asked for");
        tell.send(found(1, "new")).await.unwrap();
        assert_eq!(watching.next().await.unwrap_err().to_string(), "x.toml: new");
    }
}
