//! The history's file: torn, foreign, locked, and written many times.

use super::super::series::Fact;
use super::*;
use crate::model::{Candle, Interval, PairTable, Price, Symbol, Wall};
use std::os::unix::fs::{PermissionsExt, symlink};

const NOON: i64 = 1_763_640_000_000;
const LONG: Duration = Duration::from_secs(10);

fn symbol() -> Symbol {
    Symbol::new("BTC-USD").unwrap()
}

fn empty() -> History {
    let mut history = History::default();
    history.reconfigure(&[symbol()], false);
    history
}

fn entry(fact: Fact) -> JournalEntry {
    JournalEntry { symbol: symbol(), made_up: false, fact, pairs: PairTable::default() }
}

fn second(at: i64) -> JournalEntry {
    let price = Price::parse("64250.10").unwrap();
    entry(Fact::Closed(Candle::new(Wall(NOON + at * 1_000), price, false)))
}

fn seconds(history: &History) -> usize {
    history.newest("BTC-USD", Interval::Second, usize::MAX).unwrap().candles.len()
}

/// Keeps these candles, as one feeder would.
async fn keep(folder: &Path, range: std::ops::Range<i64>) {
    let (mut history, store) = Store::open(folder.to_owned(), empty()).await;
    let mut store = store.unwrap();
    let begin = entry(Fact::Begin(Wall(NOON + range.start * 1_000)));
    for entry in [begin].into_iter().chain(range.map(second)) {
        assert!(history.apply(&entry));
        store.keep(std::slice::from_ref(&entry), &history);
        while store.behind {
            tokio::time::sleep(Duration::from_millis(1)).await;
            store.keep(&[], &history);
        }
    }
    store.finish(LONG).await;
}

async fn read(folder: &Path) -> (History, bool) {
    let (history, store) = Store::open(folder.to_owned(), empty()).await;
    let kept = store.is_some();
    if let Some(store) = store {
        store.finish(LONG).await;
    }
    (history, kept)
}

#[tokio::test]
async fn what_is_kept_is_there_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("control.state");
    keep(&folder, 0..100).await;
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let journal = folder.join("history.journal");
    assert_eq!(std::fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
    keep(&folder, 130..200).await;
    let (history, _) = read(&folder).await;
    assert_eq!(seconds(&history), 170);
    let minutes = history.newest("BTC-USD", Interval::Minute, 9).unwrap().candles;
    let shown: Vec<_> = minutes.iter().map(|minute| (minute.ticks, minute.partial)).collect();
    assert_eq!(shown, [(60, false), (40, true), (50, true), (20, true)]);
    assert!(!folder.join("history.new").exists());
}

#[tokio::test]
async fn a_file_of_the_version_before_is_read_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("history.journal");
    let old = "btc-cluster history 1\nb BTC-USD r 1763640000000\ns BTC-USD r 1763640000000 1 2 1 2 12\n";
    std::fs::write(&journal, old).unwrap();
    let (history, kept) = read(folder.path()).await;
    assert!(kept && seconds(&history) == 1);
    let written = std::fs::read_to_string(&journal).unwrap();
    assert!(written.starts_with(journal::HEAD), "{written}");
    assert!(written.contains("S BTC-USD r 1763640000000 1 2 1 2 12 ?\n"), "{written}");
    assert!(!folder.path().join("history.unreadable").exists());
}

#[tokio::test]
async fn torn_and_strange_files_cost_only_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("history.journal");
    keep(folder.path(), 0..50).await;
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() - 7]).unwrap();
    assert_eq!(seconds(&read(folder.path()).await.0), 49);
    assert!(std::fs::read(&journal).unwrap().ends_with(b"\n"), "it is whole again");

    let mut dirty = std::fs::read(&journal).unwrap();
    dirty.extend_from_slice(b"\0\xff\xfe garbage\n\ns BTC-USD r 5\n");
    std::fs::write(&journal, dirty).unwrap();
    assert_eq!(seconds(&read(folder.path()).await.0), 49);

    std::fs::write(&journal, "btc-cluster history 3\nthe future\n").unwrap();
    assert_eq!(seconds(&read(folder.path()).await.0), 0);
    let aside = std::fs::read_to_string(folder.path().join("history.unreadable")).unwrap();
    assert_eq!(aside, "btc-cluster history 3\nthe future\n");
    std::fs::write(&journal, "").unwrap();
    keep(folder.path(), 0..3).await;
    assert_eq!(seconds(&read(folder.path()).await.0), 3);
}

#[tokio::test]
async fn the_file_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        keep(folder.path(), round * 10_000..round * 10_000 + 9_000).await;
    }
    let size = std::fs::metadata(folder.path().join("history.journal")).unwrap().len();
    assert!(size < 2_600_000, "{size}");
    let (history, _) = read(folder.path()).await;
    assert_eq!(seconds(&history), super::super::series::CAPACITY[0]);
}

#[tokio::test]
async fn a_folder_of_another_daemon_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path(), 0..5).await;
    let theirs = lock(&folder.path().join("history.lock")).unwrap();
    let before = std::fs::read(folder.path().join("history.journal")).unwrap();
    let (history, kept) = read(folder.path()).await;
    assert_eq!((seconds(&history), kept), (0, false));
    assert_eq!(std::fs::read(folder.path().join("history.journal")).unwrap(), before);
    drop(theirs);
    assert_eq!(seconds(&read(folder.path()).await.0), 5);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_gone_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(!read(&file).await.1, "a file where the folder should be");
    assert!(!read(&file.join("below")).await.1);
    let odd = folder.path().join("odd");
    std::fs::create_dir_all(odd.join("history.journal")).unwrap();
    assert!(!read(&odd).await.1, "a folder where the file should be");
    let link = folder.path().join("link");
    std::fs::create_dir(&link).unwrap();
    symlink(&file, link.join("history.journal")).unwrap();
    assert!(!read(&link).await.1, "a link that somebody laid there");
    let fifo = folder.path().join("fifo");
    std::fs::create_dir(&fifo).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo.join("history.journal"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    );
    made.unwrap();
    assert!(!read(&fifo).await.1, "a fifo, which could take for ever");
}

#[tokio::test]
async fn a_disk_that_fails_is_said_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut history, store) = Store::open(folder.path().to_owned(), empty()).await;
    let mut store = store.unwrap();
    let wait = async |store: &Store, failed: bool| {
        for _ in 0..5_000 {
            if store.about.failed.load(Ordering::Relaxed) == failed {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never: failed = {failed}");
    };
    for _ in 0..5_000 {
        if folder.path().join("history.journal").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The new file cannot be created: a folder has its name.
    std::fs::create_dir(folder.path().join("history.new")).unwrap();
    store.behind = true;
    store.keep(&[], &history);
    wait(&store, true).await;
    for entry in [entry(Fact::Begin(Wall(NOON))), second(0), second(1)] {
        history.apply(&entry);
        store.keep(std::slice::from_ref(&entry), &history);
    }
    std::fs::remove_dir(folder.path().join("history.new")).unwrap();
    store.asked = Instant::now().checked_sub(AGAIN).unwrap();
    store.keep(&[], &history);
    wait(&store, false).await;
    store.finish(LONG).await;
    assert_eq!(seconds(&read(folder.path()).await.0), 2);
}
