//! The only way to the master, and to the next one when it is gone: that one hears the newest of everything again.

use super::tails::Tails;
use crate::model::{Candles, Quote, Symbol};
use crate::protocol::cluster::{FromFeeder, Hello, KeySet, Mark, VERSION};
use crate::protocol::link::LinkSender;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Reading of lines pauses while more bytes than this wait for the master: prices go the same way.
const WAITING: usize = 1 << 20;

/// Says things to the master. Cheap to clone; also threads say lines.
#[derive(Clone)]
pub(super) struct Uplink(Arc<Mutex<Shared>>);

struct Shared {
    link: LinkSender,
    /// There is no master, or it has not said how far it knows the lines: none is read.
    holds_lines: bool,
    newest: Newest,
    tails: Tails,
    /// The feeder has said that it is ready.
    ready: bool,
}

/// What every master must know.
#[derive(Default)]
struct Newest {
    quotes: BTreeMap<Symbol, Quote>,
    candles: BTreeMap<Symbol, Candles>,
    refused: BTreeMap<Symbol, String>,
    sources: Option<Box<str>>,
    keys: Option<Box<KeySet>>,
}

impl Newest {
    fn note(&mut self, message: &FromFeeder) {
        match message {
            FromFeeder::Tick(quote) => _ = self.quotes.insert(quote.symbol.clone(), quote.clone()),
            FromFeeder::Candles(candles) => {
                _ = self.candles.insert(candles.symbol.clone(), candles.clone());
            }
            FromFeeder::Refused(refused) => self.refused.clone_from(refused),
            FromFeeder::Sources(table) => self.sources = Some(table.clone()),
            FromFeeder::Keys(keys) => self.keys = Some(keys.clone()),
            _ => {}
        }
    }

    fn all(&self) -> impl Iterator<Item = FromFeeder> {
        let sources = self.sources.clone().into_iter().map(FromFeeder::Sources);
        let keys = self.keys.clone().into_iter().map(FromFeeder::Keys);
        let refused = std::iter::once(FromFeeder::Refused(self.refused.clone()));
        let quotes = self.quotes.values().cloned().map(FromFeeder::Tick);
        sources
            .chain(keys)
            .chain(refused)
            .chain(quotes)
            .chain(self.candles.values().cloned().map(FromFeeder::Candles))
    }
}

/// How the feeder introduces itself.
fn hello() -> FromFeeder {
    FromFeeder::Hello(Hello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
    })
}

impl Uplink {
    /// The first link.
    pub(super) fn new(link: LinkSender, first_line: u64) -> Self {
        let _ = link.send(&hello());
        let (newest, tails) = (Newest::default(), Tails::new(first_line));
        Self(Arc::new(Mutex::new(Shared { link, holds_lines: false, newest, tails, ready: false })))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something. A master that does not read is dead, or will kill this process: what it does not take does not
    /// matter, since the next one hears the newest.
    pub(super) fn tell(&self, message: &FromFeeder) {
        let mut shared = self.shared();
        shared.newest.note(message);
        let _ = shared.link.send(message);
    }

    /// The feeder is at work.
    pub(super) fn say_ready(&self) {
        self.shared().ready = true;
        self.tell(&FromFeeder::Ready);
    }

    /// Says the next line of a channel.
    pub(super) fn line(&self, of: &str, text: Box<str>, mark: Option<Mark>) {
        let mut shared = self.shared();
        let message = shared.tails.push(of, text, mark);
        if !shared.holds_lines {
            let _ = shared.link.send(&message);
        }
    }

    /// Whether no line is to be read now.
    pub(super) fn is_full(&self) -> bool {
        let shared = self.shared();
        shared.holds_lines || shared.link.waiting() > WAITING
    }

    /// The master is gone.
    pub(super) fn lose(&self) {
        self.shared().holds_lines = true;
    }

    /// There is another master. `config`: the fingerprint of the configuration, if there is one.
    pub(super) fn renew(&self, link: LinkSender, config: Option<u64>) {
        let mut shared = self.shared();
        (shared.link, shared.holds_lines) = (link, true);
        let Shared { link, newest, ready, .. } = &*shared;
        let again = FromFeeder::Again { config };
        let ready = ready.then_some(FromFeeder::Ready);
        for message in [hello(), again].into_iter().chain(newest.all()).chain(ready) {
            let _ = link.send(&message);
        }
    }

    /// The master has said how far it knows the lines: it hears what comes after.
    pub(super) fn heard(&self, lines: Option<&[(&str, u64)]>) {
        let mut shared = self.shared();
        shared.holds_lines = false;
        for message in lines.into_iter().flat_map(|lines| shared.tails.after(lines)) {
            let _ = shared.link.send(&message);
        }
    }

    /// What is no longer configured is not said again.
    pub(super) fn retain(&self, symbols: &[Symbol], channels: impl Fn(&str) -> bool) {
        let mut shared = self.shared();
        shared.newest.quotes.retain(|symbol, _| symbols.contains(symbol));
        shared.newest.candles.retain(|symbol, _| symbols.contains(symbol));
        shared.tails.retain(channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::link::{LinkReceiver, link};
    use tokio::net::UnixStream;

    fn pair() -> (LinkSender, LinkReceiver) {
        let (here, there) = UnixStream::pair().unwrap();
        let (sender, _, writer) = link(here);
        tokio::spawn(writer.run());
        (sender, link(there).1)
    }

    async fn hear(receiver: &mut LinkReceiver, count: usize) -> Vec<FromFeeder> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut batch = receiver.receive().await.unwrap();
            while let Some(message) = batch.next() {
                all.push(message.unwrap());
            }
        }
        all
    }

    fn texts(all: &[FromFeeder]) -> Vec<(&str, u64)> {
        let text = |message| match message {
            &FromFeeder::Line { ref text, number, .. } => Some((&**text, number)),
            _ => None,
        };
        all.iter().filter_map(text).collect()
    }

    #[tokio::test]
    async fn another_master_hears_the_newest_and_the_lines_that_it_does_not_know() {
        let (first, mut hears_first) = pair();
        let uplink = Uplink::new(first, 100);
        uplink.say_ready();
        uplink.tell(&FromFeeder::Sources("[1]".into()));
        uplink.tell(&FromFeeder::Sources("[2]".into()));
        ["a", "b", "c"].into_iter().for_each(|text| uplink.line("x", text.into(), None));
        let heard = hear(&mut hears_first, 7).await;
        assert_eq!(texts(&heard), [("a", 101), ("b", 102), ("c", 103)]);
        drop(hears_first);
        uplink.lose();
        assert!(uplink.is_full());
        uplink.line("x", "d".into(), None);
        let (second, mut hears_second) = pair();
        uplink.renew(second, Some(7));
        let heard = hear(&mut hears_second, 5).await;
        assert!(
            matches!(heard[0], FromFeeder::Hello(_)) && heard[1] == FromFeeder::Again { config: Some(7) }
        );
        assert!(heard.contains(&FromFeeder::Sources("[2]".into())) && heard[4] == FromFeeder::Ready);
        uplink.heard(Some(&[("x", 102)]));
        uplink.line("x", "e".into(), None);
        assert_eq!(texts(&hear(&mut hears_second, 3).await), [("c", 103), ("d", 104), ("e", 105)]);
        assert!(!uplink.is_full());
    }
}
