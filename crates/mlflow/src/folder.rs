//! MLflow's folder: `EXPERIMENT/meta.yaml`, `EXPERIMENT/RUN/{meta.yaml,params,metrics,tags}`, where
//! each param, metric and tag is a file whose path is its name.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    ForeignRun, ForeignSeries, Listed, Listing, MAX_ENTRIES, MAX_KEY, MAX_POINTS, MAX_TEXT,
    MlflowError, MlflowResult, Skipped, Status, is_id, known,
};

/// How deep the names of params, metrics and tags may lie.
const MAX_DEPTH: usize = 32;

/// The longest line of a file of points.
const MAX_LINE: u64 = 4096;

/// A folder of MLflow's.
pub struct Folder {
    root: PathBuf,
}

/// An experiment's `meta.yaml`, as far as it is of use.
#[derive(Deserialize)]
struct ExperimentFile {
    name: serde_yaml::Value,
    #[serde(default)]
    lifecycle_stage: Option<String>,
}

/// A run's `meta.yaml`, as far as it is of use.
#[derive(Deserialize)]
struct RunFile {
    #[serde(alias = "run_uuid")]
    run_id: serde_yaml::Value,
    #[serde(default, alias = "name")]
    run_name: Option<serde_yaml::Value>,
    #[serde(default)]
    user_id: Option<serde_yaml::Value>,
    #[serde(default)]
    status: Option<serde_yaml::Value>,
    #[serde(default)]
    start_time: Option<i64>,
    #[serde(default)]
    end_time: Option<i64>,
    #[serde(default)]
    lifecycle_stage: Option<String>,
    #[serde(default)]
    artifact_uri: Option<String>,
}

/// A scalar of YAML as text: a name such as `0` is a number to YAML.
fn scalar(value: &serde_yaml::Value) -> Option<String> {
    match value {
        serde_yaml::Value::String(text) => Some(text.clone()),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        serde_yaml::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

impl Folder {
    pub(crate) fn open(path: &Path) -> MlflowResult<Self> {
        let folder = Self { root: path.to_owned() };
        let any = folders(path)?.iter().any(|name| path.join(name).join("meta.yaml").is_file());
        if !any {
            return Err(MlflowError::Place(format!(
                "{} is not a folder of MLflow: none of its folders has a meta.yaml",
                path.display()
            )));
        }
        Ok(folder)
    }

    pub(crate) fn list(&self) -> MlflowResult<Listing> {
        let mut listing = Listing::default();
        for name in folders(&self.root)? {
            // `.trash` has what was deleted; `models` has the registry.
            if name.starts_with('.') || name == "models" {
                continue;
            }
            let folder = self.root.join(&name);
            let what = || format!("experiment {name}");
            let file: ExperimentFile = match yaml(&folder.join("meta.yaml")) {
                Ok(file) => file,
                Err(why) => {
                    listing.skipped.push(Skipped::new(what(), why));
                    continue;
                }
            };
            let Some(experiment) = scalar(&file.name) else {
                listing.skipped.push(Skipped::new(what(), "its meta.yaml gives it no name"));
                continue;
            };
            if file.lifecycle_stage.as_deref() == Some("deleted") {
                listing.skipped.push(Skipped::new(what(), "it was deleted"));
                continue;
            }
            for run in folders(&folder)? {
                // The experiment's own folders.
                if matches!(run.as_str(), "tags" | "traces" | "datasets" | "models") {
                    continue;
                }
                match self.look(&name, &run, &experiment) {
                    Ok(listed) => listing.runs.push(listed),
                    Err(why) => {
                        listing
                            .skipped
                            .push(Skipped::new(format!("run {run} of {experiment}"), why));
                    }
                }
            }
        }
        Ok(listing)
    }

    /// A run in the list, or why it is not in it.
    fn look(&self, within: &str, id: &str, experiment: &str) -> Result<Listed, String> {
        if !is_id(id) {
            return Err("its folder is not named as MLflow names runs".to_owned());
        }
        let file = self.run_file(within, id)?;
        if file.lifecycle_stage.as_deref() == Some("deleted") {
            return Err("it was deleted".to_owned());
        }
        Ok(Listed {
            id: id.to_owned(),
            experiment: experiment.to_owned(),
            started: file.start_time.unwrap_or_default(),
            within: within.to_owned(),
        })
    }

    fn run_file(&self, within: &str, id: &str) -> Result<RunFile, String> {
        let file: RunFile = yaml(&self.root.join(within).join(id).join("meta.yaml"))?;
        // Nothing else of the file says whose it is.
        if scalar(&file.run_id).as_deref() != Some(id) {
            return Err("its meta.yaml is another run's".to_owned());
        }
        Ok(file)
    }

    pub(crate) fn run(&self, listed: &Listed) -> MlflowResult<ForeignRun> {
        let folder = self.root.join(&listed.within).join(&listed.id);
        let file = self.run_file(&listed.within, &listed.id).map_err(MlflowError::Run)?;
        let status = file.status.as_ref().and_then(scalar).and_then(|text| Status::parse(&text));
        let status = status.ok_or_else(|| MlflowError::run("its status is unknown"))?;
        let started = file.start_time.ok_or_else(|| MlflowError::run("it has no start time"))?;
        let mut series = Vec::new();
        let mut room = MAX_POINTS;
        for (key, path) in entries(&folder.join("metrics"))? {
            let points = points(&path, room)
                .map_err(|why| MlflowError::run(format!("metrics/{key}: {why}")))?;
            room -= points.len();
            series.push(ForeignSeries { key, points });
        }
        Ok(ForeignRun {
            id: listed.id.clone(),
            experiment: listed.experiment.clone(),
            name: file.run_name.as_ref().and_then(scalar).filter(|name| !name.is_empty()),
            user: known(file.user_id.as_ref().and_then(scalar)),
            status,
            started,
            finished: file.end_time,
            artifacts: file.artifact_uri,
            params: texts(&folder.join("params"))?,
            tags: texts(&folder.join("tags"))?,
            series,
        })
    }

    pub(crate) fn artifacts(&self, listed: &Listed) -> Option<PathBuf> {
        let path = self.root.join(&listed.within).join(&listed.id).join("artifacts");
        let metadata = path.symlink_metadata().ok()?;
        let has_any = metadata.is_dir() && fs::read_dir(&path).ok()?.next().is_some();
        has_any.then_some(path)
    }
}

/// The names of the folders in a folder, sorted; links are none.
fn folders(path: &Path) -> MlflowResult<Vec<String>> {
    let failed = |error| MlflowError::read(path.display(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            // What is not UTF-8 is not MLflow's, and shown as far as it can be.
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A YAML file.
fn yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = short_file(path).map_err(|why| format!("its {}: {why}", name()))?;
    serde_yaml::from_str(&text).map_err(|error| format!("its {} is broken: {error}", name()))
}

/// The text of a file that is not long.
fn short_file(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > MAX_TEXT {
        return Err("longer than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

/// The files below `folder` with their names, which are their paths; none if it is not there.
fn entries(folder: &Path) -> MlflowResult<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), folder.to_owned(), 0)];
    while let Some((prefix, path, depth)) = open.pop() {
        let listed = match fs::read_dir(&path) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && depth == 0 => break,
            Err(error) => return Err(MlflowError::run(format!("{}: {error}", path.display()))),
        };
        for entry in listed {
            let failed = |error| MlflowError::run(format!("{}: {error}", path.display()));
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| MlflowError::run("a name is not UTF-8"))?;
            let key = format!("{prefix}{name}");
            if key.len() > MAX_KEY || depth >= MAX_DEPTH || found.len() >= MAX_ENTRIES {
                return Err(MlflowError::run("it has too many files, or too long names"));
            }
            if kind.is_dir() {
                open.push((format!("{key}/"), entry.path(), depth + 1));
            } else if kind.is_file() {
                found.push((key, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The files below `folder` with their texts.
fn texts(folder: &Path) -> MlflowResult<Vec<(String, String)>> {
    entries(folder)?
        .into_iter()
        .map(|(key, path)| {
            let text = short_file(&path)
                .map_err(|why| MlflowError::run(format!("its file {key}: {why}")))?;
            Ok((key, text))
        })
        .collect()
}

/// The points in a file: `time value step` in each line, without the step in old ones, with more
/// behind it in new ones.
fn points(path: &Path, room: usize) -> Result<Vec<(i64, i64, f64)>, String> {
    let mut reader = BufReader::new(File::open(path).map_err(|error| error.to_string())?);
    let mut points = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| error.to_string())? == 0 {
            break;
        }
        let wrong = |why: &str| format!("line {number} {why}");
        if line.len() as u64 > MAX_LINE {
            return Err(wrong("is too long"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| wrong("is not UTF-8"))?;
        let mut words = text.split_ascii_whitespace();
        let Some(time) = words.next() else { continue };
        let point = time
            .parse()
            .ok()
            .zip(words.next().and_then(|value| value.parse().ok()))
            .zip(words.next().map_or(Some(0), |step| step.parse().ok()));
        let ((time, value), step) = point.ok_or_else(|| wrong("is not a point"))?;
        if points.len() >= room {
            return Err("the run has more points than can be read at once".to_owned());
        }
        points.push((step, time, value));
    }
    Ok(points)
}
