//! The canonical encoding under every fingerprint and plan digest.
//!
//! Each item is a tag byte and, where its size varies, a length before its bytes, so that no two
//! different sequences of items encode to the same bytes. Mappings are written by sorted key. A
//! change of this encoding changes every fingerprint: the domain given to [`Encoder::new`]
//! carries its version.

use serde_json::Value;
use wick_core::Digest;

/// Collects the encoding, then hashes it at once.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// An encoding for the purpose `domain`, for example `wick fingerprint 1`.
    pub(crate) fn new(domain: &str) -> Self {
        let mut encoder = Self(Vec::with_capacity(512));
        encoder.text(domain);
        encoder
    }

    /// Adds a whole number.
    pub(crate) fn number(&mut self, number: u64) {
        self.0.push(b'u');
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, text: &str) {
        self.sized(b's', text.as_bytes());
    }

    /// Adds a digest.
    pub(crate) fn digest(&mut self, digest: &Digest) {
        self.0.push(b'h');
        self.0.extend_from_slice(digest.as_bytes());
    }

    /// Adds the head of a list of `length` items, which follow.
    pub(crate) fn list(&mut self, length: usize) {
        self.0.push(b'[');
        self.0.extend_from_slice(&(length as u64).to_le_bytes());
    }

    /// Adds that something is absent.
    pub(crate) fn nothing(&mut self) {
        self.0.push(b'n');
    }

    /// Adds a JSON value. A whole number and a fraction of equal value differ, since a kind may
    /// tell them apart.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.nothing(),
            Value::Bool(false) => self.0.push(b'F'),
            Value::Bool(true) => self.0.push(b'T'),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(whole), _, _) => self.number(whole),
                (None, Some(whole), _) => {
                    self.0.push(b'i');
                    self.0.extend_from_slice(&whole.to_le_bytes());
                }
                (None, None, fraction) => {
                    self.0.push(b'f');
                    let bits = fraction.unwrap_or(f64::NAN).to_bits();
                    self.0.extend_from_slice(&bits.to_le_bytes());
                }
            },
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.list(items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
                self.0.push(b'{');
                self.0.extend_from_slice(&(entries.len() as u64).to_le_bytes());
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    /// The digest of all that was added.
    pub(crate) fn finish(&self) -> Digest {
        Digest::of(&self.0)
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(value: Value) -> Digest {
        let mut encoder = Encoder::new("test");
        encoder.value(&value);
        encoder.finish()
    }

    #[test]
    fn order_of_keys_does_not_count_and_all_else_does() {
        assert_eq!(digest(json!({"a": 1, "b": [2]})), digest(json!({"b": [2], "a": 1})));
        let different = [
            json!(null),
            json!(""),
            json!(0),
            json!(0.0),
            json!(-1),
            json!("0"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([[], []]),
            json!(["a", "b"]),
            json!(["ab", ""]),
            json!({"a": "b"}),
            json!(["a", ["b"]]),
            json!(false),
        ];
        for (place, one) in different.iter().enumerate() {
            for other in &different[place + 1..] {
                assert_ne!(digest(one.clone()), digest(other.clone()), "{one} {other}");
            }
        }
    }
}
