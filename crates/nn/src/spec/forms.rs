//! How layers are written: their short and long forms, and the schemas of both.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::layer::{Activation, Conv2d, Dense, Dropout, LayerSpec, Padding, Pair, Pool2d};
use super::short::{self, Short, named_schema, short_and_long, short_schema, whole};

impl<'de> Short<'de> for LayerSpec {
    const EXPECTING: &'static str = "a layer, such as `flatten` or `{dense: 10}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_text<E: serde::de::Error>(text: &str) -> Result<Self, E> {
        match Activation::ALL.into_iter().find(|activation| activation.as_str() == text) {
            Some(activation) => Ok(LayerSpec::Activation(activation)),
            None => Self::long(short::Named::new(text)),
        }
    }
}

impl<'de> Short<'de> for Dense {
    const EXPECTING: &'static str = "a number of units, or `{units: 10, activation: relu}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_number(number: f64) -> Result<Self, String> {
        Ok(Self { units: whole(number)?, activation: None })
    }
}

impl<'de> Short<'de> for Pool2d {
    const EXPECTING: &'static str = "a window, such as `2`, or `{kernel: 2, stride: 2}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_number(number: f64) -> Result<Self, String> {
        Ok(Self { kernel: Pair::square(whole(number)?), stride: None })
    }

    fn from_numbers(numbers: &[f64]) -> Result<Self, String> {
        Ok(Self { kernel: Pair::from_numbers(numbers)?, stride: None })
    }
}

impl<'de> Short<'de> for Dropout {
    const EXPECTING: &'static str = "a share between 0 and 1, or `{rate: 0.3}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_number(rate: f64) -> Result<Self, String> {
        Ok(Self { rate })
    }
}

impl<'de> Short<'de> for Pair {
    const EXPECTING: &'static str = "a whole number, or `[rows, columns]`";

    fn long<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(format!("a map is not {}", Self::EXPECTING)))
    }

    fn from_number(number: f64) -> Result<Self, String> {
        whole(number).map(Self::square)
    }

    fn from_text<E: serde::de::Error>(text: &str) -> Result<Self, E> {
        Err(E::custom(format!("`{text}` is not {}", Self::EXPECTING)))
    }

    fn from_numbers(numbers: &[f64]) -> Result<Self, String> {
        match numbers {
            [rows, columns] => Ok(Self { rows: whole(*rows)?, columns: whole(*columns)? }),
            _ => Err(format!("a list of {} is not {}", numbers.len(), Self::EXPECTING)),
        }
    }
}

impl<'de> Short<'de> for Padding {
    const EXPECTING: &'static str = "`valid`, `same`, or a number of zeros";

    fn long<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(format!("a map is not {}", Self::EXPECTING)))
    }

    fn from_number(number: f64) -> Result<Self, String> {
        whole(number).map(Padding::Zeros)
    }

    fn from_text<E: serde::de::Error>(text: &str) -> Result<Self, E> {
        match text {
            "valid" => Ok(Padding::Valid),
            "same" => Ok(Padding::Same),
            _ => Err(E::custom(format!("`{text}` is not {}", Self::EXPECTING))),
        }
    }
}
short_and_long!(LayerSpec, Dense, Pool2d, Dropout);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl Serialize for Pair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.side() {
            Some(side) => side.serialize(serializer),
            None => [self.rows, self.columns].serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Padding::Valid => "valid".serialize(serializer),
            Padding::Same => "same".serialize(serializer),
            Padding::Zeros(zeros) => zeros.serialize(serializer),
        }
    }
}

impl JsonSchema for Pair {
    fn schema_name() -> Cow<'static, str> {
        "Pair".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2}
            ]
        })
    }
}

impl JsonSchema for Padding {
    fn schema_name() -> Cow<'static, str> {
        "Padding".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "enum": ["valid", "same"]},
            {"type": "integer", "minimum": 0}
        ]})
    }
}

impl JsonSchema for LayerSpec {
    fn schema_name() -> Cow<'static, str> {
        "Layer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut words = vec!["flatten"];
        words.extend(Activation::ALL.map(Activation::as_str));
        let units = json!({"type": "integer", "minimum": 1});
        let share = json!({"type": "number", "minimum": 0, "maximum": 0.999});
        let window = generator.subschema_for::<Pair>().to_value();
        let pool = generator.subschema_for::<Pool2d>();
        let layers = vec![
            (
                "dense",
                "Every output is a weighted sum of all inputs: `dense: 10`.",
                short_schema(units, generator.subschema_for::<Dense>()),
            ),
            (
                "conv2d",
                "Convolution of an image: `conv2d: {filters: 32, kernel: 3}`.",
                generator.subschema_for::<Conv2d>(),
            ),
            (
                "max_pool2d",
                "The largest value of each window: `max_pool2d: 2`.",
                short_schema(window.clone(), pool.clone()),
            ),
            ("avg_pool2d", "The mean of each window: `avg_pool2d: 2`.", short_schema(window, pool)),
            (
                "dropout",
                "Drops this share of the values while training: `dropout: 0.3`.",
                short_schema(share, generator.subschema_for::<Dropout>()),
            ),
            (
                "activation",
                "A function of every value: `activation: relu`, or `relu` alone.",
                generator.subschema_for::<Activation>(),
            ),
        ];
        named_schema("A layer: its name, or its name and settings.", &words, layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_layer_is_read() {
        #[track_caller]
        fn check(json: &str, canonical: &str) {
            let layer: LayerSpec = serde_json::from_str(json).expect(json);
            let written = serde_json::to_string(&layer).expect("a layer is JSON");
            assert_eq!(written, canonical);
            let again: LayerSpec = serde_json::from_str(&written).expect("its own JSON");
            assert_eq!(again, layer);
        }
        check(r#"{"dense": 10}"#, r#"{"dense":{"units":10}}"#);
        check(
            r#"{"dense": {"units": 10, "activation": "relu"}}"#,
            r#"{"dense":{"units":10,"activation":"relu"}}"#,
        );
        check(
            r#"{"conv2d": {"filters": 32, "kernel": 3, "padding": "same"}}"#,
            r#"{"conv2d":{"filters":32,"kernel":3,"stride":1,"padding":"same"}}"#,
        );
        check(
            r#"{"conv2d": {"filters": 2, "kernel": [3, 5], "stride": 2, "padding": 1}}"#,
            r#"{"conv2d":{"filters":2,"kernel":[3,5],"stride":2,"padding":1}}"#,
        );
        check(r#"{"max_pool2d": 2}"#, r#"{"max_pool2d":{"kernel":2}}"#);
        check(r#"{"max_pool2d": [2, 3]}"#, r#"{"max_pool2d":{"kernel":[2,3]}}"#);
        check(
            r#"{"avg_pool2d": {"kernel": 3, "stride": 1}}"#,
            r#"{"avg_pool2d":{"kernel":3,"stride":1}}"#,
        );
        check(r#""flatten""#, r#""flatten""#);
        check(r#"{"flatten": null}"#, r#""flatten""#);
        check(r#"{"dropout": 0.3}"#, r#"{"dropout":{"rate":0.3}}"#);
        check(r#"{"dropout": {"rate": 0.3}}"#, r#"{"dropout":{"rate":0.3}}"#);
        check(r#""relu""#, r#"{"activation":"relu"}"#);
        check(r#"{"activation": "tanh"}"#, r#"{"activation":"tanh"}"#);
    }

    #[test]
    fn mistakes_are_named() {
        #[track_caller]
        fn check(json: &str, expect: &str) {
            let error = serde_json::from_str::<LayerSpec>(json).expect_err(json).to_string();
            assert!(error.contains(expect), "{error}");
        }
        check(r#""dense""#, "missing field `units`");
        check(r#"{"danse": 10}"#, "unknown variant `danse`");
        check(r#"{"dense": 1.5}"#, "`1.5` is not a whole number");
        check(r#"{"dense": {"unit": 1}}"#, "unknown field `unit`");
        check(r#"{"conv2d": {"filters": 1, "kernel": [1]}}"#, "a list of 1 is not");
        check(r#"{"conv2d": {"filters": 1, "kernel": 1, "padding": "half"}}"#, "`half` is not");
        check(r#"7"#, "is not a layer");
    }
}
