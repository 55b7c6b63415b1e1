//! One value of a table.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::number::{AnyFloat, format_number, with_thousands};

/// One value of a table. In JSON: a string, a number, or `null`; a float that JSON has no
/// number for is `{"number": "NaN"}`, so that it never reads as text.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Text.
    Text(String),
    /// A count.
    Integer(i64),
    /// A measured value.
    Number(f64),
}

impl Cell {
    /// The value as a float, if it is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Cell::Integer(value) => Some(*value as f64),
            Cell::Number(value) => Some(*value),
            Cell::Empty | Cell::Text(_) => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Empty => f.pad(""),
            Cell::Text(text) => f.pad(text),
            Cell::Integer(value) => f.pad(&with_thousands(*value)),
            Cell::Number(value) => f.pad(&format_number(*value)),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Cell::Number(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Cell::Integer(value)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Cell::Number(value as f64), Cell::Integer)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Cell::from(value as u64)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Empty, Into::into)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Empty => serializer.serialize_unit(),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Integer(value) => serializer.serialize_i64(*value),
            Cell::Number(value) => match AnyFloat::word(*value) {
                None => serializer.serialize_f64(*value),
                Some(word) => {
                    let mut map = serializer.serialize_map(Some(1))?;
                    map.serialize_entry("number", word)?;
                    map.end()
                }
            },
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Cell;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, null or {\"number\": \"NaN\"}")
            }
            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Empty)
            }
            fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
                Ok(Cell::Text(text.to_owned()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::Integer(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
                Ok(Cell::from(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::Number(value))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
                match map.next_entry::<String, AnyFloat>()? {
                    Some((key, value)) if key == "number" => Ok(Cell::Number(value.0)),
                    _ => Err(de::Error::custom("a cell that is a map has the one key `number`")),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_survive_json() {
        let cells = [
            Cell::Empty,
            Cell::from("NaN"),
            Cell::from(3_i64),
            Cell::from(3.0),
            Cell::from(0.1),
            Cell::Number(f64::INFINITY),
        ];
        for cell in cells {
            let json = serde_json::to_string(&cell).expect("a cell is JSON");
            assert_eq!(serde_json::from_str::<Cell>(&json).expect("its own JSON"), cell, "{json}");
        }
        let nan = serde_json::to_string(&Cell::Number(f64::NAN)).expect("a cell is JSON");
        assert_eq!(nan, r#"{"number":"NaN"}"#);
        let back: Cell = serde_json::from_str(&nan).expect("its own JSON");
        assert!(back.as_f64().is_some_and(f64::is_nan));
        assert!(serde_json::from_str::<Cell>(r#"{"value": 1}"#).is_err());
    }
}
