//! Texts made of the table of keys: the shipped file, the page of the documentation, the manual page.

use super::entry::{Effect, Entry, LATER_KEYS, Table};
use super::table::Section;
use super::units::Environment;
use super::valid::{Channel, StreamSection, default_streams, kinds, sections};
use super::value::lenient;
use std::fmt::Write;

/// A space at which no line is broken.
const UNBROKEN: &str = "\u{a0}";
/// Longest line of the shipped file.
const WIDTH: usize = 116;
/// Introduction of the file and of the manual page.
const HEAD: &str = include_str!("reference/head.txt");
const PROVIDERS: &str = "Price sources. NAME in [provider.NAME] is yours (1 to 32 of a-z 0-9 _ -); without `kind` it is the \
                         kind itself. A section is only needed to change something.";

/// A form in which every key is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `etc/btc-cluster.toml`: every key, commented out at its default.
    File,
    /// `etc/{env}.toml`: the defaults that differ.
    Environment(Environment),
    /// `docs/configuration.md`
    Markdown,
    /// btc-cluster.toml(5)
    Manual,
}

impl Reference {
    #[must_use]
    pub fn text(self) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = match self {
            Self::File => file(&mut out),
            Self::Environment(environment) => differing(&mut out, environment),
            Self::Markdown => markdown(&mut out),
            Self::Manual => manual(&mut out),
        };
        out
    }
}

/// A section as it is explained.
struct Chapter {
    /// `[http]`, `#[provider.mock]`, `#[[streams]]`
    head: String,
    text: String,
    keys: Vec<Key>,
    /// Lines of the file in place of the keys: keys of a list have no defaults.
    sample: Option<String>,
}

struct Key {
    name: &'static str,
    text: String,
    takes: String,
    default: String,
    effect: Effect,
}

impl Chapter {
    fn of(head: String, table: Table) -> Self {
        Self {
            head,
            text: joined(table.text),
            keys: table.entries.into_iter().map(Key::of).collect(),
            sample: None,
        }
    }

    fn list(table: Table, sample: String) -> Self {
        Self { sample: Some(sample), ..Self::of(format!("#[[{}]]", table.name), table) }
    }

    fn is_provider(&self) -> bool {
        self.head.starts_with("#[provider")
    }

    fn bare_head(&self) -> &str {
        self.head.trim_start_matches('#')
    }
}

impl Key {
    fn of(entry: Entry) -> Self {
        let shown = |default: &str| lenient(default).value.to_string();
        let one = |name: &str, default: Option<&str>| {
            default.map(|default| format!(" In {name}: {}.", shown(default))).unwrap_or_default()
        };
        let elsewhere = match (entry.development, entry.test) {
            (both, test) if both == test => one("development and test", both),
            (development, test) => one("development", development) + &one("test", test),
        };
        Self {
            name: entry.name,
            text: joined(entry.text) + &elsewhere,
            takes: entry.takes,
            default: shown(entry.default),
            effect: entry.effect,
        }
    }

    /// Explanation of an entry, with what it takes and what a change needs as one word.
    fn explained(&self) -> String {
        let needs = format!("[{}; {}]", self.takes, self.effect.as_str());
        format!("{} {}", self.text, needs.replace(' ', UNBROKEN))
    }
}

fn chapters() -> Vec<Chapter> {
    let mut all: Vec<_> =
        sections().into_iter().map(|table| Chapter::of(format!("[{}]", table.name), table)).collect();
    all.extend(kinds().into_iter().map(|table| {
        let kind = Key {
            name: "kind",
            text: "Kind of the source; the name of the section, if nothing is said.".to_owned(),
            takes: "a kind of source".to_owned(),
            default: lenient(table.name).value.to_string(),
            effect: Effect::Live,
        };
        let mut chapter = Chapter::of(format!("#[provider.{}]", table.name), table);
        chapter.keys.insert(0, kind);
        chapter
    }));
    let streams = default_streams("BTC-USD")
        .map(|(name, channel)| format!("#[[streams]]\n#name = \"{name}\"\n#channel = \"{channel}\"\n"));
    all.push(Chapter::list(StreamSection::table("streams"), streams.join("\n")));
    let channels = "#[[channels]]\n#name = \"news\"\n#publish = \"admin\"\n".to_owned();
    all.push(Chapter::list(Channel::table("channels"), channels));
    all
}

/// Lines of a doc comment as one text.
fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn wrapped(out: &mut String, indent: &str, text: &str) -> std::fmt::Result {
    let mut line = indent.trim_end().to_owned();
    for word in text.split_ascii_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{}", line.replace(UNBROKEN, " "))?;
            line = indent.trim_end().to_owned();
        }
        line.push_str(if line.len() < indent.len() { &indent[line.len()..] } else { " " });
        line.push_str(word);
    }
    writeln!(out, "{}", line.replace(UNBROKEN, " "))
}

fn file(out: &mut String) -> std::fmt::Result {
    for line in HEAD.lines() {
        writeln!(out, "{}", format!("# {line}").trim_end())?;
    }
    let mut told: Vec<String> = vec![];
    for chapter in chapters() {
        out.push_str("\n\n");
        if chapter.is_provider() && told.iter().all(|text| text != PROVIDERS) {
            wrapped(out, "# ", PROVIDERS)?;
            out.push('\n');
            told.push(PROVIDERS.to_owned());
        }
        wrapped(out, "# ", &chapter.text)?;
        if let Some(sample) = &chapter.sample {
            for key in &chapter.keys {
                wrapped(out, "#   ", &format!("{}: {}", key.name, key.explained()))?;
            }
            out.push_str(sample);
            continue;
        }
        writeln!(out, "{}", chapter.head)?;
        for key in &chapter.keys {
            // Kinds of sources share keys: each is explained once.
            if !(chapter.is_provider() && (key.name == "kind" || told.contains(&key.text))) {
                out.push('\n');
                wrapped(out, "# ", &key.explained())?;
                told.push(key.text.clone());
            }
            writeln!(out, "#{} = {}", key.name, key.default)?;
        }
    }
    Ok(())
}

fn differing(out: &mut String, environment: Environment) -> std::fmt::Result {
    let name = environment.as_str();
    writeln!(
        out,
        "# Configuration of the environment \"{name}\" only. It wins over btc-cluster.toml beside it, where every"
    )?;
    writeln!(out, "# key is explained. These built-in defaults differ from the ones there:\n#")?;
    let before = out.len();
    for table in sections() {
        let differ =
            table.entries.iter().filter_map(|entry| entry.differs_in(environment).map(|text| (entry, text)));
        for (nth, (entry, default)) in differ.enumerate() {
            if nth == 0 {
                writeln!(out, "#[{}]", table.name)?;
            }
            writeln!(out, "#{} = {}", entry.name, lenient(default).value)?;
        }
    }
    if out.len() == before { writeln!(out, "# none") } else { Ok(()) }
}

fn markdown(out: &mut String) -> std::fmt::Result {
    // Escapes marks of Markdown.
    let plain = |text: &str| text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*");
    out.push_str(include_str!("reference/head.md"));
    for chapter in chapters() {
        writeln!(out, "\n## `{}`\n\n{}\n", chapter.bare_head(), plain(&chapter.text))?;
        out.push_str("| key | takes | default | a change | |\n|---|---|---|---|---|\n");
        for Key { name, text, takes, default, effect } in &chapter.keys {
            let default = if chapter.sample.is_some() { "" } else { &format!("`{default}`") };
            writeln!(out, "| `{name}` | {takes} | {default} | {} | {} |", effect.as_str(), plain(text))?;
        }
    }
    let about = "Keys and sections of later versions. They are refused until then; behind each stands what brings it.";
    writeln!(out, "\n## Later\n\n{about}\n")?;
    LATER_KEYS.iter().try_for_each(|(key, capability)| writeln!(out, "- `{key}`: {capability}"))
}

fn manual(out: &mut String) -> std::fmt::Result {
    out.push_str(include_str!("reference/manual.roff"));
    for paragraph in HEAD.trim_end().split("\n\n") {
        let is_example = paragraph.starts_with(' ');
        let (open, close) = if is_example { (".nf\n", ".fi\n") } else { ("", "") };
        write!(out, ".PP\n{open}")?;
        paragraph.lines().try_for_each(|line| writeln!(out, "{}", roff(line)))?;
        out.push_str(close);
    }
    out.push_str(".SH SECTIONS\n");
    for chapter in chapters() {
        writeln!(out, ".SS {}\n{}", roff(chapter.bare_head()), roff(&chapter.text))?;
        for key in &chapter.keys {
            let default = if chapter.sample.is_some() { "" } else { &format!(" = {}", key.default) };
            writeln!(out, ".TP\n\\fB{}\\fR{}\n{}", roff(key.name), roff(default), roff(&key.text))?;
            writeln!(out, "({}; {})", roff(&key.takes), key.effect.as_str())?;
        }
    }
    out.push_str(".SH SEE ALSO\n.BR btc\\-cluster (8)\n");
    Ok(())
}

/// A line in which nothing is taken for a request or an escape of roff(7).
fn roff(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '"' => out.push_str("\\(dq"),
            '~' => out.push_str("\\(ti"),
            '^' => out.push_str("\\(ha"),
            '.' | '\'' if out.is_empty() => out.extend(['\\', '&', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained_once() {
        for Chapter { head, text, keys, .. } in chapters() {
            assert!(text.ends_with('.'), "{head}");
            for (nth, key) in keys.iter().enumerate() {
                assert!(key.text.ends_with('.') && !key.takes.is_empty(), "{head} {}", key.name);
                assert!(keys.iter().take(nth).all(|other| other.name != key.name), "{head} {}", key.name);
            }
        }
    }

    #[test]
    fn a_key_of_a_later_version_has_no_row() {
        for table in sections() {
            let later =
                |name: &str| LATER_KEYS.iter().any(|(key, _)| *key == format!("{}.{name}", table.name));
            assert!(table.entries.iter().all(|entry| !later(entry.name)), "{}", table.name);
            assert!(LATER_KEYS.iter().all(|(key, _)| *key != table.name), "{}", table.name);
        }
    }

    #[test]
    fn long_texts_are_wrapped_and_marks_escaped() {
        let mut out = String::new();
        wrapped(&mut out, "#   ", &"word ".repeat(40)).unwrap();
        assert_eq!(out.lines().map(str::len).collect::<Vec<_>>(), [113, 93]);
        assert!(out.lines().all(|line| line.starts_with("#   word")));
        assert_eq!(roff(".a-\"b\\"), "\\&.a\\-\\(dqb\\e");
    }
}
