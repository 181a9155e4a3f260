//! What COCO's records are known by.

use std::fmt;

use serde::{Serialize, Serializer};

/// The id of an image, a category or an annotation. COCO's are whole numbers; pycocotools takes whatever Python can look
/// up in a dictionary, so 1, 1.0 and `true` are one id there, and `"1"` is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// In the order of their values.
    Number {
        /// Rounded down.
        whole: i128,
        /// The bits of the f64 that is left, in 0..1.
        fraction: u64,
    },
    /// Behind all numbers.
    Text(String),
}

impl Id {
    /// Of a finite number that is not too large to be exact.
    pub(crate) fn from_f64(value: f64) -> Option<Id> {
        // 2^96 is far below what an i128 holds.
        let usable = value.is_finite() && value.abs() < 7.9e28;
        let whole = value.floor();
        usable.then(|| Id::Number { whole: whole as i128, fraction: (value - whole).to_bits() })
    }

    /// A text that says a whole number, such as `"000123"`.
    pub(crate) fn said(text: &str) -> Option<Id> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let said = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let whole = text.parse().ok().filter(|_| said)?;
        Some(Id::Number { whole, fraction: 0 })
    }

    /// The number that this is or says.
    pub(crate) fn number(&self) -> Option<Id> {
        match self {
            Id::Number { .. } => Some(self.clone()),
            Id::Text(text) => Id::said(text),
        }
    }

    /// The next whole number.
    pub(crate) fn next(&self) -> Option<Id> {
        match self {
            Id::Number { whole, .. } => Some(Id::Number { whole: whole.checked_add(1)?, fraction: 0 }),
            Id::Text(_) => None,
        }
    }
}

impl From<i64> for Id {
    fn from(whole: i64) -> Id {
        Id::Number { whole: whole.into(), fraction: 0 }
    }
}

/// Texts in backquotes.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number { whole, fraction: 0 } => write!(f, "{whole}"),
            Id::Number { whole, fraction } => write!(f, "{}", *whole as f64 + f64::from_bits(*fraction)),
            Id::Text(text) => write!(f, "`{text}`"),
        }
    }
}

/// As the file had it, but for the notation of numbers.
impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Id::Number { whole, fraction: 0 } => match (i64::try_from(*whole), u64::try_from(*whole)) {
                (Ok(whole), _) => serializer.serialize_i64(whole),
                (_, Ok(whole)) => serializer.serialize_u64(whole),
                _ => serializer.serialize_f64(*whole as f64),
            },
            Id::Number { whole, fraction } => {
                serializer.serialize_f64(*whole as f64 + f64::from_bits(*fraction))
            }
            Id::Text(text) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_one_id_in_every_notation() {
        assert_eq!(Id::from_f64(1.0), Some(Id::from(1)));
        assert_eq!(Id::from_f64(-0.0), Some(Id::from(0)));
        assert_ne!(Id::from_f64(1.5), Some(Id::from(1)));
        assert_eq!([f64::NAN, f64::INFINITY, 1e30].map(Id::from_f64), [None, None, None]);
        assert_eq!(Id::said("000123"), Some(Id::from(123)));
        assert_eq!(["", "-", "1.0", "0x1", " 1", "1e3", "a"].map(Id::said), [const { None }; 7]);
    }

    #[test]
    fn the_order_is_that_of_the_values() {
        let text = |text: &str| Id::Text(text.to_string());
        let sorted = [
            Id::from_f64(-1.5).unwrap(),
            Id::from(-1),
            Id::from(2),
            Id::from_f64(2.25).unwrap(),
            Id::from_f64(2.5).unwrap(),
            Id::from(10),
            text("10"),
            text("9"),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
    }

    #[test]
    fn an_id_is_written_as_it_was_read() {
        for (id, json) in [
            (Id::from(-3), "-3"),
            (Id::Number { whole: i128::from(u64::MAX), fraction: 0 }, "18446744073709551615"),
            (Id::from_f64(-1.5).unwrap(), "-1.5"),
            (Id::Text("a\"b".to_string()), "\"a\\\"b\""),
        ] {
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
        }
    }
}
