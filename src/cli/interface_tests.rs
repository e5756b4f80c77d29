//! `docs/interface.md` against the program's own lists, in both directions: what a table of the page names is in the
//! program, and what the program has is in a table.

use super::arguments::Arguments;
use super::exit::Exit;
use crate::model::{Interval, Symbol};
use crate::protocol::client::{ClientType, Close, ErrorCode, ProblemKind, ServerType, SystemEvent};
use crate::protocol::cluster::{Endpoint, Handover, Port};
use crate::session::Kind;
use crate::stats::metrics_list;
use crate::worker::{Method, ROUTES};
use clap::CommandFactory;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("docs/interface.md")).unwrap()
}

/// The rows of the one table that has this header, cells without their backticks.
fn table(page: &str, header: &str) -> Vec<Vec<String>> {
    let parts: Vec<_> = page.split(&format!("\n{header}\n")).collect();
    let [_, rest] = parts[..] else { panic!("{} tables have the header {header}", parts.len() - 1) };
    let rows = rest.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// The first cells of a table.
fn first(page: &str, header: &str) -> Vec<String> {
    table(page, header).into_iter().map(|row| row[0].clone()).collect()
}

/// Items that only one of two lists has, and items that the page names twice.
fn differences<T: Ord + Clone + Debug>(page: &[T], program: &[T]) -> Vec<String> {
    let (named, real): (BTreeSet<_>, BTreeSet<_>) = (page.iter().collect(), program.iter().collect());
    let mut all: Vec<_> = real.difference(&named).map(|item| format!("not in the page: {item:?}")).collect();
    all.extend(named.difference(&real).map(|item| format!("not in the program: {item:?}")));
    if named.len() < page.len() {
        all.push(format!("the page names something twice: {page:?}"));
    }
    all
}

fn assert_same<T: Ord + Clone + Debug>(page: &[T], program: &[T]) {
    assert!(!program.is_empty());
    let all = differences(page, program);
    assert!(all.is_empty(), "the page and the program differ:\n{}", all.join("\n"));
}

fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Vec<String> {
    all.iter().map(|one| word(*one).to_owned()).collect()
}

#[test]
fn a_difference_is_seen_in_both_directions() {
    assert_eq!(differences(&["a", "b"], &["b", "a"]), [""; 0]);
    assert_eq!(differences(&["a"], &["a", "b"]), ["not in the page: \"b\""]);
    assert_eq!(differences(&["a", "b"], &["a"]), ["not in the program: \"b\""]);
    assert_eq!(differences(&["a", "a"], &["a"]).len(), 1);
    let page = "x\n| a | b |\n|---|---|\n| `1` | 2 |\n| 3 | `4`, `5` |\n\n| a |\n|---|\n| no |\n";
    assert_eq!(table(page, "| a | b |"), [["1", "2"], ["3", "4, 5"]]);
    assert_eq!(first(page, "| a | b |"), ["1", "3"]);
}

#[test]
fn problems() {
    let rows = table(&page(), "| status | slug | when |").into_iter();
    let named: Vec<(u16, String)> = rows.map(|row| (row[0].parse().unwrap(), row[1].clone())).collect();
    let real: Vec<_> = ProblemKind::all().map(|kind| (kind.status(), kind.slug().to_owned())).collect();
    assert_same(&named, &real);
}

#[test]
fn close_codes_and_whether_to_come_back() {
    let rows = table(&page(), "| code | reason | meaning | come back |").into_iter();
    let named: Vec<_> = rows.map(|row| (row[0].clone(), row[1].clone(), row[3] == "not")).collect();
    let all = Close::ALL.iter();
    let real: Vec<_> = all.map(|c| (c.code().to_string(), c.slug().to_owned(), c.is_final())).collect();
    assert_same(&named, &real);
}

#[test]
fn messages_errors_and_events() {
    let page = page();
    assert_same(&first(&page, "| type | members | when |"), &words(&ServerType::ALL, ServerType::as_str));
    assert_same(&first(&page, "| type | members | answer |"), &words(&ClientType::ALL, ClientType::as_str));
    assert_same(&first(&page, "| code | when |"), &words(&ErrorCode::ALL, ErrorCode::as_str));
    assert_same(&first(&page, "| event | members | when |"), &words(&SystemEvent::ALL, SystemEvent::as_str));
}

/// `(what is served, on which ports)`, ports as the page writes them.
fn routes(chosen: impl Fn(Method) -> bool, name: impl Fn(Method, &str) -> String) -> Vec<(String, String)> {
    let mut ports: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    for route in ROUTES.iter().filter(|route| chosen(route.method)) {
        let here = ports.entry(name(route.method, route.path)).or_default();
        here.extend(route.ports.iter().map(|port| *port as u8));
    }
    let word = |port: &u8| match *port {
        port if port == Port::Http as u8 => "HTTP",
        port if port == Port::Ws as u8 => "WebSocket",
        _ => "admin",
    };
    let all = |ports: BTreeSet<u8>| ports.iter().map(word).collect::<Vec<_>>().join(", ");
    ports.into_iter().map(|(name, ports)| (name, all(ports))).collect()
}

#[test]
fn routes_and_their_ports() {
    let rows = table(&page(), "| route | ports | answer |").into_iter();
    let named: Vec<_> = rows.map(|row| (row[0].clone(), row[1].clone())).collect();
    let name = |method: Method, path: &str| format!("{} {path}", format!("{method:?}").to_uppercase());
    assert_same(&named, &routes(|method| method != Method::Socket, name));
}

#[test]
fn endpoints_and_their_ports() {
    let rows = table(&page(), "| path | ports | what it is |").into_iter();
    let named: Vec<_> = rows.map(|row| (row[0].clone(), row[1].clone())).collect();
    let mut real = routes(|method| method == Method::Socket, |_, path| path.to_owned());
    // The fallback serves the streams.
    real.push(("/{stream}".to_owned(), "HTTP, WebSocket".to_owned()));
    assert_same(&named, &real);
    let paths: Vec<_> = named.into_iter().map(|(path, _)| path).filter(|path| path != "/").collect();
    let endpoint = |endpoint| match endpoint {
        Endpoint::Stream => "/{stream}".to_owned(),
        other => format!("/{}", other.as_str()),
    };
    assert_same(&paths, &Endpoint::ALL.map(endpoint));
}

/// The names of a kind's channels in the page; none for a channel that clients cannot name.
fn channel_names(kind: &Kind) -> &'static str {
    match kind {
        Kind::Price { every, .. } if every.is_zero() => "price:SYMBOL",
        Kind::Price { .. } => "price:SYMBOL@1s",
        Kind::Candle { .. } => "candle:SYMBOL@INTERVAL",
        Kind::Stats => "stats",
        Kind::Presence => "presence",
        Kind::Room => "chat:ROOM",
        Kind::Messages { .. } => "NAME",
        Kind::Endpoint | Kind::Lines => "",
    }
}

#[test]
fn channels() {
    let symbol = Symbol::new("BTC-USD").unwrap();
    let price = |every| Kind::Price { symbol: symbol.clone(), every };
    let all = [
        price(Duration::ZERO),
        price(Duration::from_secs(1)),
        Kind::Candle { symbol: symbol.clone(), interval: Interval::Minute },
        Kind::Stats,
        Kind::Presence,
        Kind::Room,
        Kind::Messages { anyone: true },
    ];
    let rows = table(&page(), "| channel | kind | carries |").into_iter();
    let named: Vec<_> = rows.map(|row| (row[0].clone(), row[1].clone())).collect();
    let is_state = |kind: &Kind| !matches!(kind, Kind::Room | Kind::Messages { .. });
    let word = |kind: &Kind| if is_state(kind) { "state" } else { "messages" }.to_owned();
    assert_same(&named, &all.map(|kind| (channel_names(&kind).to_owned(), word(&kind))));
}

#[test]
fn metrics() {
    let rows = table(&page(), "| metric | type | label | meaning |").into_iter();
    let named: Vec<_> = rows.map(|row| (row[0].clone(), row[1].clone(), row[2].clone())).collect();
    let real = metrics_list().into_iter();
    let real: Vec<_> =
        real.map(|(name, kind, label)| (name, kind.to_owned(), label.unwrap_or("").to_owned())).collect();
    assert_same(&named, &real);
}

#[test]
fn results_of_handovers() {
    let rows = table(&page(), "| result | connection | meaning |").into_iter();
    let named: Vec<_> = rows.map(|row| (row[0].clone(), row[1] == "kept")).collect();
    let real = Handover::ALL.map(|result| (result.as_str().to_owned(), result.keeps_connection()));
    assert_same(&named, &real);
}

#[test]
fn commands_and_exit_codes() {
    let (page, program) = (page(), Arguments::command());
    let names = |command: &clap::Command| -> Vec<_> {
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        shown.map(|command| command.get_name().to_owned()).collect()
    };
    assert_same(&first(&page, "| command | does |"), &names(&program));
    let told = names(program.find_subcommand("ctl").unwrap());
    assert_same(&first(&page, "| ctl command | does |"), &told);
    let manual = include_str!("../../packaging/man/btc-cluster.8").replace('\\', "");
    let heads: Vec<_> = manual.lines().filter(|line| line.starts_with(".B")).collect();
    let lacks =
        |name: &&String| !heads.iter().any(|head| head.split([' ', '"', ',']).any(|word| word == **name));
    assert_eq!(
        told.iter().filter(lacks).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not in the manual page"
    );
    let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::BadConfiguration, Exit::NotStarted];
    assert_same(&first(&page, "| exit code | meaning |"), &codes.map(|code| (code as u8).to_string()));
}

/// The name in a line that declares a module in a file of its own.
fn module_name(line: &str) -> Option<&str> {
    line.trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';')
}

/// The text of all production code: without files that only tests compile, and without `mod tests`.
fn production() -> String {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, found) } else { found.push(path) }
        }
    }
    let mut files = Vec::new();
    below(&root().join("src"), &mut files);
    let texts: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let inside = |path: &Path| {
        if path.ends_with("mod.rs") { path.with_file_name("") } else { path.with_extension("") }
    };
    let declared = files.iter().zip(&texts).flat_map(|(path, text)| {
        let marked = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| rest.lines().next());
        let names = marked.filter_map(module_name);
        names.map(|name| inside(path).join(name))
    });
    let tests: BTreeSet<_> = declared.collect();
    let is_declared = |path: &PathBuf| path.with_extension("").ancestors().any(|above| tests.contains(above));
    let is_test = |path: &PathBuf| path.to_string_lossy().ends_with("tests.rs") || is_declared(path);
    let kept = files.iter().zip(&texts).filter(|(path, _)| !is_test(path));
    kept.filter_map(|(_, text)| text.split("#[cfg(test)]\nmod tests {").next()).collect()
}

/// The texts that follow `before` up to the next quote.
fn quoted(text: &str, before: &str) -> Vec<String> {
    let found: BTreeSet<_> = text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn log_events() {
    let named = first(&page(), "| event | level | meaning |");
    assert_same(&named, &quoted(&production(), "event = \""));
}

/// The names of the fields between an event's name and the line's message, or the end of the macro.
fn fields(line: &str) -> BTreeSet<String> {
    let (mut depth, mut parts) = (0_u32, vec![String::new()]);
    for c in line.chars() {
        match c {
            ')' | '}' if depth == 0 => break,
            '"' if depth == 0 && parts.last().is_some_and(|part| part.trim().is_empty()) => break,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    let name = |part: &String| {
        let path = part.split(" = ").next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
        path.rsplit('.').next().unwrap_or_default().to_owned()
    };
    parts.iter().map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn fields_are_found_in_a_macro() {
    let of = |line| fields(line).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(of(r#", %error, pid = self.pid(1, 2), a.own, ?why, "{x}, {y}", y); no"#), "error own pid why");
    assert_eq!(
        (of(")"), of(r#", "only words")"#), of(", last\n)")),
        (String::new(), String::new(), "last".into())
    );
}

#[test]
fn log_events_have_their_fields_and_advice() {
    let page = fs::read_to_string(root().join("docs/events.md")).unwrap();
    let split = |cell: &str| cell.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let rows = table(&page, "| event | fields | what to do |");
    let named: Vec<(String, BTreeSet<String>)> =
        rows.iter().map(|row| (row[0].clone(), split(&row[1]))).collect();
    let code = production();
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rest in code.split("event = \"").skip(1) {
        let (event, line) = rest.split_once('"').unwrap();
        real.entry(event.to_owned()).or_default().extend(fields(line));
    }
    assert_same(&named, &real.into_iter().collect::<Vec<_>>());
    assert!(rows.iter().all(|row| !row[2].is_empty()), "an event without advice; `-` where none is needed");
}

/// `log.hash_ids` knows an id by the function that writes it.
#[test]
fn ids_in_lines_can_be_hashed() {
    let code = production();
    let mut raw = Vec::new();
    for rest in ["error!(", "warn!(", "info!(", "debug!("].iter().flat_map(|end| code.split(end).skip(1)) {
        let line = rest.split(';').next().unwrap_or_default();
        let parts = line.split([',', '(', ')']).map(str::trim);
        let is_raw = |part: &str| {
            // Without a sign it is a value's own word: `user` of `%id(user)`.
            if !part.starts_with(['%', '?']) && !part.contains(" = ") {
                return false;
            }
            let name = part.split(" = ").next().unwrap_or_default().trim_start_matches(['%', '?']);
            let hashed = ["%id", "%logged", "%crate::log::id"];
            let value = part.split_once(" = ").map_or("", |(_, value)| value);
            ["session", "user", "device"].contains(&name) && !hashed.contains(&value) && value != "whose"
        };
        raw.extend(parts.filter(|part| line.contains("event = ") && is_raw(part)).map(str::to_owned));
    }
    assert_eq!(raw, [""; 0]);
}

#[test]
fn environment_variables() {
    let (page, code) = (page(), production());
    let calls = ["variable(\"", "var(\"", "var_os(\""];
    let read: Vec<_> = calls.iter().flat_map(|call| quoted(&code, call)).collect();
    assert!(read.len() > 5, "{read:?}");
    let cells = first(&page, "| variable | read for |").join(", ");
    let named: Vec<_> = cells.split(", ").collect();
    let unnamed: Vec<_> = read.iter().filter(|name| !named.contains(&name.as_str())).collect();
    assert!(unnamed.is_empty(), "not in the page: {unnamed:?}");
}

#[test]
fn configuration_keys_that_the_page_names_exist() {
    let shipped = fs::read_to_string(root().join("etc/btc-cluster.toml")).unwrap();
    let mut keys = BTreeSet::new();
    let mut section = "";
    for line in shipped.lines() {
        if let Some(name) =
            line.trim_start_matches('#').strip_prefix('[').and_then(|line| line.split(']').next())
        {
            section = name;
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            keys.insert(format!("{section}.{key}"));
        }
    }
    assert!(keys.contains("limits.sessions") && keys.len() > 50, "{keys:?}");
    let sections: BTreeSet<_> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    let page = page();
    let words = page.split('`').skip(1).step_by(2).map(|word| word.split(" = ").next().unwrap_or_default());
    let is_key = |word: &&str| word.split_once('.').is_some_and(|(section, _)| sections.contains(section));
    let named: Vec<_> = words.filter(is_key).collect();
    assert!(named.len() > 20, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|key| !keys.contains(**key)).collect();
    assert!(unknown.is_empty(), "no such keys: {unknown:?}");
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let anchor =
        |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().replace(|c| !kept(c), "");
    headings.map(|heading| anchor(heading).replace(' ', "-")).collect()
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let documents = |folder: &str| -> Vec<_> {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
    };
    let (mut broken, mut seen) = (BTreeSet::new(), 0);
    for document in documents(".").into_iter().chain(documents("docs")) {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let there = fs::read_to_string(&path);
            let found =
                there.is_ok_and(|text| anchor.is_empty() || anchors(&text).iter().any(|a| a == anchor));
            if !found {
                let path = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy();
                broken.insert(
                    path.trim_start_matches("./").to_owned()
                        + if anchor.is_empty() { "" } else { "#" }
                        + anchor,
                );
            }
        }
    }
    assert!(seen > 40, "only {seen} links were found");
    assert_eq!(broken.into_iter().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_glossary_is_sorted_and_names_a_word_once() {
    let text = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let tables = text.split("| word | meaning |\n|---|---|\n").skip(1);
    let word = |row: &str| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
    let tables: Vec<Vec<_>> = tables
        .map(|table| table.lines().take_while(|line| line.starts_with('|')).map(word).collect())
        .collect();
    assert!(tables.len() >= 4);
    assert!(tables.iter().all(|words| words.is_sorted()), "{tables:?}");
    let all: Vec<_> = tables.concat();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a word stands twice");
}
