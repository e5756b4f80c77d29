//! What is made of the table of keys and lies in the tree: every key at its default, explained where it stands.

use super::{around, source};
use btc_cluster::config::{Environment, Reference, Source, load};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

const FILE: &str = include_str!("../../etc/btc-cluster.toml");

/// `BLESS=1` writes them anew.
#[test]
fn the_shipped_file_and_the_documentation_are_what_the_table_makes() {
    let main = ("etc/btc-cluster.toml".to_owned(), Reference::File);
    let page = ("docs/configuration.md".to_owned(), Reference::Markdown);
    let of = |env: Environment| (format!("etc/{}.toml", env.as_str()), Reference::Environment(env));
    for (path, reference) in [main, page].into_iter().chain(Environment::ALL.map(of)) {
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, reference.text()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == reference.text(), "{path} is old: BLESS=1 cargo test --test config shipped");
    }
}

#[test]
fn the_manual_page_has_every_key_and_no_mistake() {
    let page = Reference::Manual.text();
    for setting in &load(&installed()).unwrap().settings {
        let name = setting.key.rsplit('.').next().unwrap();
        let line = format!("\\fB{name}\\fR = ");
        let is_list = ["streams", "channels"].contains(&name);
        assert!(is_list || page.lines().any(|found| found.starts_with(&line)), "{line}");
    }
    // As the packagers' lint does it, where there is such a program.
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tutf8", "-ww", "-z", "-Kutf8"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = groff.spawn() else {
        // Written past the capture of the test runner, which shows the output of failed tests only.
        let _ = writeln!(std::io::stderr(), "SKIPPED manual-page: no groff");
        return;
    };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert_eq!(said, "");
}

/// A key is commented out without a space behind the `#`, a sentence has one.
fn uncommented() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key,
        _ => line,
    };
    FILE.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Full names and values of a text.
fn keys_of(text: &str) -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    for (section, value) in text.parse::<toml::Table>().unwrap() {
        match value {
            toml::Value::Table(inner) if section == "provider" => {
                for (name, provider) in inner {
                    for (key, value) in provider.as_table().unwrap() {
                        keys.insert(format!("provider.{name}.{key}"), value.clone());
                    }
                }
            }
            toml::Value::Table(inner) => {
                keys.extend(inner.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            value => _ = keys.insert(section, value),
        }
    }
    keys
}

/// A production daemon where packages put it, with all kinds of sources.
fn installed() -> Source {
    let around = btc_cluster::config::Surroundings { packaged: true, ..around(&[]) };
    let mut source = Source::find(None, Some("production"), &around).unwrap();
    source.file = "/etc/no/such/file".into();
    let kinds = [
        ("coindesk", "kind", "coindesk"),
        ("mock", "kind", "mock"),
        ("replay", "file", "Cargo.toml"),
        ("http_json", "url", "https://example.com"),
        ("command", "program", "/bin/true"),
    ];
    source.overrides = kinds.iter().map(|(n, k, v)| (format!("provider.{n}.{k}"), (*v).to_owned())).collect();
    source
}

#[test]
fn every_key_stands_there_with_its_default_and_no_other() {
    let mut written = keys_of(&uncommented());
    let channel = written.remove("channels").unwrap();
    assert_eq!(channel[0]["publish"].as_str(), Some("admin"));
    let loaded = load(&installed()).unwrap();
    for setting in &loaded.settings {
        let default = format!("x = {}", setting.value).parse::<toml::Table>().unwrap().remove("x").unwrap();
        match setting.key.as_str() {
            "channels" => assert_eq!(setting.value, "[]"),
            // What has no default.
            key @ ("provider.replay.file" | "provider.http_json.url") => {
                assert_eq!(written.remove(key), Some("".into()));
            }
            key @ "provider.command.program" => {
                assert_eq!(written.remove(key), Some(toml::Value::Array(vec![])));
            }
            key => assert_eq!(written.remove(key), Some(default), "{key}"),
        }
    }
    assert_eq!(written, BTreeMap::new(), "unknown keys are explained");
}

#[test]
fn it_is_valid_with_all_its_comments_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("btc-cluster.toml");
    let text = uncommented();
    let (before, replay) = text.split_once("[provider.replay]").unwrap();
    let replay = replay.replacen("file = \"\"", "file = \"x\"", 1);
    let text = format!("{before}[provider.replay]{replay}")
        .replace("\nurl = \"\"", "\nurl = \"https://example.com/\"")
        .replace("program = []", "program = [\"/bin/true\"]");
    std::fs::write(folder.path().join("x"), "").unwrap();
    std::fs::write(&file, text).unwrap();
    let loaded = load(&source(&file)).unwrap();
    assert_eq!(loaded.config.channels[0].name, "news");
    assert!(
        loaded
            .settings
            .iter()
            .all(|setting| !setting.origin.is_fixed() && setting.origin.to_string() != "default")
    );
}

#[test]
fn as_shipped_it_says_nothing() {
    for env in ["development", "production", "test"] {
        let bare = |file: &str| {
            let mut source = Source::find(None, Some(env), &around(&[])).unwrap();
            source.file = file.into();
            load(&source).unwrap()
        };
        let (shipped, none) = (bare("etc/btc-cluster.toml"), bare("no/such/file"));
        assert_eq!(shipped.config, none.config, "{env}");
        assert_eq!(shipped.files.len(), 2, "{env}");
        let text = std::fs::read_to_string(format!("etc/{env}.toml")).unwrap();
        assert!(text.lines().all(|line| line.starts_with('#')), "{env}");
    }
}

#[test]
fn its_lines_fit() {
    assert!(FILE.lines().all(|line| line.chars().count() <= 120));
}

/// The installed configuration and pages name others; what sources make of recordings is for those who change the code.
#[test]
fn the_package_has_every_page_for_its_users() {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    for page in std::fs::read_dir("docs").unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let asset = format!("[\"docs/{name}\", \"usr/share/doc/btc-cluster/{name}\", \"644\"]");
        assert!(name == "verdicts.md" || manifest.contains(&asset), "{asset}");
    }
}
