//! The watcher, on real files.

use super::source;
use btc_cluster::config::{Faults, Loaded, Source, Watcher, load};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Long enough on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than the watcher takes to notice, settle and find that nothing changed.
const SILENCE: Duration = Duration::from_millis(1200);

struct Case {
    folder: tempfile::TempDir,
    watcher: Watcher,
}

fn text(workers: u16) -> String {
    format!("[cluster]\nworkers = {workers}\n")
}

fn workers(answer: &Result<Loaded, Faults>) -> String {
    match answer {
        Ok(loaded) => format!("{:?}", loaded.config.cluster.workers),
        Err(faults) => faults.to_string(),
    }
}

impl Case {
    /// A watched file that says one worker.
    fn new() -> Self {
        Self::of("x.toml", |folder| fs::write(folder.join("x.toml"), text(1)).unwrap())
    }

    fn of(file: &str, make: impl Fn(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let source = source(folder.path().join(file));
        let loaded = load(&source).unwrap();
        Self { watcher: Watcher::start(source, &loaded), folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What comes next.
    async fn next(&mut self) -> String {
        let answer = timeout(PATIENCE, self.watcher.changed()).await;
        let answer = answer.map_or_else(|_| "nothing came".to_owned(), |answer| workers(&answer));
        answer.replace(&format!("{}/", self.folder.path().display()), "")
    }

    async fn silence(&mut self) {
        let answer = timeout(SILENCE, self.watcher.changed()).await.ok();
        assert_eq!(answer.as_ref().map(workers), None);
    }
}

#[tokio::test]
async fn a_file_written_in_place_is_told_once() {
    let mut case = Case::new();
    assert_eq!(case.watcher.trouble(), None);
    case.silence().await;
    let start = Instant::now();
    fs::write(case.at("x.toml"), text(2)).unwrap();
    assert_eq!(case.next().await, "Exactly(2)");
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    case.silence().await;
}

#[tokio::test]
async fn a_file_renamed_over_the_old_one_is_told_each_time() {
    let mut case = Case::new();
    for n in 2..5 {
        fs::write(case.at("x.toml.new"), text(n)).unwrap();
        fs::rename(case.at("x.toml.new"), case.at("x.toml")).unwrap();
        assert_eq!(case.next().await, format!("Exactly({n})"));
    }
}

#[tokio::test]
async fn a_link_that_is_swapped_is_told_each_time() {
    // The shape of a Kubernetes configuration map: x.toml -> ..data/x.toml, ..data -> one of many folders.
    let version = |folder: &Path, n: u16| {
        fs::create_dir(folder.join(format!("..{n}"))).unwrap();
        fs::write(folder.join(format!("..{n}/x.toml")), text(n)).unwrap();
        symlink(format!("..{n}"), folder.join("..data.new")).unwrap();
        fs::rename(folder.join("..data.new"), folder.join("..data")).unwrap();
    };
    let mut case = Case::of("x.toml", |folder| {
        version(folder, 1);
        symlink("..data/x.toml", folder.join("x.toml")).unwrap();
    });
    for n in 2..4 {
        version(case.folder.path(), n);
        assert_eq!(case.next().await, format!("Exactly({n})"));
    }
    // The target itself, in a folder of its own.
    fs::write(case.at("..3/x.toml"), text(7)).unwrap();
    assert_eq!(case.next().await, "Exactly(7)");
}

#[tokio::test]
async fn a_folder_that_is_a_link_may_lead_elsewhere() {
    let mut case = Case::of("now/x.toml", |folder| {
        for n in 1..3 {
            fs::create_dir(folder.join(n.to_string())).unwrap();
            fs::write(folder.join(format!("{n}/x.toml")), text(n)).unwrap();
        }
        symlink("1", folder.join("now")).unwrap();
    });
    case.silence().await;
    symlink("2", case.at("new")).unwrap();
    fs::rename(case.at("new"), case.at("now")).unwrap();
    assert_eq!(case.next().await, "Exactly(2)");
    fs::write(case.at("2/x.toml"), text(5)).unwrap();
    assert_eq!(case.next().await, "Exactly(5)");
}

#[tokio::test]
async fn a_file_deleted_and_made_anew_is_never_seen_missing() {
    let mut case = Case::new();
    fs::remove_file(case.at("x.toml")).unwrap();
    case.silence().await;
    fs::write(case.at("x.toml"), text(2)).unwrap();
    assert_eq!(case.next().await, "Exactly(2)");
}

#[tokio::test]
async fn a_file_that_stays_away_is_a_fault_and_not_a_wish_for_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, text(1)).unwrap();
    let source = Source { required: false, ..source(&file) };
    let watcher = Watcher::start(source.clone(), &load(&source).unwrap());
    let mut case = Case { folder, watcher };
    fs::remove_file(&file).unwrap();
    assert_eq!(case.next().await, "x.toml: no such file");
    case.silence().await;
    fs::write(&file, text(1)).unwrap();
    assert_eq!(case.next().await, "Exactly(1)");
}

#[tokio::test]
async fn half_a_file_is_not_taken() {
    let mut case = Case::new();
    let whole = "[cluster]\nworkers = 12\n";
    // Each half would parse, as one worker for instance.
    for end in [9, 20, 21, whole.len()] {
        fs::write(case.at("x.toml"), &whole[..end]).unwrap();
        // Polled meanwhile, as a select! does it.
        let early = timeout(Duration::from_millis(120), case.watcher.changed()).await;
        assert!(early.is_err(), "half a file was taken at {end}");
    }
    assert_eq!(case.next().await, "Exactly(12)");
    case.silence().await;
}

#[tokio::test]
async fn two_hundred_writes_are_one_change() {
    let mut case = Case::new();
    for n in 1..=200 {
        fs::write(case.at("x.toml"), text(n)).unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(case.next().await, "Exactly(200)");
    case.silence().await;
}

#[tokio::test]
async fn fragments_and_the_environments_file_are_watched_from_their_first_day() {
    let mut case = Case::new();
    fs::write(case.at("test.toml"), text(2)).unwrap();
    assert_eq!(case.next().await, "Exactly(2)");
    fs::create_dir(case.at("conf.d")).unwrap();
    case.silence().await;
    fs::write(case.at("conf.d/a.toml"), text(3)).unwrap();
    assert_eq!(case.next().await, "Exactly(3)");
    fs::write(case.at("conf.d/a.toml"), text(4)).unwrap();
    assert_eq!(case.next().await, "Exactly(4)");
    fs::remove_file(case.at("conf.d/a.toml")).unwrap();
    assert_eq!(case.next().await, "Exactly(2)");
    fs::remove_dir(case.at("conf.d")).unwrap();
    fs::create_dir(case.at("conf.d")).unwrap();
    case.silence().await;
    fs::write(case.at("conf.d/b.toml"), text(9)).unwrap();
    assert_eq!(case.next().await, "Exactly(9)");
}

#[tokio::test]
async fn what_changes_nothing_is_not_told() {
    let mut case = Case::new();
    fs::write(case.at("x.toml"), text(1)).unwrap();
    fs::write(case.at("other.txt"), "x").unwrap();
    fs::write(case.at(".x.toml.swp"), "x").unwrap();
    fs::read(case.at("x.toml")).unwrap();
    case.silence().await;
}

#[tokio::test]
async fn a_faulty_file_is_told_once_and_its_repair_too() {
    let mut case = Case::new();
    fs::write(case.at("x.toml"), "[clutser]\n").unwrap();
    assert_eq!(case.next().await, "x.toml:1: clutser: unknown section; did you mean \"cluster\"?");
    case.silence().await;
    fs::write(case.at("x.toml"), text(1)).unwrap();
    assert_eq!(case.next().await, "Exactly(1)");
}

#[tokio::test]
async fn who_asks_is_answered_even_when_nothing_changed() {
    let mut case = Case::new();
    case.watcher.ask();
    case.watcher.ask();
    assert_eq!(case.next().await, "Exactly(1)");
    case.silence().await;
}

#[tokio::test]
async fn who_asks_is_answered_although_a_file_never_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, text(1)).unwrap();
    let source = source(&file);
    let timing = btc_cluster::config::Timing { patience: Duration::from_secs(1), ..Default::default() };
    let watcher = Watcher::with_timing(source.clone(), &load(&source).unwrap(), timing);
    let mut case = Case { folder, watcher };
    case.watcher.ask();
    let writer = async {
        for n in 1.. {
            fs::write(&file, text(n % 200 + 1)).unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = writer => {}
        answer = case.next() => assert_eq!(answer, "x.toml: is still being written"),
    }
}

#[tokio::test]
async fn the_poll_finds_what_nobody_tells() {
    // The folder is made anew with another inode: notify never hears of it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("etc/x.toml");
    fs::create_dir(folder.path().join("etc")).unwrap();
    fs::write(&file, text(1)).unwrap();
    let source = source(&file);
    let timing = btc_cluster::config::Timing { poll: Duration::from_secs(1), ..Default::default() };
    let watcher = Watcher::with_timing(source.clone(), &load(&source).unwrap(), timing);
    let mut case = Case { folder, watcher };
    case.silence().await;
    fs::rename(case.at("etc"), case.at("old")).unwrap();
    fs::create_dir(case.at("etc")).unwrap();
    case.silence().await;
    fs::write(&file, text(2)).unwrap();
    assert_eq!(case.next().await, "Exactly(2)");
}

#[tokio::test]
async fn a_changed_secret_is_a_change() {
    let text = "[price]\nproviders = [\"mock\"]\n[provider.coindesk]\napi_key_file = \"secrets/key\"\n";
    let mut case = Case::of("x.toml", |folder| {
        fs::create_dir(folder.join("secrets")).unwrap();
        fs::write(folder.join("secrets/key"), "one").unwrap();
        fs::write(folder.join("x.toml"), text).unwrap();
    });
    case.silence().await;
    fs::write(case.at("secrets/key"), "two").unwrap();
    assert_eq!(case.next().await, "Auto");
    fs::remove_file(case.at("secrets/key")).unwrap();
    assert!(case.next().await.ends_with("secrets/key: no such file"));
    fs::write(case.at("secrets/key"), "two").unwrap();
    assert_eq!(case.next().await, "Auto");
}
