//! Recording to real files; the tests wait for the thread's effects.

use super::recording_file::second;
use super::*;
use rustix::fs::{FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const MAX: u64 = 1 << 20;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn target(folder: &TempDir, half: u64) -> Target {
    Target { path: folder.path().join("raw"), half }
}

fn recorder(path: &Path, max: u64) -> Recorder {
    let mut recorder = Recorder::default();
    recorder.adopt(Some(path), max);
    recorder
}

/// The file's content, once it is as wanted.
fn until(path: &Path, wanted: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if wanted(&text) {
            return text;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{path:?}: {} bytes: {text:.500}", text.len());
        std::thread::yield_now();
    }
}

/// Lines of `x` that are there, and lines that the file says are lost, in however many parts it says so.
fn counted(text: &str) -> (usize, usize) {
    // The last line may not be whole yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lost = whole.lines().filter_map(|line| line.strip_prefix("# lost "));
    let lost = lost.map(|count| count.parse::<usize>().unwrap()).sum();
    (whole.lines().filter(|line| line.ends_with('x')).count(), lost)
}

/// Reads the file, once each of so many lines is there or counted as lost.
fn until_all(path: &Path, lines: usize) -> String {
    until(path, |text| {
        let (there, lost) = counted(text);
        there + lost >= lines
    })
}

/// Lines without their time stamps.
fn said(text: &str) -> Vec<&str> {
    text.lines().map(|line| if line.starts_with('#') { line } else { line.split_at(20).1 }).collect()
}

#[test]
fn a_session_is_recorded_from_its_begin_to_its_end() {
    let folder = folder();
    let path = folder.path().join("raw");
    let recorder = recorder(&path, MAX);
    let (one, two) = (recorder.for_source("binance"), recorder.for_source("kraken"));
    let mut stream = one.session("stream");
    stream.raw(None, b"{\"a\":\n1}");
    let rest = two.session("rest");
    rest.raw(Some(503), b"busy");
    drop(rest);
    stream.end(&Fault::Retry("the stream ended".to_owned()));
    drop(stream);
    drop(recorder);
    let text = fs::read_to_string(&path).unwrap();
    let expected = [
        "# btc-cluster recording 1",
        "binance/stream !begin",
        "binance/stream {\"a\": 1}",
        "kraken/rest !begin",
        "kraken/rest:503 busy",
        "kraken/rest !end cut off",
        "binance/stream !end the stream ended",
    ];
    assert_eq!(said(&text), expected);
    let stamps: Vec<i64> = text.lines().skip(1).map(|line| line[..19].parse().unwrap()).collect();
    assert!(stamps.iter().all(|at| *at > 1_700_000_000_000_000_000), "{stamps:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
}

#[test]
fn a_later_process_goes_on_in_the_same_file() {
    let folder = folder();
    let path = folder.path().join("raw");
    for _ in 0..2 {
        recorder(&path, MAX).for_source("a").session("stream");
    }
    let text = fs::read_to_string(&path).unwrap();
    let session = ["a/stream !begin", "a/stream !end cut off"];
    assert_eq!(said(&text), [&["# btc-cluster recording 1"][..], &session, &session].concat());
}

#[test]
fn another_file_is_taken_while_sessions_go_on() {
    let folder = folder();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut recorder = recorder(&first, MAX);
    let take = recorder.for_source("a").session("stream");
    take.raw(None, b"1");
    until(&first, |text| text.contains(" 1\n"));
    recorder.adopt(Some(&second), MAX);
    until(&second, |text| !text.is_empty());
    take.raw(None, b"2");
    until(&second, |text| text.contains(" 2\n"));
    recorder.adopt(None, MAX);
    // Off at once, whether the thread knows it yet or not.
    take.raw(None, b"3");
    recorder.adopt(Some(&second), MAX / 2);
    take.raw(None, b"4");
    until(&second, |text| text.contains(" 4\n"));
    assert_eq!(said(&fs::read_to_string(&first).unwrap())[1..], ["a/stream !begin", "a/stream 1"]);
    assert_eq!(said(&fs::read_to_string(&second).unwrap())[1..], ["a/stream 2", "a/stream 4"]);
}

#[test]
fn two_files_take_turns_and_no_line_is_in_two_pieces() {
    let folder = folder();
    let target = target(&folder, 1000);
    let mut output = RecordingFile::open(&target).unwrap();
    let lines: Vec<_> = (0..100).map(|n| format!("{n} {}\n", "x".repeat(n))).collect();
    for some in lines.chunks(7) {
        let some = some.concat();
        let mut left = some.as_bytes();
        output.write(&mut left).unwrap();
        assert!(left.is_empty());
        for path in [target.path.clone(), second(&target.path)] {
            assert!(fs::metadata(path).map_or(0, |about| about.len()) <= 1000);
        }
    }
    let kept = [second(&target.path), target.path.clone()].map(|path| fs::read_to_string(path).unwrap());
    let head = std::str::from_utf8(HEAD).unwrap();
    let kept: String = kept.iter().map(|text| text.strip_prefix(head).unwrap()).collect();
    assert!(lines.concat().ends_with(&kept), "the newest, each once");
    assert!(kept.len() > 900, "{}", kept.len());
}

#[test]
fn a_line_that_fits_into_no_file_is_lost_and_said_to_be() {
    let folder = folder();
    let target = target(&folder, 100);
    let mut output = RecordingFile::open(&target).unwrap();
    let text = format!("1\n{}\n2\n", "x".repeat(300));
    output.write(&mut text.as_bytes()).unwrap();
    assert!(fs::read_to_string(&target.path).unwrap().ends_with("# lost 1\n2\n"));
    let path = folder.path().join("other");
    let recorder = recorder(&path, 200);
    let session = recorder.for_source("a").session("stream");
    session.raw(None, &[b'y'; 300]);
    // Before the session's end is recorded, or lost, too.
    until(&path, |text| text.ends_with("# lost 1\n"));
}

#[test]
fn a_closed_file_is_free_although_a_program_is_being_started() {
    let folder = folder();
    let target = target(&folder, MAX);
    let file = RecordingFile::open(&target).unwrap();
    // As a child has it between fork and exec.
    let copy = file.copy();
    drop(file);
    assert!(RecordingFile::open(&target).is_ok());
    drop(copy);
}

#[test]
fn only_a_file_of_ours_is_written_to() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("diary"), "dear diary\n").unwrap();
    std::os::unix::fs::symlink(path("nothing"), path("link")).unwrap();
    fs::create_dir(path("folder")).unwrap();
    mknodat(rustix::fs::CWD, path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let used = RecordingFile::open(&Target { path: path("used"), half: 1000 }).unwrap();
    for (name, why) in [
        ("diary", "is not a recording of ours"),
        ("link", "is a symbolic link"),
        ("folder", "directory"),
        ("pipe", "is not a regular file"),
        ("used", "another process records to it"),
        ("no/such", "No such file"),
    ] {
        let error = RecordingFile::open(&Target { path: path(name), half: 1000 }).err().unwrap().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
    drop(used);
    assert_eq!(fs::read_to_string(path("diary")).unwrap(), "dear diary\n");
    assert!(!path("nothing").exists());
}

#[test]
fn a_torn_end_is_mended_so_that_it_reads_as_nothing() {
    let folder = folder();
    let target = target(&folder, 1000);
    for (before, after) in [
        ("# btc-cluster recording 1\n1 a/b 61", "# btc-cluster recording 1\n1 a/b 61 # torn\n"),
        ("# btc-clu", "# btc-cluster recording 1\n"),
        ("", "# btc-cluster recording 1\n"),
    ] {
        fs::write(&target.path, before).unwrap();
        fs::set_permissions(&target.path, fs::Permissions::from_mode(0o666)).unwrap();
        drop(RecordingFile::open(&target).unwrap());
        assert_eq!(fs::read_to_string(&target.path).unwrap(), after);
        assert_eq!(fs::metadata(&target.path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_tried_again_and_what_waits_is_bounded() {
    let folder = folder();
    let path = folder.path().join("later/raw");
    let recorder = recorder(&path, MAX * 64);
    let take = recorder.for_source("a").session("stream");
    let payload = vec![b'x'; 100_000];
    for _ in 0..100 {
        take.raw(None, &payload);
    }
    assert!(recorder.shared.state().lines.capacity() <= WAITING * 2 + 200_000);
    fs::create_dir(folder.path().join("later")).unwrap();
    let text = until_all(&path, 100);
    let (there, lost) = counted(&text);
    assert!(there >= 40 && lost > 0, "{there} and {lost}");
    take.raw(None, b"after");
    until(&path, |text| text.ends_with(" after\n"));
}

#[test]
fn one_bad_path_after_another_keeps_what_came_first_and_no_more() {
    let folder = folder();
    let bad = |n: usize| folder.path().join(format!("no{n}/raw"));
    let mut recorder = recorder(&bad(0), MAX * 64);
    let take = recorder.for_source("a").session("stream");
    let payload = vec![b'x'; 100_000];
    for n in 1..6 {
        for _ in 0..30 {
            take.raw(None, &payload);
        }
        recorder.adopt(Some(&bad(n)), MAX * 64);
        let begin = Instant::now();
        while recorder.shared.state().next.is_some() {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
    }
    let good = folder.path().join("raw");
    recorder.adopt(Some(&good), MAX * 64);
    until_all(&good, 150);
    take.raw(None, b"last");
    let text = until(&good, |text| text.ends_with(" last\n"));
    let (there, lost) = counted(&text);
    assert_eq!(there + lost, 150, "each is there or counted");
    assert!((30..=90).contains(&there), "{there}");
}

#[test]
fn a_file_that_somebody_moves_away_is_begun_anew() {
    let folder = folder();
    let target = target(&folder, 1000);
    let mut output = RecordingFile::open(&target).unwrap();
    assert!(output.is_in_place());
    fs::rename(&target.path, folder.path().join("taken")).unwrap();
    output.look_now();
    assert!(!output.is_in_place());
}

#[test]
fn a_full_disk_is_survived_without_half_a_line() {
    let folder = folder();
    let target = target(&folder, 1000);
    let mut output = RecordingFile::open(&target).unwrap();
    output.fail_after(10);
    let mut left = &b"one\ntwo\nthree\nfour\n"[..];
    assert!(output.write(&mut left).is_err());
    assert_eq!(left, b"three\nfour\n");
    drop(output);
    RecordingFile::open(&target).unwrap().write(&mut left).unwrap();
    let text = fs::read_to_string(&target.path).unwrap();
    assert_eq!(text, "# btc-cluster recording 1\none\ntwo\nth # torn\nthree\nfour\n");
}
