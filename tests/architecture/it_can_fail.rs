//! The test of the test: each rule is seen to be broken.

use super::*;

const TOO_HIGH: &str = "2: climbs above its file's own folder: say `crate::...`";

fn faults(file: &str, text: &str) -> Vec<String> {
    let text = format!("//! A file.\n{text}");
    let faults = Source::new(file, &text).faults();
    faults.into_iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect()
}

#[track_caller]
fn one(file: &str, text: &str, expected: &str) {
    assert_eq!(faults(file, text), [expected], "{file}: {text}");
}

#[track_caller]
fn none(file: &str, text: &str) {
    assert_eq!(faults(file, text), [""; 0], "{file}: {text}");
}

#[test]
fn a_room_uses_only_rows_before_it() {
    none("worker/life.rs", "use crate::protocol::link::Batch;\nuse crate::{config, model};\nuse crate::log;");
    one("config/load.rs", "\nuse crate::worker::run;", "3: `config` uses `worker`, which is above it");
    one(
        "model/ids.rs",
        "fn f() { crate::ws::frame::ping() }",
        "2: `model` uses `ws`: rooms of a row do not know each other",
    );
    one(
        "master/life.rs",
        "use crate::worker;",
        "2: `master` uses `worker`: rooms of a row do not know each other",
    );
    one(
        "worker/life.rs",
        "pub(in crate::feeder) fn f() {}",
        "2: `worker` uses `feeder`: rooms of a row do not know each other",
    );
    one("log.rs", "use crate::cli;", "2: `log` uses `cli`, which is above it");
    one("log.rs", "use super::cli;", "2: `log` uses `cli`, which is above it");
    one(
        "net/mod.rs",
        "use super::session;",
        "2: `net` uses `session`: rooms of a row do not know each other",
    );
}

#[test]
fn a_group_is_read_branch_by_branch() {
    none("cli/daemon.rs", "use crate::{log, master, config::{Config, load}};");
    one(
        "stats/mod.rs",
        "use crate::{model::Mono,\n config::{A, b::C},\n master::Master};",
        "4: `stats` uses `master`, which is above it",
    );
    one("stats/mod.rs", "use crate::{net};", "2: `stats` uses `net`: rooms of a row do not know each other");
    one("stats/mod.rs", "use crate::*;", "2: takes the whole crate: name the room");
    one("stats/mod.rs", "use crate::{model, *};", "2: takes the whole crate: name the room");
    one("stats/mod.rs", "use crate as all;", "2: takes the whole crate: name the room");
    one(
        "ws/mod.rs",
        "macro_rules! m { () => { $crate::net::x() } }",
        "2: `ws` uses `net`, which is above it",
    );
}

#[test]
fn a_path_climbs_no_higher_than_its_folder() {
    none("worker/http/quotes.rs", "use super::refuse;\nmod tests { use super::*; use super::super::body; }");
    none("feeder/core_tests.rs", "use super::*; use super::super::Clock;");
    one("feeder/core_tests.rs", "use super::super::super::providers;", TOO_HIGH);
    one("worker/http/quotes.rs", "use super::super::hub;", TOO_HIGH);
    one("worker/http/quotes.rs", "use super::super::{hub};", TOO_HIGH);
    one("worker/http/quotes.rs", "pub(in super::super) fn f() {}", TOO_HIGH);
    one("worker/http/quotes.rs", "use super::{refuse, super::hub};", TOO_HIGH);
    one("worker/http/quotes.rs", "use super::super::super::master;", TOO_HIGH);
    one("worker/http/mod.rs", "mod a { mod b {} use super::super::super::life; }", TOO_HIGH);
}

#[test]
fn a_test_module_counts_the_same() {
    one(
        "ws/mod.rs",
        "#[cfg(test)]\nmod tests {\n use crate::session::Key;\n}",
        "4: `ws` uses `session`, which is above it",
    );
}

#[test]
fn a_room_must_be_drawn() {
    none("bin/load/main.rs", "use crate::target::Target;");
    one("helpers/mod.rs", "", "1: `helpers` is no room of the drawing: see ROWS");
    one("cli/mod.rs", "use crate::helpers::x;", "2: `helpers` is no room of the drawing: see ROWS");
}

#[test]
fn unsafe_code_has_one_room() {
    none("os/descriptors.rs", "fn f() { unsafe { g() } }");
    one("net/listen.rs", "fn f() { unsafe { g() } }", "2: `unsafe` outside src/os");
    one("bin/load/main.rs", "fn f() { unsafe { g() } }", "2: `unsafe` outside src/os");
    none("net/listen.rs", "#![deny(unsafe_code)]");
}

#[test]
fn a_file_says_what_it_is_and_is_short() {
    let opening = Source::new("net/listen.rs", "use std::io;\n").faults();
    assert_eq!(opening.len(), 1, "{opening:?}");
    one("net/listen.rs", &"\n".repeat(LONGEST), "501: has more than 500 lines: it is two files");
    none("net/listen.rs", &"\n".repeat(LONGEST - 1));
}

#[test]
fn what_is_no_code_is_not_read() {
    for text in [
        "// use crate::cli;\n/* unsafe /* crate::cli */ crate::cli */ //! [`crate::cli`]",
        r##"const A: &str = "crate::cli \" unsafe"; const B: &str = r#"unsafe "crate::cli"#;"##,
        r##"const A: &[u8] = b"unsafe \\"; const B: u8 = b'"'; const C: &[u8] = br#"crate::cli"#;"##,
        r"const A: char = '\''; const B: char = '\u{22}'; const C: char = '{'; const D: char = '}';",
    ] {
        none("net/listen.rs", text);
    }
    // What follows such things is read again.
    for text in [
        r#"const A: &str = "\\"; use crate::cli;"#,
        "const A: char = '\"'; use crate::cli;",
        "fn f<'a>(x: &'a str) { crate::cli }",
        "/* /* */ */ use crate::cli;",
        "fn r#unsafe_() {} use crate::cli;",
        "const A: u8 = b'\\''; use crate::cli;",
    ] {
        one("net/listen.rs", text, "2: `net` uses `cli`, which is above it");
    }
}

/// What is wrong with the circles of these files.
#[track_caller]
fn in_circles(files: &[(&str, &str)], expected: &[&str]) {
    let texts: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    assert_eq!(circle_faults(&uses_of(&texts)), expected, "{files:?}");
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let circle = "files use each other in a circle:\n    net/a.rs uses net/b.rs\n    net/b.rs uses net/a.rs";
    let module = ("net/mod.rs", "mod a; mod b; pub(crate) use a::{A, x as y}; pub use self::b::B;");
    for (a, b) in [
        ("use super::b::B;", "use crate::net::a::A;"),
        ("use super::{b::{self, C}};", "fn f() -> super::a::A { }"),
        ("use super::b; fn f() { b::g() }", "use super::a::A as _;"),
        // Names that are re-exported are those of the file that defines them.
        ("use crate::net::B;", "use super::A;"),
        ("fn f() -> crate::net::B {}", "use crate::net::{y};"),
        ("use super::{self as net, b}; fn f() { net::B::new() }", "use super::A;"),
        ("mod inner { use super::super::B; }", "use super::a::inner::f;"),
        ("#[cfg(test)] use super::c; use super::B;", "#[cfg(test)] mod tests { } use super::A;"),
    ] {
        in_circles(&[module, ("net/a.rs", a), ("net/b.rs", b)], &[circle]);
    }
    let main = ("bin/load/main.rs", "mod a; fn f() { a::g() } pub struct Options;");
    let fault = "files use each other in a circle:\n    bin/load/a.rs uses bin/load/main.rs\n    bin/load/main.rs uses bin/load/a.rs";
    in_circles(&[main, ("bin/load/a.rs", "use crate::Options;")], &[fault]);
}

#[test]
fn files_that_use_each_other_in_one_direction_are_no_circle() {
    let module = ("net/mod.rs", "mod a; mod b; pub(crate) use a::A; pub use b::{B, C};\n#[cfg(test)] mod c;");
    for (a, b) in [
        ("use super::B;", "use super::b::C;"),
        ("use super::B;", "#[cfg(test)] mod tests { use super::super::A; }"),
        ("use super::B;", "#[cfg(test)] use super::A; struct S { #[cfg(test)] a: super::A, }"),
        ("use super::B;", "/// [`super::A`]\nfn f() { x.A(); \"super::A\" }"),
        ("use super::B;", "use other::A; fn f() -> A {}"),
        // A module's name alone is not yet what is in it.
        ("use super::B;", "use super::a;"),
    ] {
        in_circles(&[module, ("net/a.rs", a), ("net/b.rs", b), ("net/c.rs", "use super::A;")], &[]);
    }
    // A table of contents uses none of what it passes on.
    in_circles(&[("net/mod.rs", "mod a; pub use a::A; struct M;"), ("net/a.rs", "use super::M;")], &[]);
}
