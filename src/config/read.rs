//! Reads single values, and words what is wrong with them.

use super::value::{Item, Value, quoted};
use crate::model::Symbol;
use std::path::{Path, PathBuf};

/// Complaints about a value, each with its line.
pub(crate) type Wrong = Vec<(u32, String)>;

/// `"a", "b" or "c"`.
pub(crate) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(quoted).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A single complaint about a value.
pub(crate) fn wrong(item: &Item, text: impl Into<String>) -> Wrong {
    vec![(item.line, text.into())]
}

/// `must be WHAT, not VALUE`.
pub(crate) fn must_be(item: &Item, what: &str) -> Wrong {
    let shown = item.value.to_string();
    let short: String = shown.chars().take(60).collect();
    let dots = if short.len() < shown.len() { "..." } else { "" };
    wrong(item, format!("must be {what}, not {short}{dots}"))
}

/// The model's errors begin with these words already.
pub(crate) fn after_must_be(text: &str) -> &str {
    text.strip_prefix("must be ").unwrap_or(text)
}

pub(crate) fn text(item: &Item) -> Result<&str, Wrong> {
    item.as_text().ok_or_else(|| must_be(item, "a text"))
}

/// A whole path; a relative one counts from `base`. An empty text is none.
pub(crate) fn place(item: &Item, base: &Path) -> Result<Option<PathBuf>, Wrong> {
    let text = text(item)?;
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('\0') {
        return Err(wrong(item, "must not hold a NUL"));
    }
    let path = std::path::absolute(base.join(text));
    path.map(Some).map_err(|error| wrong(item, format!("no such place: {error}")))
}

pub(crate) fn whole(item: &Item) -> Result<i128, Wrong> {
    match item.value {
        Value::Whole(number) => Ok(number),
        _ => Err(must_be(item, "a whole number")),
    }
}

pub(crate) fn symbol(item: &Item) -> Result<Symbol, Wrong> {
    Symbol::new(text(item)?).map_err(|error| must_be(item, after_must_be(&error.to_string())))
}

/// A list; a value alone stands for a list of one. All faulty elements are told.
pub(crate) fn list<T>(item: &Item, mut read: impl FnMut(&Item) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let Value::List(items) = &item.value else {
        return read(item).map(|one| vec![one]);
    };
    const MOST: usize = 1000;
    if items.len() > MOST {
        return Err(wrong(item, format!("must have at most {MOST} entries")));
    }
    let (mut good, mut bad) = (vec![], vec![]);
    for item in items {
        match read(item) {
            Ok(value) => good.push(value),
            Err(wrong) => bad.extend(wrong),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

/// A [`list`] in which nothing stands twice.
pub(crate) fn distinct<T: PartialEq>(
    item: &Item,
    read: impl FnMut(&Item) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let all = list(item, read)?;
    match (1..all.len()).find(|i| all[..*i].contains(&all[*i])) {
        Some(i) => {
            let at = match &item.value {
                Value::List(items) => items.get(i).unwrap_or(item),
                _ => item,
            };
            Err(wrong(at, format!("{} stands twice", at.value)))
        }
        None => Ok(all),
    }
}
