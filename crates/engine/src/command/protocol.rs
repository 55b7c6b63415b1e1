//! What a program tells in its `WICK_METRICS` file: one JSON object a line, a metric or a param.
//!
//! ```text
//! {"metric": "loss", "value": 0.31, "step": 4}
//! {"param": "n_features", "value": 17}
//! ```
//!
//! A line that says neither is left out and told once, in the attempt's log: a program must not
//! fail over what it says beside its work. `NaN`, `Infinity` and `-Infinity` count as numbers,
//! bare, as Python's `json` writes them, or in quotes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::value::RawValue;
use wick_core::{MetricPoint, Timestamp, metric};

use crate::tail::LineTail;

/// The longest name of a metric or a param that a program may give, in bytes.
const MAX_NAME: usize = 256;

/// The longest value of a param, as JSON, in bytes.
const MAX_PARAM: usize = 4096;

/// How many params a program may report.
const MAX_PARAMS: usize = 1000;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
enum Line {
    Metric { key: String, step: i64, value: f64 },
    Param { name: String, value: Value },
}

/// Follows the `WICK_METRICS` file of a `command` stage.
#[derive(Debug)]
pub struct Reported {
    lines: LineTail,
    /// The params so far, in the order in which they were first reported.
    params: Vec<(String, Value)>,
    mistakes: Mistakes,
    /// How many lines were read.
    read: u64,
}

/// Lines that say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mistakes {
    count: u64,
    /// The first of them, by its number, and what is wrong with it.
    first: Option<(u64, String)>,
}

impl Reported {
    /// Follows the file at `path`, which need not be there yet.
    pub const fn new(path: PathBuf) -> Self {
        let mistakes = Mistakes { count: 0, first: None };
        Self { lines: LineTail::new(path), params: Vec::new(), mistakes, read: 0 }
    }

    /// Every point that is whole by now, or as many as one look reads; and whether there may be
    /// more. With `to_end`, for a program that has ended, a last line without a line break is
    /// whole.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(&mut self, now: Timestamp, to_end: bool) -> io::Result<(Vec<MetricPoint>, bool)> {
        let mut points = Vec::new();
        let Self { lines, params, mistakes, read } = self;
        let mut take = |line: &[u8]| {
            *read += 1;
            match read_line(line) {
                Ok(None) => {}
                Ok(Some(Line::Metric { key, step, value })) => {
                    points.push(MetricPoint { key: key.into(), step, time: now, value });
                }
                Ok(Some(Line::Param { name, value })) => {
                    if let Err(why) = set_param(params, name, value) {
                        mistakes.add(*read, why);
                    }
                }
                Err(why) => mistakes.add(*read, why),
            }
        };
        let more = lines.read(&mut take)?;
        if to_end && !more {
            lines.finish(&mut take);
        }
        Ok((points, more))
    }

    /// The params that the program has reported.
    pub fn take_params(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.params)
    }

    /// What to tell of lines that were left out.
    pub fn warning(&self) -> Option<String> {
        let skipped = self.lines.skipped();
        let (line, why) = match &self.mistakes.first {
            Some((line, why)) => (*line, why.as_str()),
            None if skipped > 0 => (0, "it is too long"),
            None => return None,
        };
        let count = self.mistakes.count + skipped;
        let lines = if count == 1 { "a line".to_owned() } else { format!("{count} lines") };
        let place = if line > 0 { format!(" line {line}") } else { String::new() };
        let first = if count == 1 { place } else { format!(" the first is{place}") };
        Some(format!(
            "wick: {lines} of WICK_METRICS could not be understood and {} left out:{first}: {why}; \
             a line is a JSON object such as {{\"metric\": \"loss\", \"value\": 0.31, \"step\": 4}}",
            if count == 1 { "was" } else { "were" },
        ))
    }
}

impl Mistakes {
    fn add(&mut self, line: u64, why: String) {
        self.count += 1;
        self.first.get_or_insert((line, why));
    }
}

fn set_param(params: &mut Vec<(String, Value)>, name: String, value: Value) -> Result<(), String> {
    if let Some((_, old)) = params.iter_mut().find(|(known, _)| *known == name) {
        *old = value;
        return Ok(());
    }
    if params.len() >= MAX_PARAMS {
        return Err(format!("there are more than {MAX_PARAMS} params"));
    }
    params.push((name, value));
    Ok(())
}

/// Reads a line; an empty one says nothing, and rightly so.
fn read_line(line: &[u8]) -> Result<Option<Line>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let json = read_json(line)?;
    let fields = fields(&json).ok_or("it is not a JSON object")?;
    let name = |json: &RawValue| match serde_json::from_str::<String>(json.get()) {
        Ok(name) if name.is_empty() => Err("its name is empty".to_owned()),
        Ok(name) if name.len() > MAX_NAME => {
            Err(format!("its name is longer than {MAX_NAME} bytes"))
        }
        Ok(name) => Ok(name),
        Err(_) => Err("its name is not a text".to_owned()),
    };
    if let Some(param) = fields.get("param") {
        let value = fields.get("value").ok_or("it has no `value`")?;
        if value.get().len() > MAX_PARAM {
            return Err(format!("its value is longer than {MAX_PARAM} bytes"));
        }
        return Ok(Some(Line::Param { name: name(param)?, value: value_of(value)? }));
    }
    let key = fields.get("metric").ok_or("it has neither `metric` nor `param`")?;
    let value = fields.get("value").ok_or("it has no `value`")?;
    let value = metric::number(value.get()).ok_or("its `value` is not a number")?;
    let step = match fields.get("step").map(|step| step.get()) {
        None | Some("null") => 0,
        // Programs that count in floats mean whole numbers.
        Some(step) => step
            .parse()
            .ok()
            .or_else(|| metric::number(step).filter(|step| step.fract() == 0.0).map(|n| n as i64))
            .ok_or("its `step` is not a whole number")?,
    };
    Ok(Some(Line::Metric { key: name(key)?, step, value }))
}

/// The fields of a JSON object, each as the text that it is; `None` if it is something else.
pub fn fields(json: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json.get()).ok()
}

/// A value of JSON; if it is a number, to its last bit.
fn value_of(json: &RawValue) -> Result<Value, String> {
    let value = serde_json::from_str(json.get()).map_err(|error| Mistake(&error).to_string())?;
    Ok(match (&value, metric::number(json.get())) {
        (Value::Number(number), Some(exact)) if number.is_f64() => Value::from(exact),
        _ => value,
    })
}

/// Reads JSON in which `NaN`, `Infinity` and `-Infinity` may stand bare.
pub fn read_json(json: &[u8]) -> Result<Box<RawValue>, String> {
    serde_json::from_slice(json).or_else(|error| match quoted(json) {
        Cow::Owned(quoted) => {
            serde_json::from_slice(&quoted).map_err(|error| Mistake(&error).to_string())
        }
        Cow::Borrowed(_) => Err(Mistake(&error).to_string()),
    })
}

/// What is wrong with JSON, without the place: it is one line.
struct Mistake<'a>(&'a serde_json::Error);

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text);
        write!(f, "it is not JSON: {message}")
    }
}

/// Puts the numbers that JSON has no word for into quotes, where they stand outside of any.
fn quoted(json: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::new();
    let (mut at, mut copied, mut in_text) = (0, 0, false);
    while at < json.len() {
        match json[at] {
            b'"' => in_text = !in_text,
            b'\\' if in_text => at += 1,
            _ if !in_text => {
                if let Some(word) = WORDS.iter().find(|word| json[at..].starts_with(word)) {
                    out.extend_from_slice(&json[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(word);
                    out.push(b'"');
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.extend_from_slice(&json[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn file() -> (tempfile::TempDir, File, Reported) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let reported = Reported::new(path.clone());
        (folder, File::create(path).expect("made"), reported)
    }

    fn keys(points: &[MetricPoint]) -> Vec<(&str, i64, f64)> {
        points.iter().map(|point| (&*point.key, point.step, point.value)).collect()
    }

    #[test]
    fn a_line_is_read_when_it_is_whole() {
        let (_folder, mut file, mut reported) = file();
        write!(file, "{{\"metric\": \"loss\", \"value\": 0.5}}\r\n\n{{\"metric\": \"lo")
            .expect("written");
        let (points, more) = reported.read(Timestamp(3), false).expect("read");
        assert_eq!((keys(&points), points[0].time), (vec![("loss", 0, 0.5)], Timestamp(3)));
        assert!(!more);
        write!(file, "ss\", \"value\": 2, \"step\": 4.0}}").expect("written");
        assert_eq!(reported.read(Timestamp(3), false).expect("read").0, []);
        let (points, _) = reported.read(Timestamp(3), true).expect("read");
        assert_eq!(keys(&points), [("loss", 4, 2.0)], "its program has ended");
        assert_eq!(reported.warning(), None);
    }

    #[test]
    fn numbers_that_json_has_no_word_for_are_understood() {
        let (_folder, mut file, mut reported) = file();
        for value in ["NaN", "-Infinity", "\"Infinity\""] {
            let line = format!("{{\"metric\": \"a NaN \\\" NaN\", \"value\": {value}}}");
            writeln!(file, "{line}").expect("written");
        }
        let (points, _) = reported.read(Timestamp(0), true).expect("read");
        assert!(points.iter().all(|point| &*point.key == "a NaN \" NaN"), "{points:?}");
        assert!(points[0].value.is_nan());
        assert_eq!((points[1].value, points[2].value), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(reported.warning(), None);
    }

    #[test]
    fn params_are_kept_the_last_value_of_each() {
        let (_folder, mut file, mut reported) = file();
        for value in ["17", "\"a\"", "[1, 2]"] {
            writeln!(file, "{{\"param\": \"n\", \"value\": {value}}}").expect("written");
        }
        writeln!(file, "{{\"param\": \"m\", \"value\": null}}").expect("written");
        reported.read(Timestamp(0), true).expect("read");
        let params = reported.take_params();
        assert_eq!(params, [("n".to_owned(), json!([1, 2])), ("m".to_owned(), json!(null))]);
    }

    #[test]
    fn what_is_not_understood_is_told_once_and_left_out() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            let (_folder, mut file, mut reported) = file();
            file.write_all(text.as_bytes()).expect("written");
            let (points, _) = reported.read(Timestamp(0), true).expect("read");
            assert_eq!(points, []);
            let warning = reported.warning().unwrap_or_default();
            assert!(warning.contains(expect), "{warning}");
        }
        check("[1]\n", "it is not a JSON object");
        check("epoch 3\n", "was left out: line 1: it is not JSON: expected value");
        check("\n[1]\nx\n{\n", "3 lines of WICK_METRICS could not be understood and were left out");
        check("\n[1]\nx\n{\n", "the first is line 2: it is not a JSON object");
        check("{\"value\": 1}", "neither `metric` nor `param`");
        check("{\"metric\": \"a\"}", "it has no `value`");
        check("{\"metric\": \"a\", \"value\": true}", "its `value` is not a number");
        check("{\"metric\": \"\", \"value\": 1}", "its name is empty");
        check("{\"metric\": 3, \"value\": 1}", "its name is not a text");
        check("{\"metric\": \"a\", \"value\": 1, \"step\": 0.5}", "not a whole number");
        check("{\"metric\": \"a\", \"value\": 1", "it is not JSON: EOF");
        check(&format!("{{\"param\": \"{}\", \"value\": 1}}", "x".repeat(300)), "longer than 256");
    }

    #[test]
    fn every_bit_of_a_number_arrives() {
        let (_folder, mut file, mut reported) = file();
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        let mut told = Vec::new();
        while told.len() < 10_000 {
            // Marsaglia's xorshift: any pattern of bits may come.
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            if value.is_finite() {
                told.push(value);
                let (value, step) = (json!(value), told.len());
                writeln!(file, "{{\"metric\": \"m\", \"value\": {value}, \"step\": {step}}}")
                    .expect("written");
            }
        }
        writeln!(file, "{{\"param\": \"p\", \"value\": {}}}", told[0]).expect("written");
        let (mut points, mut more) = (Vec::new(), true);
        while more {
            let (new, again) = reported.read(Timestamp(0), true).expect("read");
            points.extend(new);
            more = again;
        }
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let read: Vec<f64> = points.iter().map(|point| point.value).collect();
        assert!(bits(&read) == bits(&told), "some numbers have changed on their way");
        assert_eq!(reported.take_params()[0].1.as_f64().map(f64::to_bits), Some(told[0].to_bits()));
        assert_eq!(reported.warning(), None);
        // A worker tells the engine in another form of JSON, of which the same holds.
        let line =
            serde_json::to_vec(&wick_core::WorkerEvent::Metrics(points)).expect("it is JSON");
        let wick_core::WorkerEvent::Metrics(back) = serde_json::from_slice(&line).expect("its own")
        else {
            panic!("it was points");
        };
        let back: Vec<f64> = back.iter().map(|point| point.value).collect();
        assert!(bits(&back) == bits(&told), "some numbers have changed on their way");
    }
}
