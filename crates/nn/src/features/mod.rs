//! Which columns a network reads, and as what.

mod resolve;

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use wick_stage::{Column, ColumnType};

use crate::spec::SampleShape;
use crate::spec::short::{Short, short_and_long};

pub use resolve::{missing_column, missing_name, resolve};

/// `features:` of a `train` stage: names, or names with what they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Features {
    /// `[age, fare]`: the data says what they are.
    Names(Vec<String>),
    /// `{image: {type: image, shape: [28, 28, 1], scale: 255}, age: number}`.
    Typed(IndexMap<String, FeatureSpec>),
}

/// What a column is to the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct FeatureSpec {
    /// What the column holds.
    #[serde(rename = "type")]
    pub feature_type: FeatureType,
    /// Of an image: rows, columns, channels. Taken from the data if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 3))]
    pub shape: Option<Vec<usize>>,
    /// What every value is divided by. 255 for an image unless said otherwise, 1 for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    /// One number, or true and false.
    Number,
    /// A fixed-size list of numbers.
    Vector,
    /// An image as a block of bytes.
    Image,
}

impl FeatureType {
    const fn as_str(self) -> &'static str {
        match self {
            FeatureType::Number => "number",
            FeatureType::Vector => "vector",
            FeatureType::Image => "image",
        }
    }
}

/// A column that a network reads, all things known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// The column.
    pub column: String,
    /// What it is.
    pub form: FeatureForm,
    /// What every value is divided by.
    pub scale: f64,
}

/// What a column is to a network, all things known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureForm {
    /// One number.
    Number,
    /// A list of numbers.
    Vector {
        /// How many.
        width: usize,
    },
    /// An image of bytes, row by row, the channels of a place together.
    Image {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Values at each place.
        channels: usize,
    },
}

impl Feature {
    /// As a column of a table, for facts of a model.
    pub fn to_column(&self) -> Column {
        let column_type = match self.form {
            FeatureForm::Number => ColumnType::Float,
            FeatureForm::Vector { width } => ColumnType::Vector { width },
            FeatureForm::Image { height, width, channels } => {
                ColumnType::Bytes { shape: vec![height, width, channels] }
            }
        };
        Column { name: self.column.clone(), column_type }
    }
}

/// The shape of a sample with `features`: one image, or all numbers side by side.
pub fn sample_shape(features: &[Feature]) -> SampleShape {
    if let [Feature { form: FeatureForm::Image { height, width, channels }, .. }] = features {
        return SampleShape::Image { height: *height, width: *width, channels: *channels };
    }
    let width = features
        .iter()
        .map(|feature| match feature.form {
            FeatureForm::Number => 1,
            FeatureForm::Vector { width } => width,
            FeatureForm::Image { height, width, channels } => height * width * channels,
        })
        .sum();
    SampleShape::Flat { width }
}

impl<'de> Short<'de> for FeatureSpec {
    const EXPECTING: &'static str = "`number`, `vector`, or `{type: image, shape: [28, 28, 1]}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_text<E: de::Error>(text: &str) -> Result<Self, E> {
        let feature_type = FeatureType::deserialize(de::value::StrDeserializer::new(text))?;
        Ok(Self { feature_type, shape: None, scale: None })
    }
}

short_and_long!(FeatureSpec);

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FeaturesVisitor;
        impl<'de> Visitor<'de> for FeaturesVisitor {
            type Value = Features;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of columns, or a map of columns and what they are")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Features, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Features::Names)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Features, A::Error> {
                IndexMap::deserialize(MapAccessDeserializer::new(map)).map(Features::Typed)
            }
        }
        deserializer.deserialize_any(FeaturesVisitor)
    }
}

impl JsonSchema for Features {
    fn schema_name() -> Cow<'static, str> {
        "Features".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let feature_type = generator.subschema_for::<FeatureType>();
        let spec = generator.subschema_for::<FeatureSpec>();
        json_schema!({"anyOf": [
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"anyOf": [feature_type, spec]}
            }
        ]})
    }
}
