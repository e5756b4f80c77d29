//! A file as written: values with their lines. Numbers keep their digits, so that a price never goes through a float.

use std::fmt;
use toml::de::{DeTable, DeValue};

/// A TOML value, owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    /// Any whole number that TOML can say; `i128` holds every `u64` as well.
    Whole(i128),
    /// The digits as written.
    Real(String),
    Flag(bool),
    /// A date or a time, which no key wants.
    Moment(String),
    List(Vec<Item>),
    Table(Vec<(String, Item)>),
}

impl Value {
    /// Tells whether a key is set: a value other than a table, or one inside a table.
    pub(crate) fn is_set(&self) -> bool {
        match self {
            Self::Table(entries) => entries.iter().any(|(_, item)| item.value.is_set()),
            _ => true,
        }
    }
}

/// A value and the line where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) value: Value,
    /// Line number, from 1.
    pub(crate) line: u32,
    /// Line of its key; the same as `line` where there is none.
    pub(crate) key_line: u32,
}

impl Item {
    /// A text that stands in no file.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { value: Value::Text(text.into()), line: 0, key_line: 0 }
    }

    /// The text, where it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A syntax error: its line and what is wrong.
pub(crate) type Syntax = (u32, String);

/// Most errors of one file that are told: after some, they are only echoes of the first.
const MOST_ERRORS: usize = 8;

/// Reads a whole document.
pub(crate) fn document(text: &str) -> Result<Vec<(String, Item)>, Vec<Syntax>> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax(text, &lines, &errors));
    }
    let mut wrong = vec![];
    let table = convert_table(&lines, table.get_ref(), &mut wrong);
    if wrong.is_empty() { Ok(table) } else { Err(wrong) }
}

/// Reads one value as TOML, as a text where it is none: how environment variables are read.
pub(crate) fn lenient(text: &str) -> Item {
    let (parsed, errors) = DeValue::parse_recoverable(text);
    let mut wrong = vec![];
    let value = convert(&Lines::of(""), parsed.get_ref(), &mut wrong);
    match value {
        Some(value) if errors.is_empty() && wrong.is_empty() => Item { value, line: 0, key_line: 0 },
        _ => Item::text(text),
    }
}

fn syntax(text: &str, lines: &Lines, errors: &[toml::de::Error]) -> Vec<Syntax> {
    let mut all: Vec<Syntax> = errors
        .iter()
        .map(|error| {
            let line = error.span().map_or(1, |span| lines.line(span.start));
            let message = error.message().replace('\n', " ");
            match error.span().and_then(|span| text.get(span)) {
                // Only here does the text itself say more than the line does.
                Some(key) if message == "duplicate key" => (line, format!("duplicate key {}", quoted(key))),
                _ => (line, message),
            }
        })
        .collect();
    all.sort();
    // Later errors of the same line are mostly echoes of the first.
    all.dedup_by_key(|(line, _)| *line);
    all.truncate(MOST_ERRORS);
    all
}

fn convert_table(lines: &Lines, table: &DeTable<'_>, wrong: &mut Vec<Syntax>) -> Vec<(String, Item)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut out = vec![];
    for (key, value) in entries {
        let (line, key_line) = (lines.line(value.span().start), lines.line(key.span().start));
        if let Some(value) = convert(lines, value.get_ref(), wrong) {
            // The span of a table that has a header is the header's, that of `a.b = 1` the value's.
            out.push((key.get_ref().to_string(), Item { value, line, key_line }));
        } else {
            wrong.push((line, format!("{}: a number that is too large", key.get_ref())));
        }
    }
    out
}

fn convert(lines: &Lines, value: &DeValue<'_>, wrong: &mut Vec<Syntax>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Whole(i128::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Value::Real(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(list) => {
            let mut items = vec![];
            for element in list.iter() {
                let line = lines.line(element.span().start);
                let value = convert(lines, element.get_ref(), wrong)?;
                items.push(Item { value, line, key_line: line });
            }
            Value::List(items)
        }
        DeValue::Table(table) => Value::Table(convert_table(lines, table, wrong)),
    })
}

/// Offsets of the line ends.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn line(&self, at: usize) -> u32 {
        u32::try_from(self.0.partition_point(|newline| *newline < at)).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// As TOML, in one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Whole(number) => number.fmt(f),
            Self::Real(digits) | Self::Moment(digits) => f.write_str(digits),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { ", " } else { "" }, item.value)?;
                }
                f.write_str("]")
            }
            Self::Table(entries) if entries.is_empty() => f.write_str("{}"),
            Self::Table(entries) => {
                for (i, (key, item)) in entries.iter().enumerate() {
                    let start = if i > 0 { ", " } else { "{ " };
                    write!(f, "{start}{} = {}", bare_or_quoted(key), item.value)?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// A text between quotes, in one line, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Tells whether a key needs no quotes.
pub(crate) fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A key as it stands in a file.
pub(crate) fn bare_or_quoted(key: &str) -> String {
    if is_bare(key) { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let text =
            "# first\n[http]\nlisten = [\n  \"a\",\n  \"b\",\n]\nws.x = 1\n[[channels]]\nname = \"n\"\n";
        let document = document(text).unwrap();
        assert_eq!(document[0].0, "http");
        assert_eq!(document[0].1.key_line, 2);
        let Value::Table(http) = &document[0].1.value else { panic!() };
        assert_eq!((http[0].1.key_line, http[0].1.line), (3, 3));
        let Value::List(list) = &http[0].1.value else { panic!() };
        assert_eq!(list.iter().map(|item| item.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(http[1].1.key_line, 7);
        assert_eq!(document[1].1.key_line, 8);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = "a = 18_446_744_073_709_551_615\nb = -5\nc = 64250.10\nd = 0xff\ne = +7\n";
        let shown: Vec<_> = document(text).unwrap().iter().map(|(_, item)| item.value.to_string()).collect();
        assert_eq!(shown, ["18446744073709551615", "-5", "64250.10", "255", "7"]);
    }

    #[test]
    fn an_environment_variable_is_toml_or_text() {
        for (text, shown) in [
            ("5", "5"),
            ("5s", "\"5s\""),
            ("true", "true"),
            ("[\"a\", 1]", "[\"a\", 1]"),
            ("\"quoted\"", "\"quoted\""),
            ("127.0.0.1:0", "\"127.0.0.1:0\""),
            ("", "\"\""),
            ("a = 1", "\"a = 1\""),
            ("{ \"BTC-USD\" = \"BTC-USDT\" }", "{ BTC-USD = \"BTC-USDT\" }"),
        ] {
            assert_eq!(lenient(text).value.to_string(), shown);
        }
    }

    #[test]
    fn syntax_errors_have_lines() {
        for (text, line) in [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[x\n", 1), ("x = \"open\n", 1)] {
            assert_eq!(document(text).unwrap_err()[0].0, line, "{text}");
        }
        assert!(document(&format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
        assert!(document(&format!("a = {}", "9".repeat(60))).is_err());
        assert_eq!(document("\u{feff}a = 1\n").unwrap()[0].0, "a");
    }
}
