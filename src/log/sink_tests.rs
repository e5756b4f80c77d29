//! The sink against pipes and files.

use super::*;
use std::io::Read;
use std::sync::mpsc;

/// The default of `log.queue`.
const QUEUE: usize = 256 << 10;
const BOUNDS: Bounds = Bounds { room: QUEUE, rotation: None };
const SOON: Duration = Duration::from_secs(10);

/// Lines that tell of lost ones, as the sink says them.
fn telling(sink: &Arc<Mutex<Option<Sink>>>) -> Tell {
    let sink = Arc::clone(sink);
    Box::new(move |lost, why| {
        if let Some(sink) = &*sink.lock().unwrap() {
            sink.push(format!("lost {lost}: {why}\n").as_bytes());
        }
    })
}

/// A sink into a pipe that nobody reads yet, and the pipe's other end.
fn piped() -> (Arc<Mutex<Option<Sink>>>, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = Arc::default();
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue::new(BOUNDS, None)),
        work: Condvar::new(),
        idle: Condvar::new(),
    });
    let target = Target::File(std::os::fd::OwnedFd::from(writer).into());
    let writer = Writer {
        shared: shared.clone(),
        path: None,
        target,
        tell: telling(&sink),
        torn: false,
        failing: false,
        looks: Looks::default(),
    };
    thread::spawn(move || writer.run());
    *sink.lock().unwrap() = Some(Sink(shared));
    (sink, reader)
}

fn say(sink: &Arc<Mutex<Option<Sink>>>, line: &str) {
    sink.lock().unwrap().as_ref().unwrap().push(line.as_bytes());
}

/// Runs in a thread of its own, so that a writer that waits fails the test.
fn without_waiting(work: impl FnOnce() + Send + 'static) {
    let (done, end) = mpsc::channel();
    thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    end.recv_timeout(SOON).expect("the one who logs waits");
}

#[test]
fn a_reader_that_stands_still_stops_nobody_and_hears_later_what_was_lost() {
    let (sink, mut reader) = piped();
    let line = |n: usize| format!("{n:>99}\n");
    let here = Arc::clone(&sink);
    // Twice of what pipe and queue take.
    without_waiting(move || {
        (0..9000).for_each(|n| say(&here, &line(n)));
        here.lock().unwrap().as_ref().unwrap().flush(Duration::from_millis(50));
    });
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let (mut text, mut bytes) = (String::new(), [0; 4096]);
        while !(text.contains("lost") && text.ends_with('\n')) {
            let read = reader.read(&mut bytes).unwrap();
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        tell.send(text).unwrap();
    });
    let text = told.recv_timeout(SOON).expect("the number of lost lines");
    let lines: Vec<_> = text.lines().collect();
    let whole = lines.len() - 1;
    let numbers: Vec<usize> = lines[..whole].iter().map(|line| line.trim().parse().unwrap()).collect();
    assert!(numbers.is_sorted() && lines[..whole].iter().all(|line| line.len() == 99), "whole, and in order");
    assert_eq!(lines[whole], format!("lost {}: nobody takes them", 9000 - whole));
    assert!((whole + 1) * 100 >= QUEUE, "{whole} lines were kept");
}

#[test]
fn a_reader_that_has_gone_is_no_end_and_no_flood() {
    let (sink, reader) = piped();
    drop(reader);
    let here = Arc::clone(&sink);
    without_waiting(move || {
        for _ in 0..100 {
            say(&here, "x\n");
            here.lock().unwrap().as_ref().unwrap().flush(SOON);
        }
    });
    let sink = sink.lock().unwrap();
    let queue = sink.as_ref().unwrap().0.lock();
    assert_eq!((queue.lost, queue.why, queue.lines.len()), (100, "the reader has gone", 0));
}

#[test]
fn a_file_that_is_moved_away_is_opened_again_and_the_last_lines_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let (log, moved) = (folder.path().join("x.log"), folder.path().join("x.log.1"));
    let sink = Sink::start(Some(log.clone()), BOUNDS, None, Box::new(|_, _| {})).unwrap();
    sink.push(b"one\n");
    sink.flush(SOON);
    std::fs::rename(&log, &moved).unwrap();
    sink.push(b"two\n");
    sink.flush(SOON);
    sink.reopen();
    sink.push(b"three\n");
    sink.flush(SOON);
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!((read(&moved).as_str(), read(&log).as_str()), ("one\ntwo\n", "three\n"));
}

#[test]
fn a_full_file_is_moved_aside_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.log");
    let (tell, told) = mpsc::channel();
    // The first time nobody has ears.
    let deaf = AtomicUsize::new(1);
    let hear = move || deaf.swap(0, Ordering::Relaxed) == 0 && tell.send(()).is_ok();
    let bounds = Bounds { room: QUEUE, rotation: Some(Rotation { max_size: 8, keep: 9 }) };
    let sink = Sink::start(Some(log.clone()), BOUNDS, Some(Arc::new(hear)), Box::new(|_, _| {})).unwrap();
    sink.push(b"a full one\n");
    sink.flush(SOON);
    sink.bound(bounds);
    // Nobody logs: the size is looked at all the same.
    told.recv_timeout(SOON).expect("the rotation is told");
    sink.push(b"another\n");
    sink.flush(SOON);
    let read = |path| std::fs::read_to_string(path).unwrap();
    let moved = folder.path().join("x.log.1");
    told.recv_timeout(SOON).expect("the second rotation is told");
    assert_eq!((read(&moved).as_str(), read(&log).as_str()), ("another\n", ""));
    assert_eq!(read(&folder.path().join("x.log.2")), "a full one\n");
}
