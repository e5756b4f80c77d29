//! The watcher, on real files.

use super::source;
use crate::stopwatch::Stopwatch;
use btc_cluster::config::{Faults, Loaded, Source, Watcher, load};
use futures_util::future::join_all;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Long enough on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than the watcher takes to notice, settle and find that nothing changed.
const SILENCE: Duration = Duration::from_millis(1200);

/// A change is taken within two seconds, whatever kind of file it is in.
const SOON: Duration = Duration::from_millis(1900);

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

/// Whether the system tells of changes at all; an administrator may forbid it.
fn has_inotify() -> bool {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
    most.trim() != "0"
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
        let start = Instant::now();
        loop {
            let watcher = Watcher::start(source.clone(), &loaded);
            // All processes of a user share some instances of inotify: another test may have the last one.
            if watcher.trouble().is_none() || !has_inotify() || start.elapsed() > PATIENCE {
                return Self { folder, watcher };
            }
            std::thread::yield_now();
        }
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
    assert_eq!(case.watcher.trouble().is_none(), has_inotify(), "{:?}", case.watcher.trouble());
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
    let early = timeout(Duration::from_millis(700), case.watcher.changed()).await;
    assert!(early.is_err(), "told at once that it is away");
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
    let whole = "[cluster]\nworkers = 12\n";
    let quiet = btc_cluster::config::Timing::default().quiet;
    // The watcher takes a file that is quiet: a writer that is held up for so long by the machine writes it again.
    for _ in 0..100 {
        let (mut case, mut longest, mut early) = (Case::new(), Duration::ZERO, None);
        // Each half would parse, as one worker for instance.
        for end in [9, 20, 21, whole.len()] {
            let start = Instant::now();
            fs::write(case.at("x.toml"), &whole[..end]).unwrap();
            // Polled meanwhile, as a select! does it.
            let told = timeout(Duration::from_millis(120), case.watcher.changed()).await;
            early = early.or(told.ok().map(|_| end));
            longest = longest.max(start.elapsed());
        }
        if longest < quiet {
            assert_eq!(early, None, "half a file was taken");
            assert_eq!(case.next().await, "Exactly(12)");
            case.silence().await;
            return;
        }
    }
    panic!("the machine was too busy for this, 100 times");
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

/// One file of each layer, each with keys.
fn layered() -> Case {
    Case::of("x.toml", |folder| {
        fs::create_dir(folder.join("conf.d")).unwrap();
        for (name, text) in LAYERS {
            fs::write(folder.join(name), text).unwrap();
        }
    })
}

const LAYERS: [(&str, &str); 3] = [
    ("x.toml", "[cluster]\nworkers = 12\n"),
    ("test.toml", "[quotes]\ntimeout = \"1s\"\n"),
    ("conf.d/a.toml", "[stats]\ninterval = \"2s\"\n"),
];

#[tokio::test]
async fn a_file_in_which_no_key_is_left_is_refused_and_the_good_one_taken_afterwards() {
    let case = async |(name, text): (&str, &str)| {
        let mut case = layered();
        for empty in ["", " \n\t\n", "# [cluster]\n# workers = 3\n", "[cluster]\n[http]\n"] {
            fs::write(case.at(name), empty).unwrap();
            let said = case.next().await;
            assert!(said.starts_with(&format!("{name}: holds no key any more")), "{empty:?}: {said}");
            case.watcher.ask();
            assert_eq!(case.next().await, said, "whoever asks");
            fs::write(case.at(name), text).unwrap();
            assert_eq!(case.next().await, "Exactly(12)");
        }
        // One explicit line is an answer.
        fs::write(case.at(name), "[cluster]\nworkers = 12\n# meant\n").unwrap();
        assert_eq!(case.next().await, "Exactly(12)");
    };
    join_all(LAYERS.map(case)).await;
}

#[tokio::test]
async fn a_file_that_has_held_no_key_may_stay_so() {
    let mut case = Case::of("x.toml", |folder| fs::write(folder.join("x.toml"), "# none\n").unwrap());
    fs::write(case.at("x.toml"), "").unwrap();
    assert_eq!(case.next().await, "Auto");
    fs::write(case.at("x.toml"), "# none again\n").unwrap();
    assert_eq!(case.next().await, "Auto");
}

#[tokio::test]
async fn a_file_that_ends_inside_a_line_it_had_is_refused() {
    for (name, text) in LAYERS {
        let mut case = layered();
        let long = format!("[cluster]\nworkers = 12\n{}", if name == "x.toml" { "" } else { text });
        fs::write(case.at(name), &long).unwrap();
        if long != text {
            assert_eq!(case.next().await, "Exactly(12)");
        }
        fs::write(case.at(name), &long[..long.find("12").unwrap() + 1]).unwrap();
        let said = case.next().await;
        assert!(said.starts_with(&format!("{name}:2: ends inside a line")), "{said}");
        fs::write(case.at(name), &long).unwrap();
        assert_eq!(case.next().await, "Exactly(12)");
        // With its end it is meant.
        fs::write(case.at(name), "[cluster]\nworkers = 1\n").unwrap();
        assert_eq!(case.next().await, "Exactly(1)");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_is_a_fault_until_it_can() {
    for (name, text) in LAYERS {
        let mut case = layered();
        let path = case.at(name);
        let broken: [(&str, &dyn Fn()); 3] = [
            ("is a folder, not a regular file", &|| fs::create_dir(&path).unwrap()),
            ("is a link to nothing", &|| symlink("nowhere", &path).unwrap()),
            // Stands for a lost permission, which the superuser never lacks.
            ("cannot be read", &|| symlink(&path, &path).unwrap()),
        ];
        for (why, make) in broken {
            fs::remove_file(&path).unwrap();
            make();
            let said = case.next().await;
            assert!(said.starts_with(&format!("{name}: {why}")), "{said}");
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            fs::write(&path, text).unwrap();
            assert_eq!(case.next().await, "Exactly(12)", "{name} {why}");
        }
    }
}

#[tokio::test]
async fn a_layer_that_disappears_is_a_fault_but_a_fragment_may_be_taken_away() {
    let mut case = layered();
    fs::remove_file(case.at("test.toml")).unwrap();
    let said = case.next().await;
    assert!(said.starts_with("test.toml: no such file"), "{said}");
    fs::write(case.at("test.toml"), LAYERS[1].1).unwrap();
    assert_eq!(case.next().await, "Exactly(12)");
    fs::remove_file(case.at("conf.d/a.toml")).unwrap();
    assert_eq!(case.next().await, "Exactly(12)");
}

/// How a file may be there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    Link,
    /// A link over a folder that is a link: a Kubernetes configuration map.
    Map,
    /// Over two links, in folders of their own.
    Chain,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Plain, Self::Link, Self::Map, Self::Chain];

    /// Puts a file that says `n` to `x.toml`, where nothing is.
    fn put(self, folder: &Path, n: u16) {
        let place = folder.join(format!("place-{n}"));
        fs::create_dir(&place).unwrap();
        let target = if self == Self::Plain { folder.join("x.toml") } else { place.join("x.toml") };
        fs::write(&target, text(n)).unwrap();
        match self {
            Self::Plain => {}
            Self::Link => symlink(&target, folder.join("x.toml")).unwrap(),
            Self::Map => {
                let _ = fs::remove_file(folder.join("..data"));
                symlink(format!("place-{n}"), folder.join("..data")).unwrap();
                symlink("..data/x.toml", folder.join("x.toml")).unwrap();
            }
            Self::Chain => {
                let between = folder.join(format!("between-{n}"));
                fs::create_dir(&between).unwrap();
                symlink(&target, between.join("x.toml")).unwrap();
                symlink(between.join("x.toml"), folder.join("x.toml")).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_its_kind_is_found_soon_in_all_directions() {
    let case = async |(from, to): (Kind, Kind)| {
        let mut case = Case::of("x.toml", |folder| from.put(folder, 1));
        // Quick: nobody sees that it was away.
        fs::remove_file(case.at("x.toml")).unwrap();
        to.put(case.folder.path(), 2);
        let start = Stopwatch::start();
        assert_eq!(case.next().await, "Exactly(2)", "{from:?} {to:?}");
        let quick = start.net();
        // Slow: it is seen to be away, and back before that is told.
        fs::remove_file(case.at("x.toml")).unwrap();
        let early = timeout(Duration::from_millis(700), case.watcher.changed()).await;
        assert!(early.is_err(), "{from:?} {to:?}: told at once that it is away");
        from.put(case.folder.path(), 3);
        let start = Stopwatch::start();
        assert_eq!(case.next().await, "Exactly(3)", "{from:?} {to:?}");
        let slow = start.net();
        for took in [quick, slow] {
            assert!(took < SOON, "{from:?} {to:?}: {took:?}");
        }
    };
    join_all(Kind::ALL.into_iter().flat_map(|from| Kind::ALL.map(|to| (from, to))).map(case)).await;
}

#[tokio::test]
async fn a_link_in_the_middle_of_a_chain_may_lead_elsewhere() {
    let mut case = Case::of("x.toml", |folder| Kind::Chain.put(folder, 1));
    for (n, gap) in [(2, Duration::ZERO), (3, Duration::from_millis(700))] {
        fs::write(case.at(&format!("other-{n}")), text(n)).unwrap();
        fs::remove_file(case.at("between-1/x.toml")).unwrap();
        let early = timeout(gap, case.watcher.changed()).await;
        assert!(early.is_err(), "told at once that it leads nowhere");
        symlink(case.at(&format!("other-{n}")), case.at("between-1/x.toml")).unwrap();
        let start = Stopwatch::start();
        assert_eq!(case.next().await, format!("Exactly({n})"));
        assert!(start.net() < SOON, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_watched_again() {
    let mut case = Case::of("etc/x.toml", |folder| {
        fs::create_dir(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/x.toml"), text(1)).unwrap();
    });
    fs::rename(case.at("etc"), case.at("old")).unwrap();
    assert_eq!(case.next().await, "etc/x.toml: no such file");
    fs::create_dir(case.at("etc")).unwrap();
    fs::write(case.at("etc/x.toml"), text(2)).unwrap();
    let start = Stopwatch::start();
    assert_eq!(case.next().await, "Exactly(2)");
    assert!(start.net() < SOON, "{:?}", start.elapsed());
}
