//! Looks at what a `command` attempt made after its program ended well, and puts it into the
//! artifact store.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use wick_artifact::ArtifactStore;
use wick_core::{FailureCause, MetricPoint, Output, PortName, PortType, Timestamp, metric};
use wick_stage::{StageError, StageResult, layout};

use super::config::{CommandConfig, OutputSpec, TableFormat};
use super::launch::{io_error, output_path, written_path};
use super::protocol;

/// The longest value that is kept as a fact of its artifact, in bytes.
const MAX_SHOWN_VALUE: usize = 1000;

/// The largest metrics file that is read, in bytes.
const MAX_METRICS_FILE: u64 = 16 << 20;

/// Puts every declared output into the artifact store.
///
/// # Errors
/// If an output is missing or is not of its type, or cannot be kept.
pub fn outputs(
    config: &CommandConfig,
    folder: &Path,
    workdir: &Path,
    artifacts: &ArtifactStore,
) -> StageResult<Vec<Output>> {
    let mut outputs = Vec::with_capacity(config.outputs.len());
    for (name, spec) in &config.outputs {
        let port = PortName::new(name)
            .map_err(|error| StageError::internal(format!("output `{name}`: {error}")))?;
        let path = output_path(folder, name);
        let written = match &spec.path {
            Some(theirs) => {
                let theirs = workdir.join(theirs);
                let ours = written_path(&path, spec);
                if theirs.exists() {
                    copy(&theirs, &ours).map_err(io_error("copy", &theirs))?;
                }
                theirs
            }
            None => written_path(&path, spec),
        };
        check_written(name, &written, spec)?;
        let meta = describe(&path, spec);
        let stored = artifacts.put(&path, spec.port_type).map_err(|error| {
            StageError::new(FailureCause::Output, format!("cannot keep output `{name}`"))
                .because(error)
        })?;
        outputs.push(Output {
            port,
            port_type: spec.port_type,
            digest: stored.digest,
            bytes: stored.bytes,
            meta,
        });
    }
    Ok(outputs)
}

/// Checks that an output is there and begins like what it should be.
fn check_written(name: &str, path: &Path, spec: &OutputSpec) -> StageResult {
    let wrong = |message: String, help: &str| {
        Err(StageError::new(FailureCause::Output, message).help(help))
    };
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        return wrong(
            format!("the program did not write its output `{name}`: there is no {shown}"),
            "let it write to `${outputs.NAME}`, or give the output the `path` that it writes to",
        );
    };
    let is_folder = spec.port_type.is_folder() && spec.port_type != PortType::Dataset;
    if metadata.is_dir() != is_folder {
        let (found, wanted) = if is_folder { ("file", "folder") } else { ("folder", "file") };
        return wrong(
            format!("output `{name}` should be a {wanted}, and {shown} is a {found}"),
            "write what the type says, or declare another type",
        );
    }
    if is_folder && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()) {
        return wrong(
            format!("the program wrote nothing into its output `{name}`, the folder {shown}"),
            "let it write its files into `${outputs.NAME}`",
        );
    }
    match spec.port_type {
        PortType::Dataset => {
            let format = spec.format.unwrap_or_default();
            let magic: &[u8] = match format {
                TableFormat::Parquet => b"PAR1",
                TableFormat::Arrow => b"ARROW1",
                TableFormat::Csv => b"",
            };
            let mut start = vec![0; magic.len()];
            let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
            if read.is_err() || start != magic {
                let format = format.as_str();
                return wrong(
                    format!("output `{name}` should be {format}, and {shown} is not"),
                    "write that format, or say another `format: csv`",
                );
            }
        }
        PortType::Value | PortType::Transform => {
            let text = fs::read(path).map_err(io_error("read", path))?;
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&text) {
                return wrong(
                    format!("output `{name}` should be JSON, and {shown} is not: {error}"),
                    "write one JSON value, or declare the output as `file`",
                );
            }
        }
        _ => {}
    }
    Ok(())
}

/// Facts worth showing of an output.
fn describe(path: &Path, spec: &OutputSpec) -> Value {
    match spec.port_type {
        PortType::Dataset => json!({"format": spec.format.unwrap_or_default().as_str()}),
        PortType::Value => match fs::read(path) {
            Ok(text) if text.len() <= MAX_SHOWN_VALUE => {
                json!({"value": serde_json::from_slice::<Value>(&text).unwrap_or(Value::Null)})
            }
            _ => json!({}),
        },
        _ => json!({}),
    }
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !fs::metadata(from)?.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The output whose numbers are metrics without being called so under `metrics`.
const METRICS: &str = "metrics";

/// Reads the `metrics` file, or the output called `metrics`: numbers by name, those inside objects
/// as `outer.inner`. Of a report these are its own metrics. Must be called before the outputs are
/// put, which moves them away.
///
/// # Errors
/// If it is not there, is no JSON object, or is unreasonably large.
pub fn metrics(
    config: &CommandConfig,
    folder: &Path,
    workdir: &Path,
    now: Timestamp,
) -> StageResult<Vec<MetricPoint>> {
    let has_numbers =
        |spec: &&OutputSpec| matches!(spec.port_type, PortType::Value | PortType::Report);
    let name = match (&config.metrics, config.outputs.get(METRICS).filter(has_numbers)) {
        (Some(name), _) => name,
        (None, Some(_)) => METRICS,
        (None, None) => return Ok(Vec::new()),
    };
    let output = config.outputs.get(name);
    let is_report = output.is_some_and(|spec| spec.port_type == PortType::Report);
    let mut path = match output {
        Some(OutputSpec { path: Some(path), .. }) => workdir.join(path),
        Some(spec) => written_path(&output_path(folder, name), spec),
        None => workdir.join(name),
    };
    if is_report {
        path.push(layout::REPORT);
    }
    // What it was not asked for by name need not be there, or hold numbers.
    if config.metrics.is_none() && !path.is_file() {
        return Ok(Vec::new());
    }
    let wrong = |message: String| {
        StageError::new(FailureCause::Output, message)
            .help("`metrics` is a JSON object of numbers, such as {\"accuracy\": 0.97}")
    };
    let metadata = fs::metadata(&path).map_err(|_| {
        wrong(format!("the program did not write its metrics to {}", path.display()))
    })?;
    if metadata.len() > MAX_METRICS_FILE {
        return Err(wrong(format!("{} is too large for metrics", path.display())));
    }
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    let json = match protocol::read_json(&bytes) {
        Ok(json) => json,
        Err(why) => {
            return Err(wrong(format!("{} cannot be read as metrics: {why}", path.display())));
        }
    };
    let mut told: Option<&RawValue> = Some(&json);
    if is_report {
        told = protocol::fields(&json).and_then(|fields| fields.get(METRICS).copied());
    }
    let Some(told) = told.filter(|told| protocol::fields(told).is_some()) else {
        if config.metrics.is_none() {
            return Ok(Vec::new());
        }
        return Err(wrong(format!("{} is not a JSON object", path.display())));
    };
    let mut points = Vec::new();
    flatten(told, &mut String::new(), now, &mut points);
    Ok(points)
}

fn flatten(json: &RawValue, name: &mut String, time: Timestamp, points: &mut Vec<MetricPoint>) {
    if let Some(fields) = protocol::fields(json) {
        let length = name.len();
        for (key, json) in fields {
            if length > 0 {
                name.push('.');
            }
            name.push_str(&key);
            flatten(json, name, time, points);
            name.truncate(length);
        }
    } else if let Some(value) = metric::number(json.get()) {
        points.push(MetricPoint { key: name.as_str().into(), step: 0, time, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Made {
        folder: tempfile::TempDir,
        config: CommandConfig,
    }

    fn made(config: Value, files: &[(&str, &str)]) -> Made {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        Made { folder, config: serde_json::from_value(config).expect("a configuration") }
    }

    fn collect(made: &Made) -> Result<Vec<Output>, String> {
        let artifacts = ArtifactStore::open(made.folder.path().join("artifacts")).expect("a store");
        let folder = made.folder.path();
        outputs(&made.config, folder, &folder.join("work"), &artifacts)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn declared_outputs_are_kept() {
        let outputs = json!({"a": "file", "b": {"type": "value", "path": "b.json"}, "c": "folder"});
        let files = [("outputs/a", "x"), ("work/b.json", "[1, 2]"), ("outputs/c/d/e", "y")];
        let made = made(json!({"run": "x", "outputs": outputs}), &files);
        let outputs = collect(&made).expect("kept");
        assert_eq!(outputs.len(), 3);
        assert_eq!(outputs[1].meta, json!({"value": [1, 2]}));
        assert!(made.folder.path().join("work/b.json").exists(), "the program's own file stays");
    }

    #[test]
    fn a_missing_or_wrong_output_is_named() {
        #[track_caller]
        fn check(outputs: Value, files: &[(&str, &str)], expect: &str) {
            let message = collect(&made(json!({"run": "x", "outputs": outputs}), files))
                .expect_err("it is wrong");
            assert!(message.contains(expect), "{message}");
        }
        check(json!({"a": "file"}), &[], "did not write its output `a`");
        check(json!({"a": "dataset"}), &[("outputs/a/data.parquet", "a,b")], "should be parquet");
        check(json!({"a": "value"}), &[("outputs/a", "{")], "should be JSON");
        check(json!({"a": "file"}), &[("outputs/a/b", "")], "should be a file");
    }

    #[test]
    fn metrics_are_the_numbers_of_a_file() {
        let text = r#"{"accuracy": 0.5, "class": {"a": 1, "note": "x"}}"#;
        let made = made(json!({"run": "x", "metrics": "m.json"}), &[("work/m.json", text)]);
        let folder = made.folder.path();
        let points = metrics(&made.config, folder, &folder.join("work"), Timestamp(0))
            .expect("metrics")
            .into_iter()
            .map(|point| (point.key.to_string(), point.value))
            .collect::<Vec<_>>();
        assert_eq!(points, [("accuracy".to_owned(), 0.5), ("class.a".to_owned(), 1.0)]);
    }

    #[test]
    fn an_output_called_metrics_is_one() {
        #[track_caller]
        fn check(config: Value, file: &str, text: &str, expect: &[(&str, f64)]) {
            let made = made(config, &[(file, text)]);
            let folder = made.folder.path();
            let points = metrics(&made.config, folder, &folder.join("work"), Timestamp(0));
            let points = points.expect("metrics");
            let points: Vec<(&str, f64)> =
                points.iter().map(|point| (&*point.key, point.value)).collect();
            assert_eq!(points, expect);
        }
        let value = json!({"run": "x", "outputs": {"metrics": "value"}});
        let text = r#"{"a": {"b": 1}, "c": -Infinity, "d": "NaN?", "e": [1]}"#;
        check(value.clone(), "outputs/metrics", text, &[("a.b", 1.0), ("c", f64::NEG_INFINITY)]);
        check(value, "outputs/metrics", "[1]", &[]);
        let report = json!({"run": "x", "outputs": {"metrics": "report"}});
        let text = r#"{"version": 1, "metrics": {"f1": 0.5}, "tables": []}"#;
        check(report, "outputs/metrics/report.json", text, &[("f1", 0.5)]);
        let file = json!({"run": "x", "outputs": {"metrics": "file"}});
        check(file, "outputs/metrics", r#"{"a": 1}"#, &[]);
    }
}
