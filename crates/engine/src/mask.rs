//! Keeps the values of secrets out of what is written: a search that replaces them by `***`, in
//! a text or in a stream of bytes, however the stream is cut.
//!
//! A value is found as it is and in the forms in which programs commonly print it: Base64 (also
//! as a part of a longer text, as in an `Authorization` header), URL encoding, JSON escapes,
//! hexadecimal. A program that means to give a secret away can; this is a net for accidents.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use wick_core::{Failure, MetricPoint, Output};

/// What stands for a secret.
pub const MASK: &[u8] = b"***";

/// The shortest value that can be masked, in bytes. Masking a shorter one would hide half of
/// every log, and would tell the value by what is hidden; so it is refused as a secret.
pub const MIN_VALUE: usize = 4;

/// The shortest line of a value of many lines that is masked by itself.
const MIN_LINE: usize = 8;

/// The shortest part of a Base64 text that is masked where the rest depends on its neighbours.
const MIN_BASE64: usize = 8;

/// All texts that stand for the values of some secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Masks {
    /// Longest first; no two are equal, and none holds a NUL.
    patterns: Arc<[Vec<u8>]>,
}

impl std::fmt::Debug for Masks {
    /// Does not show what is to be hidden.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masks({})", self.patterns.len())
    }
}

impl Masks {
    /// Masks for these values and their common encodings. Values shorter than [`MIN_VALUE`] are
    /// left out.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = BTreeSet::new();
        for value in values {
            add_forms(value, &mut patterns);
        }
        Self::from_patterns(patterns)
    }

    /// Masks that hide exactly these texts.
    pub fn from_patterns(patterns: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut patterns: Vec<Vec<u8>> = patterns
            .into_iter()
            .filter(|pattern| pattern.len() >= MIN_VALUE && !pattern.contains(&0))
            .collect();
        patterns.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        patterns.dedup();
        Self { patterns: patterns.into() }
    }

    /// The texts that are hidden, longest first.
    pub fn patterns(&self) -> &[Vec<u8>] {
        &self.patterns
    }

    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// `text` with every secret hidden.
    pub fn mask(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut masker = Masker::new(self.clone());
        let mut masked = Vec::with_capacity(text.len());
        masker.push(text.as_bytes(), &mut masked);
        masker.finish(&mut masked);
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// Hides secrets in all texts of `value`, keys among them.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => *text = self.mask(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            Value::Object(entries) => {
                *entries = std::mem::take(entries)
                    .into_iter()
                    .map(|(key, mut value)| {
                        self.mask_json(&mut value);
                        (self.mask(&key), value)
                    })
                    .collect();
            }
            // A number can be a secret, too.
            Value::Number(number) => {
                let text = number.to_string();
                let masked = self.mask(&text);
                if masked != text {
                    *value = Value::String(masked);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Hides secrets in all texts of a failure.
    pub fn mask_failure(&self, failure: &mut Failure) {
        if self.is_empty() {
            return;
        }
        failure.message = self.mask(&failure.message);
        failure.chain.iter_mut().for_each(|cause| *cause = self.mask(cause));
        failure.help = failure.help.take().map(|help| self.mask(&help));
    }

    /// Hides secrets in what is recorded of outputs. Their bytes are the program's own.
    pub fn mask_outputs(&self, outputs: &mut [Output]) {
        if !self.is_empty() {
            outputs.iter_mut().for_each(|output| self.mask_json(&mut output.meta));
        }
    }

    /// Hides secrets in the names of metrics.
    pub fn mask_points(&self, points: &mut [MetricPoint]) {
        if !self.is_empty() {
            points.iter_mut().for_each(|point| point.key = self.mask(&point.key).into());
        }
    }
}

/// Adds every form of `value` that is looked for.
fn add_forms(value: &str, patterns: &mut BTreeSet<Vec<u8>>) {
    let lines = value.lines().map(str::trim_end).filter(|line| line.len() >= MIN_LINE);
    // A key of many lines is often printed line by line.
    for part in std::iter::once(value).chain(lines.filter(|line| *line != value)) {
        if part.len() < MIN_VALUE {
            continue;
        }
        patterns.insert(part.as_bytes().to_vec());
        let json = serde_json::Value::from(part).to_string();
        patterns.insert(json.as_bytes()[1..json.len() - 1].to_vec());
        for upper in [true, false] {
            patterns.insert(url_encoded(part, upper, "%20"));
            patterns.insert(url_encoded(part, upper, "+"));
            patterns.insert(part.bytes().flat_map(|byte| hexadecimal(byte, upper)).collect());
        }
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for shift in 0..3 {
            add_base64(value.as_bytes(), engine, shift, patterns);
        }
    }
}

/// Adds the Base64 of `value` as it looks behind `shift` (modulo 3) other bytes: without the
/// characters that depend on the bytes before; and with and without those at its end that depend
/// on the bytes after.
fn add_base64(
    value: &[u8],
    engine: &base64::engine::GeneralPurpose,
    shift: usize,
    patterns: &mut BTreeSet<Vec<u8>>,
) {
    let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(value.iter().copied()).collect();
    let encoded = engine.encode(&padded);
    let start = (shift * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    for end in [whole, encoded.len()] {
        let part = &encoded.as_bytes()[start.min(end)..end];
        if part.len() >= MIN_BASE64 {
            patterns.insert(part.to_vec());
        }
    }
}

/// `text` with all but letters, digits and `-._~` percent-encoded (RFC 3986).
fn url_encoded(text: &str, upper: bool, space: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.extend_from_slice(space.as_bytes()),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => encoded.push(byte),
            byte => {
                encoded.push(b'%');
                encoded.extend(hexadecimal(byte, upper));
            }
        }
    }
    encoded
}

fn hexadecimal(byte: u8, upper: bool) -> [u8; 2] {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// Hides secrets in a stream. What could be the beginning of one is held back until more comes.
pub struct Masker {
    masks: Masks,
    /// Bytes with which some text to hide begins.
    begins: [bool; 256],
    /// What was held back.
    held: Vec<u8>,
    /// How many bytes of what was held back are hidden already.
    hidden: usize,
}

impl Masker {
    /// Begins a stream.
    pub fn new(masks: Masks) -> Self {
        let mut begins = [false; 256];
        for pattern in masks.patterns.iter() {
            if let Some(first) = pattern.first() {
                begins[usize::from(*first)] = true;
            }
        }
        Self { masks, begins, held: Vec::new(), hidden: 0 }
    }

    /// Takes the next bytes of the stream, and appends to `out` what is certain by now.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        self.search(false, out);
    }

    /// The stream has ended: appends the rest of it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.search(true, out);
    }

    /// Looks at every place, also within what is hidden already: where two secrets overlap, all
    /// of both is hidden.
    fn search(&mut self, is_end: bool, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.held);
        let mut hidden_until = self.hidden;
        let mut place = 0;
        while place < text.len() {
            if place >= hidden_until {
                // Most of a log: nothing begins here.
                let begins = |byte: &u8| self.begins[usize::from(*byte)];
                let rest = &text[place..];
                let plain = rest.iter().position(begins).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..plain]);
                place += plain;
            }
            let Some(first) = text.get(place) else { break };
            if self.begins[usize::from(*first)] {
                match self.longest_at(&text[place..], is_end) {
                    Found::Match(length) => {
                        if place >= hidden_until {
                            out.extend_from_slice(MASK);
                        }
                        hidden_until = hidden_until.max(place + length);
                    }
                    Found::Perhaps => break,
                    Found::Nothing => {}
                }
            }
            if place >= hidden_until {
                out.push(*first);
            }
            place += 1;
        }
        self.hidden = hidden_until.saturating_sub(place);
        self.held = text;
        self.held.drain(..place);
    }

    /// The longest text to hide with which `rest` begins.
    fn longest_at(&self, rest: &[u8], is_end: bool) -> Found {
        for pattern in self.masks.patterns.iter() {
            if rest.starts_with(pattern) {
                return Found::Match(pattern.len());
            }
            // It is longer than any that could still be found here: it comes first.
            if !is_end && pattern.starts_with(rest) {
                return Found::Perhaps;
            }
        }
        Found::Nothing
    }
}

enum Found {
    /// A text to hide, so long.
    Match(usize),
    /// The bytes end within one.
    Perhaps,
    Nothing,
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn masks(texts: &[&str]) -> Masks {
        Masks::from_patterns(texts.iter().map(|text| text.as_bytes().to_vec()))
    }

    #[test]
    fn values_are_hidden_longest_first_and_where_they_overlap() {
        #[track_caller]
        fn check(patterns: &[&str], text: &str, expect: &str) {
            assert_eq!(masks(patterns).mask(text), expect);
        }
        check(&["secret"], "a secret!", "a ***!");
        check(&["secret"], "secretsecret", "******");
        check(&["pass", "password"], "password pass passwor", "*** *** ***wor");
        check(&["abcd", "cdef"], "xabcdefx", "x***x");
        check(&["abab"], "ababab.", "***.");
        check(&["secret"], "secre", "secre");
        check(&[], "secret", "secret");
    }

    #[test]
    fn common_encodings_are_hidden() {
        let value = "p@ss w\"rd/ö+~?";
        let masks = Masks::of([value]);
        let check = |text: String| {
            let masked = masks.mask(&text);
            assert!(masked.contains("***"), "{text} became {masked}");
            assert!(masked.len() <= text.len().min(13), "{text} became {masked}");
        };
        check(value.to_owned());
        check(serde_json::Value::from(value).to_string());
        check("p%40ss%20w%22rd%2F%C3%B6%2B~%3F".to_owned());
        check("p%40ss+w%22rd%2f%c3%b6%2b~%3f".to_owned());
        for before in ["", "u", "me:", "user"] {
            for after in ["", "!", "!!"] {
                let text = format!("{before}{value}{after}");
                check(STANDARD.encode(&text));
                check(URL_SAFE.encode(&text));
            }
        }
        check(value.bytes().map(|byte| format!("{byte:02x}")).collect());
    }

    #[test]
    fn a_key_of_many_lines_is_hidden_line_by_line() {
        let key = "-----BEGIN KEY-----\nabcdefghij\nklm\n-----END KEY-----";
        let masks = Masks::of([key]);
        assert_eq!(masks.mask(key), "***");
        assert_eq!(masks.mask("1: abcdefghij\n2: klm"), "1: ***\n2: klm");
    }

    #[test]
    fn what_is_recorded_is_hidden() {
        let masks = Masks::of(["hunter22", "12345"]);
        let mut meta = serde_json::json!({"value": ["hunter22", 12345, 7], "hunter22": null});
        masks.mask_json(&mut meta);
        assert_eq!(meta, serde_json::json!({"value": ["***", "***", 7], "***": null}));
        assert_eq!(format!("{masks:?}"), format!("Masks({})", masks.patterns.len()));
    }

    #[test]
    fn short_values_are_left_out() {
        assert!(Masks::of(["abc", ""]).is_empty());
        assert!(!Masks::of(["abcd"]).is_empty());
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_result_is_the_same(
            text in "[ab]{0,40}",
            cuts in prop::collection::vec(0_usize..8, 0..40),
        ) {
            let masks = masks(&["abba", "babab", "bbbbbb", "abbab"]);
            let mut masker = Masker::new(masks.clone());
            let (mut out, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                masker.push(now, &mut out);
                rest = later;
            }
            masker.push(rest, &mut out);
            masker.finish(&mut out);
            let out = String::from_utf8(out).expect("text");
            prop_assert_eq!(&out, &masks.mask(&text));
            for pattern in ["abba", "babab", "bbbbbb"] {
                prop_assert!(!out.contains(pattern), "{} in {}", pattern, out);
            }
        }
    }
}
