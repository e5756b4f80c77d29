//! JSON objects in which no key stands twice, at any depth: of two claims of one name, two readers may believe different
//! ones.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Why a text is no such object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonFault {
    /// No JSON, something behind it, or another value than an object.
    NoObject,
    /// A key stands twice.
    DoubledKey,
}

/// Reads an object and nothing else.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let doubled = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Unique(&doubled).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match read {
        Ok(Value::Object(map)) => Ok(map),
        Err(_) if doubled.get() => Err(JsonFault::DoubledKey),
        _ => Err(JsonFault::NoObject),
    }
}

/// Reads a value; notes a doubled key.
#[derive(Clone, Copy)]
struct Unique<'a>(&'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                self.0.set(true);
                return Err(A::Error::custom("a key stands twice"));
            }
            map.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_as_serde_reads_them() {
        for text in
            [r"{}", r#"{"a":1,"b":[true,null,{"a":-1.5}],"c":"\u0041"}"#, "{\"a\":18446744073709551615}"]
        {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), expected);
        }
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        for doubled in
            [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"b":[{"a":1,"a":2}]}"#, r#"{"":1,"":2}"#]
        {
            assert_eq!(object(doubled.as_bytes()), Err(JsonFault::DoubledKey), "{doubled}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{",
            "{}{}",
            "{} x",
            "{}\0",
            "{\"a\":01}",
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":1e999}",
            "{\"a\":NaN}",
            "\u{feff}{}",
            "{\"a\":\"\n\"}",
            deep.as_str(),
        ] {
            assert_eq!(object(bad.as_bytes()), Err(JsonFault::NoObject), "{bad:?}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(JsonFault::NoObject));
    }
}
