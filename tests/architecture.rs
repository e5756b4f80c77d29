//! The shape of the code, kept by a machine: which room may use which, and the few rules that are the same everywhere.
//!
//! It reads the sources as text, so it costs nothing and sees the tests of a file as well as its code. Macros that
//! build paths out of pieces would escape it; there are none.

#[path = "architecture/files.rs"]
mod files;
#[path = "architecture/it_can_fail.rs"]
mod it_can_fail;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/tokens.rs"]
mod tokens;

use files::{Crate, Uses, circles};
use paths::{Goal, Used, used};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokens::{Kind, Lexer};

/// The drawing of `ARCHITECTURE.md`: a row uses only rows before it, and the rooms of a row do not know each other.
/// `os` stands alone because its clocks answer in the model's moments; `log` is one small file that reads its part of
/// the configuration.
const ROWS: [&[&str]; 7] = [
    &["model", "ws"],
    &["os"],
    &["config", "protocol"],
    &["session", "stats", "access", "net", "log", "programs"],
    &["supervisor", "providers", "transports"],
    &["keeper", "master", "worker", "feeder"],
    &["cli"],
];
/// Programs of their own beside the daemon: their `crate` is another, and they know the daemon from outside.
const PROGRAMS: &str = "bin";
/// The only room that may say what the compiler cannot check.
const UNSAFE_ROOM: &str = "os";
/// A longer file is two files.
const LONGEST: usize = 500;
/// TLS is rustls with aws-lc, everywhere: what brings another is refused before it is built. (`ring` stands in the lock
/// file as an option of rustls that nobody takes; `deny.toml` keeps it out of the build.)
const OTHER_TLS: [&str; 4] = ["native-tls", "openssl", "openssl-sys", "boring"];

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// One file of the crate and where its module is: `["worker", "hub", "deliver"]`.
struct Source<'a> {
    file: &'a str,
    module: Vec<&'a str>,
    /// As many names of a path may be left after its `super`s: those of the module that the file stands in.
    lowest: usize,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// `file` is relative to `src`.
    fn new(file: &'a str, text: &'a str) -> Self {
        let mut module: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
        if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
            module.pop();
        }
        let lowest = module.len().saturating_sub(1);
        // `x_tests.rs` is `mod tests` of `x.rs`, moved out of it by a `#[path]`.
        if let Some(tested) = module.last().and_then(|name| name.strip_suffix("_tests")) {
            module.pop();
            module.extend([tested, "tests"]);
        }
        Self { file, module, lowest, text }
    }

    fn room(&self) -> Option<&'a str> {
        self.module.first().copied()
    }

    fn fault(&self, line: usize, what: String) -> Fault {
        Fault { file: format!("src/{}", self.file), line, what }
    }

    /// Everything that is wrong with it.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !self.text.starts_with("//! ") {
            faults.push(self.fault(1, "does not open with a `//!` line that says what it is".to_owned()));
        }
        let lines = self.text.lines().count();
        if lines > LONGEST {
            faults.push(self.fault(lines, format!("has more than {LONGEST} lines: it is two files")));
        }
        let Some(room) = self.room() else { return faults };
        let tokens = Lexer::tokens(self.text);
        for token in tokens.iter().filter(|token| token.kind == Kind::Word("unsafe")) {
            if room != UNSAFE_ROOM {
                faults.push(self.fault(token.line, format!("`unsafe` outside src/{UNSAFE_ROOM}")));
            }
        }
        if room == PROGRAMS {
            return faults;
        }
        let Some(row) = row_of(room) else {
            faults.push(self.fault(1, format!("`{room}` is no room of the drawing: see ROWS")));
            return faults;
        };
        for Used { line, goal } in used(&tokens, &self.module, self.lowest) {
            if let Some(what) = judge(room, row, goal) {
                faults.push(self.fault(line, what));
            }
        }
        faults
    }
}

/// Whether `room` in `row` may go there.
fn judge(room: &str, row: usize, goal: Goal<'_>) -> Option<String> {
    match goal {
        Goal::TooHigh => Some("climbs above its file's own folder: say `crate::...`".to_owned()),
        Goal::Whole => Some("takes the whole crate: name the room".to_owned()),
        Goal::Room(other) if other == room => None,
        Goal::Room(other) => match row_of(other) {
            None => Some(format!("`{other}` is no room of the drawing: see ROWS")),
            Some(theirs) if theirs < row => None,
            Some(theirs) if theirs == row => {
                Some(format!("`{room}` uses `{other}`: rooms of a row do not know each other"))
            }
            Some(_) => Some(format!("`{room}` uses `{other}`, which is above it")),
        },
    }
}

fn row_of(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All faults of the crate, and how many files were read.
fn faults_of_crate() -> io::Result<(Vec<String>, usize)> {
    let folder = root().join("src");
    let mut files = Vec::new();
    files_below(&folder, &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file)?;
        let name = file.strip_prefix(&folder).unwrap_or(file).to_string_lossy();
        faults.extend(Source::new(&name, &text).faults().iter().map(Fault::to_string));
    }
    Ok((faults, files.len()))
}

/// Which file uses which. Each program below `bin` is a crate of its own.
fn uses_of(texts: &[(String, String)]) -> Uses<'_> {
    let mut crates = BTreeMap::<_, Crate<'_>>::new();
    for (file, text) in texts {
        let mut module = Source::new(file, text).module;
        let program = (module.first() == Some(&PROGRAMS)).then(|| module.drain(..2).collect::<Vec<_>>());
        crates.entry(program).or_default().add(file, &module, text);
    }
    crates.values().flat_map(Crate::uses).collect()
}

/// The circles, each with its arrows.
fn circle_faults(uses: &Uses<'_>) -> Vec<String> {
    let arrows = |circle: &BTreeSet<&str>| {
        let arrow = |file: &&str| {
            let inside: Vec<_> = uses[*file].intersection(circle).copied().collect();
            format!("    {file} uses {}", inside.join(", "))
        };
        circle.iter().map(arrow).collect::<Vec<_>>().join("\n")
    };
    let fault = |circle| format!("files use each other in a circle:\n{}", arrows(circle));
    circles(uses).iter().map(fault).collect()
}

/// What of a lock file must not be there.
fn strangers(lock: &str) -> Vec<String> {
    let value = |line: &str, key: &str| {
        let rest = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        rest.strip_suffix('"').map(str::to_owned)
    };
    let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
    let names = lock.lines().filter_map(|line| value(line, "name"));
    let sources = lock.lines().filter_map(|line| value(line, "source"));
    let tls = names.filter(|name| OTHER_TLS.contains(&name.as_str()));
    tls.chain(sources.filter(|source| source != crates_io)).collect()
}

#[test]
fn the_code_keeps_its_shape() {
    let (faults, files) = faults_of_crate().unwrap();
    assert!(files > 50, "only {files} files were found");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let folder = root().join("src");
    let mut files = Vec::new();
    files_below(&folder, &mut files).unwrap();
    let text = |file: &PathBuf| {
        let name = file.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(file).unwrap())
    };
    let texts: Vec<_> = files.iter().map(text).collect();
    let uses = uses_of(&texts);
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 300, "these are not all");
    let faults = circle_faults(&uses);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The files and folders that a document names in backticks: `net/accept.rs`, `providers/`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| (word.ends_with(".rs") || word.ends_with('/')) && !word.contains([' ', '*']))
}

#[test]
fn the_document_speaks_of_files_that_are_there() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files).unwrap();
    files_below(&root().join("tests"), &mut files).unwrap();
    let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    let there = |name: &str| {
        let inner = format!("/{name}");
        files
            .iter()
            .any(|file| if name.ends_with('/') { file.contains(&inner) } else { file.ends_with(&inner) })
    };
    assert!(named(&document).count() > 30, "these are not its names");
    let gone: Vec<_> = named(&document).filter(|name| !there(name)).collect();
    assert_eq!(gone, [""; 0], "ARCHITECTURE.md names them");
    assert!(!there("accept.r") && !there("nowhere/") && !there("cept.rs"));
}

#[test]
fn the_drawing_names_every_room_once() {
    let mut rooms: Vec<_> = ROWS.iter().flat_map(|row| row.iter()).collect();
    let all = rooms.len();
    rooms.sort_unstable();
    rooms.dedup();
    assert_eq!(rooms.len(), all);
}

#[test]
fn dependencies_come_from_one_place_and_bring_one_tls() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"rustls\""), "this is not the lock file");
    assert_eq!(strangers(&lock), [""; 0]);
    let other = "name = \"openssl\"\nname = \"rustls\"\nsource = \"git+https://example.com/x\"\n";
    assert_eq!(strangers(other), ["openssl", "git+https://example.com/x"]);
}
