//! Files that grow, are cut, moved away, deleted and made anew.

use super::*;
use std::io::Write;
use tempfile::TempDir;

const LONGEST: usize = 1024;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("log")
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).unwrap();
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self) -> PathBuf {
        let aside = self.0.path().join("log.1");
        fs::rename(self.path(), &aside).unwrap();
        aside
    }

    fn follower(&self) -> Follower {
        Follower::new(self.path(), None)
    }
}

/// All lines that there are now, and the result of the last look.
fn all(follower: &mut Follower) -> (Vec<String>, Seen) {
    let (lines, seen) = marked(follower);
    (lines.into_iter().map(|(text, _)| text.into_string()).collect(), seen)
}

fn marked(follower: &mut Follower) -> (Vec<(Box<str>, Mark)>, Seen) {
    let mut all = vec![];
    loop {
        match follower.look(LONGEST) {
            Seen::Some(_, lines) => all.extend(lines),
            seen => return (all, seen),
        }
    }
}

fn lines(follower: &mut Follower) -> Vec<String> {
    all(follower).0
}

#[test]
fn the_last_whole_line_is_the_first_and_then_what_is_appended() {
    let folder = Folder::new();
    folder.write("one\ntwo\nthree\nha");
    let mut follower = folder.follower();
    assert_eq!(all(&mut follower), (vec!["three".to_owned()], Seen::Nothing));
    folder.append("lf\nfour\n\n");
    assert_eq!(lines(&mut follower), ["half", "four", ""]);
    assert_eq!(all(&mut follower), (vec![], Seen::Nothing));
}

#[test]
fn the_last_line_is_found_wherever_it_begins() {
    let folder = Folder::new();
    for (text, first) in [
        ("", None),
        ("half", None),
        ("only\n", Some("only")),
        ("\n", Some("")),
        ("a\n\n", Some("")),
        ("a\nb", Some("a")),
    ] {
        folder.write(text);
        let found = lines(&mut folder.follower());
        assert_eq!(found.first().map(String::as_str), first, "{text:?}");
        assert!(found.len() < 2, "{text:?}");
    }
    let long = "x".repeat(3 * PIECE);
    folder.write(format!("before\n{long}\n{long}"));
    assert_eq!(lines(&mut folder.follower()), [&long[..LONGEST]]);
}

#[test]
fn it_is_not_looked_for_without_an_end() {
    let folder = Folder::new();
    folder.write("one\ntwo\nthree\n");
    let file = File::open(folder.path()).unwrap();
    let of = |len, back| last_line(&file, len, back).unwrap();
    assert_eq!(of(14, 14), Some(8));
    assert_eq!(of(14, 6), Some(8), "the newline before it can just be seen");
    assert_eq!(of(14, 5), Some(14), "it begins too far back, and its end is known");
    assert_eq!(of(13, 5), None, "not even the end of the line before");
    assert_eq!(of(3, 5), Some(0), "the only line has no end yet");
}

#[test]
fn a_long_line_is_cut_and_what_is_no_text_replaced() {
    let folder = Folder::new();
    folder.write("");
    let mut follower = folder.follower();
    assert_eq!(lines(&mut follower), [""; 0]);
    folder.append(&"y".repeat(5 * PIECE));
    assert_eq!(lines(&mut follower), [""; 0]);
    folder.append("\nshort\n");
    assert_eq!(lines(&mut follower), ["y".repeat(LONGEST).as_str(), "short"]);
    OpenOptions::new().append(true).open(folder.path()).unwrap().write_all(b"\xff!\n").unwrap();
    assert_eq!(lines(&mut follower), ["\u{fffd}!"]);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let folder = Folder::new();
    folder.write("one\ntwo\nha");
    let mut follower = folder.follower();
    assert_eq!(lines(&mut follower), ["two"]);
    folder.write("new\n");
    assert_eq!(lines(&mut follower), ["new"], "the half line is gone with the file's content");
    folder.write("");
    assert_eq!(lines(&mut follower), [""; 0]);
    folder.append("again\n");
    assert_eq!(lines(&mut follower), ["again"]);
}

#[test]
fn a_rotated_file_is_read_to_its_end_and_then_the_new_one() {
    let folder = Folder::new();
    folder.write("one\n");
    let mut follower = folder.follower();
    assert_eq!(lines(&mut follower), ["one"]);
    let aside = folder.rename();
    assert_eq!(follower.look(LONGEST), Seen::Missing);
    let mut old = OpenOptions::new().append(true).open(aside).unwrap();
    old.write_all(b"two\n").unwrap();
    assert_eq!(all(&mut follower), (vec!["two".to_owned()], Seen::Missing), "its writer does not know yet");
    folder.write("four\nfive\n");
    assert_eq!(follower.look(LONGEST), Seen::Nothing);
    // Between two looks, and without an end of line.
    old.write_all(b"three\nlast").unwrap();
    assert_eq!(lines(&mut follower), ["three", "last", "four", "five"]);
    old.write_all(b"late\n").unwrap();
    assert_eq!(all(&mut follower), (vec![], Seen::Nothing));
}

#[test]
fn a_file_that_is_deleted_or_not_there_is_waited_for_and_read_from_its_beginning() {
    let folder = Folder::new();
    let mut follower = folder.follower();
    assert_eq!(all(&mut follower), (vec![], Seen::Missing));
    folder.write("one\ntwo\n");
    assert_eq!(lines(&mut follower), ["one", "two"]);
    fs::remove_file(folder.path()).unwrap();
    assert_eq!(follower.look(LONGEST), Seen::Missing);
    assert_eq!(all(&mut follower), (vec![], Seen::Missing));
    assert!(follower.open.is_none(), "its room on the disk is given back");
    folder.write("three\n");
    assert_eq!(all(&mut follower), (vec!["three".to_owned()], Seen::Nothing));
    // Deleted and made anew between two looks.
    fs::remove_file(folder.path()).unwrap();
    folder.write("four\nfive\n");
    assert_eq!(follower.look(LONGEST), Seen::Nothing);
    assert_eq!(lines(&mut follower), ["four", "five"]);
}

#[test]
fn only_a_regular_file_is_read_and_nothing_else_is_waited_in() {
    let folder = Folder::new();
    let refused = Seen::Refused("not a regular file".to_owned());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut follower = folder.follower();
    assert_eq!(follower.look(LONGEST), refused);
    fs::remove_file(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    assert_eq!(follower.look(LONGEST), refused);
    fs::remove_dir(folder.path()).unwrap();
    folder.write("one\ntwo\n");
    assert_eq!(lines(&mut follower), ["two"], "it was there, only not to be read");
}

#[test]
fn after_a_failure_it_goes_on_behind_the_last_whole_line() {
    let folder = Folder::new();
    folder.write("one\n");
    let mut follower = folder.follower();
    assert_eq!(lines(&mut follower), ["one"]);
    folder.append("two\nha");
    assert_eq!(lines(&mut follower), ["two"]);
    // A descriptor that cannot be read.
    follower.open.as_mut().unwrap().file = OpenOptions::new().append(true).open(folder.path()).unwrap();
    assert!(matches!(follower.look(LONGEST), Seen::Refused(_)));
    folder.append("lf\n");
    assert_eq!(all(&mut follower), (vec!["half".to_owned()], Seen::Nothing));
}

#[test]
fn another_goes_on_behind_the_mark_of_the_one_before() {
    let folder = Folder::new();
    folder.write("one\ntwo\n");
    let mark = marked(&mut folder.follower()).0[0].1;
    assert_eq!(mark.offset, 8);
    folder.append("three\nfour\n");
    let next = || Follower::new(folder.path(), Some(mark));
    assert_eq!(lines(&mut next()), ["three", "four"], "what came meanwhile is not lost");
    folder.write("on\n");
    assert_eq!(lines(&mut next()), ["on"], "truncated meanwhile");
    folder.write("something longer\n");
    assert_eq!(lines(&mut next()), ["something longer"], "no line ends at the mark: it is another file");
    folder.rename();
    folder.write("a\nb\n");
    assert_eq!(lines(&mut next()), ["a", "b"], "rotated meanwhile");
    fs::remove_file(folder.path()).unwrap();
    let mut late = next();
    assert_eq!(all(&mut late), (vec![], Seen::Missing));
    folder.write("c\nd\n");
    assert_eq!(lines(&mut late), ["c", "d"]);
}

#[test]
fn marks_follow_each_other_through_pieces() {
    let folder = Folder::new();
    folder.write("\n");
    let mut follower = folder.follower();
    assert_eq!(lines(&mut follower), [""]);
    let line = format!("{}\n", "z".repeat(1000));
    folder.append(&line.repeat(50));
    let (lines, _) = marked(&mut follower);
    let offsets: Vec<u64> = lines.iter().map(|(_, mark)| mark.offset).collect();
    assert_eq!(offsets, (1..=50).map(|n| 1 + n * 1001).collect::<Vec<u64>>());
}
