//! The table of keys. A row says all about one key: how it is read, its default, its range, what a change of it needs;
//! its doc comment explains it to the operator. The fields of the valid configuration, `check`, the shipped file, the
//! manual page and the documentation come from it.

use super::entry::{Effect, Entry, LATER, Table, is_later};
use super::fault;
use super::kind::{At, Kind};
use super::read::{self, Wrong};
use super::reader::{Broken, Reader};
use super::value::{self, Item, Value, bare_or_quoted};

pub(crate) type Built<T> = Result<T, Broken>;

/// A key: how it is read, and its default in the form of an environment variable (TOML, else a text).
pub(crate) struct Row<K> {
    kind: K,
    default: &'static str,
    development: Option<&'static str>,
    test: Option<&'static str>,
    effect: Effect,
}

pub(crate) fn row<K: Kind>(kind: K, default: &'static str) -> Row<K> {
    Row { kind, default, development: None, test: None, effect: Effect::Live }
}

impl<K: Kind> Row<K> {
    /// A change needs new workers.
    pub(crate) fn workers(self) -> Self {
        Self { effect: Effect::Workers, ..self }
    }

    /// A change needs a restart.
    pub(crate) fn restart(self) -> Self {
        Self { effect: Effect::Restart, ..self }
    }

    /// Another default in development.
    pub(crate) fn development(self, default: &'static str) -> Self {
        Self { development: Some(default), ..self }
    }

    /// Another default in test.
    pub(crate) fn test(self, default: &'static str) -> Self {
        Self { test: Some(default), ..self }
    }

    pub(crate) fn entry(&self, name: &'static str, text: &'static [&'static str]) -> Entry {
        let Self { kind, default, development, test, effect } = self;
        let takes = kind.takes();
        Entry { name, text, takes, default, development: *development, test: *test, effect: *effect }
    }
}

/// Keys that belong together, made by [`section`].
pub(crate) trait Section: Sized {
    const TEXT: &'static [&'static str];

    fn entries() -> Vec<Entry>;

    /// The section without its type.
    fn table(name: &'static str) -> Table {
        Table { name, text: Self::TEXT, entries: Self::entries() }
    }

    fn read(keys: &mut impl Keys) -> Built<Self>;
}

/// Source of the values of a section.
pub(crate) trait Keys {
    fn key<K: Kind>(&mut self, name: &'static str, row: &Row<K>) -> Built<K::Value>;
}

/// A section of the layers.
pub(crate) struct Layered<'r, 'a> {
    pub(crate) reader: &'r mut Reader<'a>,
    pub(crate) section: String,
}

impl Keys for Layered<'_, '_> {
    fn key<K: Kind>(&mut self, name: &'static str, row: &Row<K>) -> Built<K::Value> {
        self.reader.get(&format!("{}.{name}", self.section), &row.kind)
    }
}

/// A section of a list, `[[channels]]`.
struct Listed<'l, 'a> {
    entries: &'l [(String, Item)],
    at: &'l mut At<'a>,
    wrong: Wrong,
    /// The first key that stands there not, and has no default.
    missing: &'static str,
}

impl Keys for Listed<'_, '_> {
    fn key<K: Kind>(&mut self, name: &'static str, row: &Row<K>) -> Built<K::Value> {
        if let Some((_, item)) = self.entries.iter().find(|(key, _)| key == name) {
            match row.kind.read(item, self.at) {
                Ok(value) => return Ok(value),
                Err(wrong) => self.wrong.extend(wrong.into_iter().map(|(l, t)| (l, format!("{name}: {t}")))),
            }
        }
        row.kind.read(&value::lenient(row.default), self.at).map_err(|_| {
            if self.missing.is_empty() {
                self.missing = name;
            }
            Broken
        })
    }
}

/// Reads one section of a list, which is a `what`, and nothing else in it.
pub(crate) fn listed<S: Section>(
    what: &str,
    item: &Item,
    entries: &[(String, Item)],
    at: &mut At<'_>,
) -> Result<S, Wrong> {
    let mut keys = Listed { entries, at, wrong: vec![], missing: "" };
    let section = S::read(&mut keys);
    let Listed { mut wrong, missing, .. } = keys;
    let known = S::entries();
    let known = || known.iter().map(|entry| entry.name);
    for (key, item) in entries.iter().filter(|(key, _)| known().all(|name| name != key)) {
        let later = is_later(&format!("{what}s.{key}"));
        let why = if later { LATER.to_owned() } else { fault::unknown("key", key, known()) };
        wrong.push((item.key_line, format!("{}: {why}", bare_or_quoted(key))));
    }
    match section {
        Ok(section) if wrong.is_empty() => Ok(section),
        Err(Broken) if wrong.is_empty() => Err(read::wrong(item, format!("a {what} without a {missing}"))),
        _ => Err(wrong),
    }
}

/// Reads a list of sections, `[[name]]`, no two of which have the same name.
pub(crate) fn tables<T>(
    item: &Item,
    section: &str,
    name: impl Fn(&T) -> &str,
    mut read: impl FnMut(&Item, &[(String, Item)]) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    if !matches!(item.value, Value::List(_)) {
        return Err(read::wrong(item, format!("must be a list of sections, [[{section}]]")));
    }
    let all = read::list(item, |item| match &item.value {
        Value::Table(entries) => read(item, entries),
        _ => Err(read::must_be(item, &format!("a section, [[{section}]]"))),
    })?;
    let twice = all.iter().enumerate().find(|(i, one)| all.iter().take(*i).any(|two| name(one) == name(two)));
    match twice {
        Some((_, one)) => Err(vec![(item.key_line, format!("name \"{}\" stands twice", name(one)))]),
        None => Ok(all),
    }
}

/// The name of a key: of its field, or the one behind `as`.
macro_rules! key_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// A section: a struct of which each field is a row, `field: Type = row(...)`, or `field as "key": Type = row(...)`.
macro_rules! section {
    (
        $(#[doc = $text:literal])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])* $field:ident $(as $key:literal)?: $type:ty = $row:expr,)*
        }
    ) => {
        $(#[doc = $text])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($(#[doc = $doc])* $(#[serde(rename = $key)])? pub $field: $type,)*
        }

        impl $crate::config::table::Section for $name {
            const TEXT: &'static [&'static str] = &[$($text),*];

            fn entries() -> Vec<$crate::config::entry::Entry> {
                vec![$($row.entry($crate::config::table::key_name!($field $($key)?), &[$($doc),*]),)*]
            }

            fn read(keys: &mut impl $crate::config::table::Keys) -> $crate::config::table::Built<Self> {
                // Each key is read before the first fault ends the section: all faults are told.
                $(let $field = keys.key($crate::config::table::key_name!($field $($key)?), &$row);)*
                Ok(Self { $($field: $field?,)* })
            }
        }
    };
}

/// The kinds of `[provider.NAME]`: an enum of which each variant is a section. Behind the `;` are those that share the
/// rows of `Exchange`, with the defaults that differ.
macro_rules! kinds {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident {
            $(
                $(#[doc = $text:literal])*
                $word:literal $variant:ident {
                    $($(#[doc = $doc:literal])* $field:ident $(as $key:literal)?: $type:ty = $row:expr,)*
                }
            )*
            ;
            $(
                $(#[doc = $exchange_text:literal])*
                $exchange_word:literal $exchange:ident [$($default:expr),*]
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum $name {
            $($(#[doc = $text])* $variant {
                $($(#[doc = $doc])* $(#[serde(rename = $key)])? $field: $type,)*
            },)*
            $($(#[doc = $exchange_text])* $exchange(Exchange),)*
        }

        impl $name {
            /// All kinds; the name of a table is the word for the kind.
            pub(crate) fn tables() -> Vec<Table> {
                vec![
                    $(Table {
                        name: $exchange_word,
                        text: &[$($exchange_text),*],
                        entries: exchange_entries(&[$($default),*]),
                    },)*
                    $(Table {
                        name: $word,
                        text: &[$($text),*],
                        entries: vec![$($row.entry($crate::config::table::key_name!($field $($key)?), &[$($doc),*]),)*],
                    },)*
                ]
            }

            /// Reads a source of the kind that `word` names.
            pub(crate) fn read(word: &str, keys: &mut impl Keys) -> Built<Self> {
                match word {
                    $($word => Ok(Self::$variant { $($field: keys.key($crate::config::table::key_name!($field $($key)?), &$row)?,)* }),)*
                    $($exchange_word => Ok(Self::$exchange(Exchange::read(keys)?)),)*
                    _ => Err($crate::config::reader::Broken),
                }
            }
        }
    };
}

pub(crate) use {key_name, kinds, section};
