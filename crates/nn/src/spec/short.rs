//! Short forms of configuration: `dense: 10` for `dense: {units: 10}`, `adam` for `{adam: {}}`.
//!
//! Derived code reads the long form; a [`Short`] type adds what a bare number, word or list
//! means. Hand-written rather than untagged, so that errors keep their place.

use std::fmt;
use std::marker::PhantomData;

use schemars::{Schema, json_schema};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::json;

/// A type with a long form, which is a map, and short forms.
pub trait Short<'de>: Sized {
    /// What may be written, for error messages.
    const EXPECTING: &'static str;

    /// Reads the long form.
    ///
    /// # Errors
    /// If it is not that.
    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// What a bare number means.
    ///
    /// # Errors
    /// If it means nothing.
    fn from_number(number: f64) -> Result<Self, String> {
        Err(format!("`{number}` is not {}", Self::EXPECTING))
    }

    /// What a bare word means. Unless said otherwise: the variant of that name.
    ///
    /// # Errors
    /// If it means nothing.
    fn from_text<E: de::Error>(text: &str) -> Result<Self, E> {
        Self::long(Named::new(text))
    }

    /// What a list of numbers means.
    ///
    /// # Errors
    /// If it means nothing.
    fn from_numbers(_numbers: &[f64]) -> Result<Self, String> {
        Err(format!("a list is not {}", Self::EXPECTING))
    }
}

/// Reads a [`Short`] type in any of its forms.
///
/// # Errors
/// If the input is none of them.
pub fn read<'de, T: Short<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(ShortVisitor(PhantomData))
}

/// `number` as a whole number.
///
/// # Errors
/// If it is negative, has a fraction, or is too large.
pub fn whole(number: f64) -> Result<usize, String> {
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        Ok(number as usize)
    } else {
        Err(format!("`{number}` is not a whole number"))
    }
}

/// The schema of an enum that is written as a word or as `{name: settings}`: the bare `words`, and
/// for each name with settings its description and schema.
///
/// Each name is an alternative of its own, as derived schemas have it: so a check can tell which
/// one was meant, and what is wrong with its settings.
pub fn named_schema(
    description: &str,
    words: &[&str],
    settings: Vec<(&str, &str, Schema)>,
) -> Schema {
    let mut alternatives = vec![json!({"type": "string", "enum": words})];
    for (name, description, mut schema) in settings {
        schema.insert("description".to_owned(), description.into());
        alternatives.push(json!({
            "type": "object",
            "properties": {name: schema},
            "required": [name],
            "additionalProperties": false
        }));
    }
    json_schema!({"description": description, "anyOf": alternatives})
}

/// The schema of a value with a short form.
pub fn short_schema(short: serde_json::Value, long: Schema) -> Schema {
    json_schema!({"anyOf": [short, long]})
}

/// Reads by short and long form, writes by the derived long form: for types with
/// `#[serde(remote = "Self")]`.
macro_rules! short_and_long {
    ($($name:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::spec::short::read(deserializer)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // The inherent function that `remote = "Self"` derives.
                <$name>::serialize(self, serializer)
            }
        }
    )*};
}
pub(crate) use short_and_long;

struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: Short<'de>> Visitor<'de> for ShortVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTING)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number as f64).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::from_number(number as f64).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        T::from_number(number).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element::<f64>()? {
            numbers.push(number);
        }
        T::from_numbers(&numbers).map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::long(MapAccessDeserializer::new(map))
    }
}

/// The variant of an enum called `name`, with no settings: what a bare word stands for.
pub struct Named<'a, E> {
    name: &'a str,
    error: PhantomData<E>,
}

impl<'a, E> Named<'a, E> {
    /// The variant called `name`.
    pub const fn new(name: &'a str) -> Self {
        Self { name, error: PhantomData }
    }
}

impl<'de, E: de::Error> Deserializer<'de> for Named<'_, E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_str(self.name)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

impl<'de, E: de::Error> EnumAccess<'de> for Named<'_, E> {
    type Error = E;
    type Variant = NoSettings<E>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, NoSettings<E>), E> {
        let name = seed.deserialize(de::value::StrDeserializer::new(self.name))?;
        Ok((name, NoSettings(PhantomData)))
    }
}

/// The settings of a variant of which only the name is written.
pub struct NoSettings<E>(PhantomData<E>);

impl<E: de::Error> NoSettings<E> {
    fn empty<'de>() -> MapDeserializer<'de, std::iter::Empty<(&'static str, &'static str)>, E> {
        MapDeserializer::new(std::iter::empty())
    }
}

impl<'de, E: de::Error> VariantAccess<'de> for NoSettings<E> {
    type Error = E;

    fn unit_variant(self) -> Result<(), E> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, E> {
        seed.deserialize(Self::empty())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, E> {
        visitor.visit_map(Self::empty())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_map(Self::empty())
    }
}
