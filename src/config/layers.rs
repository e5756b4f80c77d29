//! The layers, laid on each other: each key with its value, where that comes from and what it hides.

use super::entry::{LATER, Table, is_later};
use super::fault::{Faults, Origin, distance, unknown};
use super::file::{self, Content};
use super::snapshot::Snapshot;
use super::source::{PREFIX, Source};
use super::units::{Environment, NAME_RULE, is_name};
use super::value::{self, Item, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key in the layers.
#[derive(Clone, Debug)]
pub(crate) struct Layered {
    /// The value in force.
    pub(crate) item: Item,
    pub(crate) origin: Origin,
    /// The value below it that it hides, where somebody wrote one.
    pub(crate) over: Option<Origin>,
    /// The built-in value; `None` for a key that is not known.
    pub(crate) default: Option<Item>,
    /// Orders the keys of a section as they are documented.
    pub(crate) rank: u32,
}

/// All keys by their full names (`http.listen`, `provider.mock.price`, `channels`).
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) keys: BTreeMap<String, Layered>,
    /// All sections, in the order of the documentation.
    pub(crate) sections: Vec<&'static str>,
    /// NAME of each `[provider.NAME]` that is written, and where.
    pub(crate) providers: BTreeMap<String, Origin>,
    /// A file could not be read: keys that other keys are judged by may be missing.
    pub(crate) torn: bool,
}

impl Layers {
    /// Lays them all.
    pub(crate) fn of(tables: &[Table], source: &Source, snapshot: &Snapshot, faults: &mut Faults) -> Self {
        let mut layers = Self::default();
        for table in tables {
            layers.sections.push(table.name);
            layers.set_defaults(table.name, table, source.environment);
        }
        layers.sections.extend(FOLDERS);
        layers.add_files(source, snapshot, faults);
        layers.add_variables(source, faults);
        for (key, text) in &source.overrides {
            layers.add_at(&key.to_lowercase(), value::lenient(text), Origin::CommandLine, faults);
        }
        layers
    }

    /// Adds built-in values; those of a provider are put below what is written already.
    pub(crate) fn set_defaults(&mut self, section: &str, table: &Table, environment: Environment) {
        for (rank, entry) in (1..).zip(&table.entries) {
            let item = Item { line: rank, ..entry.default_in(environment) };
            self.set_default(format!("{section}.{}", entry.name), item);
        }
    }

    /// Says what a key is when nobody writes it.
    pub(crate) fn set_default(&mut self, key: String, item: Item) {
        let rank = item.line;
        let layered = self.keys.entry(key).or_insert_with(|| Layered {
            item: item.clone(),
            origin: Origin::Default,
            over: None,
            default: None,
            rank,
        });
        if layered.origin == Origin::Default {
            layered.item = item.clone();
        }
        // A default that depends on other values leaves the key in its place.
        layered.rank = if layered.default.is_some() { layered.rank } else { rank };
        layered.default = Some(item);
    }

    fn add_files(&mut self, source: &Source, snapshot: &Snapshot, faults: &mut Faults) {
        for reading in &snapshot.readings {
            let origin = Origin::File { path: Arc::from(reading.path.as_path()), line: 0 };
            match &reading.content {
                Content::Absent if source.required && reading.path == source.file => {
                    self.torn = true;
                    faults.add(origin, "", "no such file");
                }
                Content::Absent => {}
                Content::Dangling => {
                    self.torn = true;
                    faults.add(origin, "", file::DANGLING);
                }
                Content::Unreadable(line, why) => {
                    self.torn = true;
                    faults.add(origin.at(*line), "", why);
                }
                Content::Text(text) => match value::document(text) {
                    Ok(entries) => self.add_document(entries, &origin, faults),
                    Err(errors) => {
                        self.torn = true;
                        errors.into_iter().for_each(|(line, text)| faults.add(origin.at(line), "", text));
                    }
                },
            }
        }
    }

    fn add_variables(&mut self, source: &Source, faults: &mut Faults) {
        for (name, text) in &source.variables {
            let shown = name.to_string_lossy().into_owned();
            let origin = Origin::Variable(shown.clone());
            let (Some(key), Some(text)) = (shown.strip_prefix(PREFIX), text.to_str()) else {
                faults.add(origin, "", "is not UTF-8");
                continue;
            };
            let parts: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            // A provider's name may hold two underscores itself.
            let key = match parts.as_slice() {
                [section, middle @ .., last] if section == "provider" && !middle.is_empty() => {
                    format!("provider.{}.{last}", middle.join("__"))
                }
                parts => parts.join("."),
            };
            self.add_at(&key, value::lenient(text), origin, faults);
        }
    }

    /// Adds one value by its full name, as the environment and the command line give it.
    fn add_at(&mut self, key: &str, item: Item, origin: Origin, faults: &mut Faults) {
        let parts: Vec<&str> = key.split('.').collect();
        let mut entry = vec![];
        for (i, part) in parts.iter().rev().enumerate() {
            let inner = if i == 0 {
                item.clone()
            } else {
                Item { value: Value::Table(std::mem::take(&mut entry)), line: 0, key_line: 0 }
            };
            entry = vec![((*part).to_owned(), inner)];
        }
        self.add_document(entry, &origin, faults);
    }

    fn add_document(&mut self, entries: Vec<(String, Item)>, origin: &Origin, faults: &mut Faults) {
        for (section, item) in entries {
            let at = origin.at(item.key_line);
            if is_later(&section) {
                faults.add(at, section, LATER);
            } else if !self.sections.contains(&section.as_str()) {
                faults
                    .add_with(at, value::bare_or_quoted(&section), || self.unknown_section(&section, &item));
            } else if section == "channels" || section == "streams" {
                self.set(section, item, origin);
            } else {
                match item.value {
                    Value::Table(inner) if section == "provider" => self.add_providers(inner, origin, faults),
                    Value::Table(inner) => self.add_section(&section, inner, origin, faults),
                    _ => faults.add(at, &section, format!("must be a section, [{section}]")),
                }
            }
        }
    }

    fn add_section(
        &mut self,
        section: &str,
        inner: Vec<(String, Item)>,
        origin: &Origin,
        faults: &mut Faults,
    ) {
        for (name, item) in inner {
            let key = format!("{section}.{}", value::bare_or_quoted(&name));
            if self.keys.contains_key(&key) {
                self.set(key, item, origin);
            } else if is_later(&key) {
                faults.add(origin.at(item.key_line), key, LATER);
            } else {
                let known = || self.keys_of(section);
                let text = || unknown("key", &name, known().iter().map(String::as_str));
                faults.add_with(origin.at(item.key_line), key, text);
            }
        }
    }

    /// Adds the sections below `[provider]`. Their keys are checked at the end: a later layer may change the kind.
    fn add_providers(&mut self, inner: Vec<(String, Item)>, origin: &Origin, faults: &mut Faults) {
        for (name, item) in inner {
            let at = origin.at(item.key_line);
            let full = format!("provider.{}", value::bare_or_quoted(&name));
            if !is_name(&name) {
                faults.add(at, full, NAME_RULE);
                continue;
            }
            if self.providers.len() >= MOST_PROVIDERS && !self.providers.contains_key(&name) {
                faults.add(at, full, format!("one too many: there may be {MOST_PROVIDERS}"));
                continue;
            }
            let Value::Table(inner) = item.value else {
                faults.add(at, full, format!("must be a section, [provider.{name}]"));
                continue;
            };
            self.providers.entry(name).or_insert(at);
            for (key, item) in inner {
                self.set(format!("{full}.{}", value::bare_or_quoted(&key)), item, origin);
            }
        }
    }

    fn set(&mut self, key: String, item: Item, origin: &Origin) {
        let origin = origin.at(item.key_line);
        match self.keys.get_mut(&key) {
            Some(layered) => {
                let hidden = std::mem::replace(&mut layered.origin, origin);
                layered.over = (hidden != Origin::Default).then_some(hidden);
                layered.item = item;
            }
            None => {
                self.keys.insert(key, Layered { item, origin, over: None, default: None, rank: u32::MAX });
            }
        }
    }

    /// The keys of a section (`"http"`, `"provider.mock"`) by their last names.
    pub(crate) fn section<'a>(&'a self, section: &str) -> impl Iterator<Item = (&'a str, &'a Layered)> {
        let prefix = format!("{section}.");
        let from_here = self.keys.range(prefix.clone()..);
        from_here.map_while(move |(key, layered)| Some((key.strip_prefix(&prefix)?, layered)))
    }

    /// The last names of those that have a default.
    pub(crate) fn keys_of(&self, section: &str) -> Vec<String> {
        let known = self.section(section).filter(|(_, layered)| layered.default.is_some());
        known.map(|(key, _)| key.to_owned()).collect()
    }

    fn unknown_section(&self, name: &str, item: &Item) -> String {
        if matches!(item.value, Value::Table(_)) {
            return unknown("section", name, self.sections.iter().copied());
        }
        // A key outside its section: the full name is what is missing.
        let last = |full: &str| full.rsplit('.').next().map_or(0, |last| distance(name, last));
        let known = self.keys.iter().filter(|(_, layered)| layered.default.is_some()).map(|(full, _)| full);
        match known.min_by_key(|full| last(full)) {
            Some(full) if last(full) <= 2 => format!("unknown key; did you mean \"{full}\"?"),
            _ => unknown("key", name, self.sections.iter().copied()),
        }
    }
}

/// Sections that hold other sections, behind all others.
const FOLDERS: [&str; 3] = ["provider", "streams", "channels"];
/// More sources than anybody has.
const MOST_PROVIDERS: usize = 64;
