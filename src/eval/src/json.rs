//! JSON as Python writes and reads it: lists of records, of which some fields matter.
//!
//! Every error names the record and the field. The depth is bounded by `serde_json` (128 levels), and fields that do not
//! matter are passed over without recursion.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Id;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Object,
}

impl Value {
    /// A finite number; Python's `True` is 1. With `texts`, numpy's reading of texts holds: `"1.5"` is a number.
    pub(crate) fn number(&self, texts: bool) -> Result<f64, String> {
        let value = match self {
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::Integer(value) => *value as f64,
            Value::Float(value) => *value,
            Value::Text(text) => match text.trim().parse::<f64>() {
                Ok(value) if texts || !value.is_finite() => value,
                _ => return Err(format!("is the text {text:?}, not a number")),
            },
            other => return Err(format!("is {other}, not a number")),
        };
        if value.is_finite() { Ok(value) } else { Err(format!("is {value}, not a finite number")) }
    }

    /// x, y, width, height.
    pub(crate) fn numbers4(&self, texts: bool) -> Result<[f64; 4], String> {
        let Value::List(list) = self else { return Err(format!("is {self}, not [x, y, width, height]")) };
        let numbers = list
            .iter()
            .enumerate()
            .map(|(place, value)| value.number(texts).map_err(|problem| format!("[{place}] {problem}")));
        let numbers = numbers.collect::<Result<Vec<f64>, String>>()?;
        let wrong = |numbers: Vec<f64>| format!("has {} numbers, not x, y, width, height", numbers.len());
        numbers.try_into().map_err(wrong)
    }

    /// What Python would look up in a dictionary.
    pub(crate) fn id(&self) -> Result<Id, String> {
        match self {
            Value::Bool(value) => Ok(Id::from(i64::from(*value))),
            Value::Integer(whole) => Ok(Id::Number { whole: *whole, fraction: 0 }),
            Value::Float(value) => {
                Id::from_f64(*value).ok_or_else(|| format!("is {value:?}, which is no id"))
            }
            Value::Text(text) => Ok(Id::Text(text.clone())),
            other => Err(format!("is {other}, which is no id")),
        }
    }
}

/// What kind of value it is.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(list) => write!(f, "a list of {}", list.len()),
            Value::Object => f.write_str("an object"),
        }
    }
}

struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(ValueSeed)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}

/// The fields of one record in the order in which they were asked for. Of a field that occurs twice Python takes the last.
pub(crate) type Fields<const N: usize> = [Option<Value>; N];

struct RecordSeed<const N: usize> {
    names: [&'static str; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for RecordSeed<N> {
    type Value = Fields<N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<N>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for RecordSeed<N> {
    type Value = Fields<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.names.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<N>, A::Error> {
        let mut fields = std::array::from_fn(|_| None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let place = self.names.iter().position(|name| *name == key);
            match place.and_then(|place| Some((fields.get_mut(place)?, self.names.get(place)?))) {
                Some((field, name)) => {
                    let value = map.next_value_seed(ValueSeed);
                    *field = Some(value.map_err(|error| A::Error::custom(format!("{name}: {error}")))?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// A list of records, each turned into a `T` as soon as it is read. What `convert` refuses is reported with the list's
/// name and the record's position.
pub(crate) struct Records<const N: usize, F> {
    /// What the list is called; empty if it is the whole file.
    pub(crate) list: &'static str,
    pub(crate) names: [&'static str; N],
    /// Records at most.
    pub(crate) limit: usize,
    pub(crate) convert: F,
}

impl<'de, const N: usize, T, F: FnMut(Fields<N>) -> Result<T, String>> DeserializeSeed<'de>
    for Records<N, F>
{
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        let list = self.list;
        let named =
            |error| if list.is_empty() { error } else { D::Error::custom(format!("{list}: {error}")) };
        deserializer.deserialize_seq(self).map_err(|error| {
            // An error of a record names the list already.
            if error.to_string().starts_with(list) { error } else { named(error) }
        })
    }
}

impl<'de, const N: usize, T, F: FnMut(Fields<N>) -> Result<T, String>> Visitor<'de> for Records<N, F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut records = Vec::new();
        loop {
            let wrong = |problem: &dyn fmt::Display| {
                A::Error::custom(format!("{}[{}]: {problem}", self.list, records.len()))
            };
            let seed = RecordSeed { names: self.names };
            let Some(fields) = seq.next_element_seed(seed).map_err(|error| wrong(&error))? else { break };
            if records.len() >= self.limit {
                return Err(wrong(&format_args!("more than {} records", self.limit)));
            }
            let record = (self.convert)(fields).map_err(|problem| wrong(&problem))?;
            records.push(record);
        }
        Ok(records)
    }
}

/// Puts the three words that Python writes and JSON does not know into quotation marks: `NaN`, `Infinity`, `-Infinity`.
/// A field that matters is then refused by name, and one that does not is passed over.
pub(crate) fn quote_constants(text: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(place) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(place);
        quoted.push_str(before);
        let taken = match WORDS.iter().find(|word| from.starts_with(**word)) {
            Some(word) => {
                quoted.extend(["\"", word, "\""]);
                word.len()
            }
            None if from.starts_with('"') => {
                let end = string_end(from);
                quoted.push_str(from.get(..end).unwrap_or_default());
                end
            }
            None => {
                quoted.push_str(from.get(..1).unwrap_or_default());
                1
            }
        };
        rest = from.get(taken..).unwrap_or_default();
    }
    quoted.push_str(rest);
    Cow::Owned(quoted)
}

/// Bytes of the string that `text` begins with, both quotation marks included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Result<Vec<Value>, String> {
        let take = |[a]: Fields<1>| a.ok_or("a: is missing".to_string());
        let seed = Records { list: "things", names: ["a"], limit: 3, convert: take };
        let text = quote_constants(text);
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        seed.deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_found_and_the_rest_passed_over() {
        let found =
            records(r#"[{"b": [{}], "\u0061": 1, "c": NaN}, {"a": [1.5, "x", null, true]}]"#).unwrap();
        let list = [Value::Float(1.5), Value::Text("x".into()), Value::Null, Value::Bool(true)];
        assert_eq!(found, [Value::Integer(1), Value::List(list.into())]);
        let last = records(r#"[{"a": 1, "a": 2}]"#).unwrap();
        assert_eq!(last, [Value::Integer(2)]);
    }

    #[test]
    fn errors_name_record_and_field() {
        for (text, words) in [
            (r#"[{"a": 1}, {}]"#, "things[1]: a: is missing at line 1"),
            (r#"[{"a": 1}, {"a": 1e999}]"#, "things[1]: a: number out of range at line 1"),
            (r#"[{"a": 1}, 7]"#, "things[1]: invalid type: integer `7`"),
            (r#"[{"a": 1}, {"a": [1"#, "things[1]: a: EOF"),
            (r#"{"a": 1}"#, "things: invalid type: map, expected a list of records"),
            (r#"[{"a":1},{"a":1},{"a":1},{"a":1}]"#, "things[3]: more than 3 records"),
        ] {
            let error = records(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert_eq!(error.matches("things").count(), 1, "{error}");
        }
    }

    #[test]
    fn depth_is_bounded_and_what_does_not_matter_may_be_deep() {
        let deep = "[".repeat(100_000);
        assert!(records(&format!(r#"[{{"a": {deep}"#)).unwrap_err().contains("recursion limit"));
        let closed = deep.clone() + &"]".repeat(100_000);
        assert_eq!(records(&format!(r#"[{{"b": {closed}, "a": 1}}]"#)).unwrap(), [Value::Integer(1)]);
    }

    #[test]
    fn constants_of_python_become_texts_outside_of_texts() {
        let text = r#"{"NaN": "\"NaN\\", "a": NaN, "b": [-Infinity,Infinity, -1], "c": "Infinity"}"#;
        let quoted = r#"{"NaN": "\"NaN\\", "a": "NaN", "b": ["-Infinity","Infinity", -1], "c": "Infinity"}"#;
        assert_eq!(quote_constants(text), quoted);
        assert_eq!(quote_constants("\"NaN"), "\"NaN");
        let number = |text: &str| Value::Text(text.to_string()).number(false).unwrap_err();
        assert_eq!(number("NaN"), "is NaN, not a finite number");
        assert_eq!(number("Infinity"), "is inf, not a finite number");
        assert_eq!(number("7"), "is the text \"7\", not a number");
    }
}
