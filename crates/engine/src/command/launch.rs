//! Prepares a `command` attempt: its folder, the words of its program, its environment.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use wick_core::{PortName, PortType, RunId, StageName};
use wick_pipeline::template::{Quoting, Reference, TemplateError, expand};
use wick_plan::{Secret, SecretSource};
use wick_stage::{StageError, StageResult, layout};

use super::config::{CommandConfig, OutputSpec, Run};
use crate::folder::COMMAND_METRICS;
use crate::mask::Masks;
use crate::memory::MemoryLimit;
use crate::secrets::{self, Values};

/// Variables of the engine's own environment that every program sees.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "TERM",
    // Python, conda and pyenv find their packages by these.
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    // Devices and libraries.
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "LD_LIBRARY_PATH",
    // The network.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Where programs are looked for when `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whether programs see the variable `name` of the engine's own environment.
pub fn is_passed(name: &str) -> bool {
    PASSED.contains(&name) || name.starts_with("LC_")
}

/// An attempt of a `command` stage.
#[derive(Debug)]
pub struct CommandAttempt<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The stage.
    pub stage: &'a StageName,
    /// The attempt.
    pub attempt: u32,
    /// Its folder.
    pub folder: &'a Path,
    /// The pipeline's folder.
    pub base: &'a Path,
    /// The stage's `with`.
    pub config: &'a CommandConfig,
    /// Its inputs.
    pub inputs: &'a [LinkedInput],
    /// How many processors it may use.
    pub cpus: u32,
    /// The folder where it may save its state, which it makes itself.
    pub checkpoints: &'a Path,
    /// How much memory it may use.
    pub memory: Option<MemoryLimit>,
    /// The secrets of the pipeline.
    pub secrets: &'a [Secret],
}

/// What a port of a `command` stage reads.
#[derive(Debug, Clone)]
pub struct LinkedInput {
    /// The port.
    pub port: PortName,
    /// The type of what it reads.
    pub port_type: PortType,
    /// Whether it gathers instances: then it is a folder, with an entry for each, named by its
    /// label.
    pub gathers: bool,
    /// Where the artifacts lie, with labels where it gathers. A port that does not gather reads
    /// one, or none where that is allowed.
    pub artifacts: Vec<(Option<String>, PathBuf)>,
}

/// A process as the supervisor is asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Where it works.
    pub folder: PathBuf,
    /// Files to try as its program.
    pub programs: Vec<Vec<u8>>,
    /// Its arguments, from the program's name on.
    pub arguments: Vec<Vec<u8>>,
    /// Its environment, each as `NAME=value`. May hold secrets.
    pub environment: Vec<Vec<u8>>,
    /// How much memory it may use.
    pub memory: Option<MemoryLimit>,
    /// What must not be seen of what it prints.
    pub masks: Masks,
}

impl fmt::Debug for ProcessSpec {
    /// Leaves out the environment, where secrets are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSpec")
            .field("folder", &self.folder)
            .field("arguments", &self.arguments)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// The part of a program's environment that does not depend on the attempt, with the values of
/// the engine's own environment.
#[derive(Debug)]
pub struct Passed {
    variables: Vec<Vec<u8>>,
    path: OsString,
    /// What was found by name: a thousand stages that run the same program look once.
    found: Mutex<HashMap<Vec<u8>, Vec<Vec<u8>>>>,
}

impl Passed {
    /// Takes what every program sees out of the engine's environment.
    pub fn from_environment() -> Self {
        let variables = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(is_passed))
            .map(|(name, value)| variable(name.as_bytes(), value.as_bytes()))
            .collect();
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        Self { variables, path, found: Mutex::default() }
    }

    /// The files that could be meant by the program `name`, in the order of `PATH`, from the
    /// first one that is there.
    pub fn candidates(&self, name: &[u8]) -> Vec<Vec<u8>> {
        if name.contains(&b'/') {
            return vec![name.to_vec()];
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(candidates) = found.get(name) {
            return candidates.clone();
        }
        let mut candidates: Vec<Vec<u8>> = std::env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(OsStr::from_bytes(name)).into_os_string().into_vec())
            .collect();
        let is_there = |file: &Vec<u8>| Path::new(OsStr::from_bytes(file)).is_file();
        if let Some(first) = candidates.iter().position(is_there) {
            candidates.drain(..first);
            found.insert(name.to_vec(), candidates.clone());
        }
        candidates
    }
}

/// `NAME=value`.
pub(crate) fn variable(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b"=", value].concat()
}

/// Gives the variable `name` a value, whatever it had before.
pub(crate) fn set_variable(environment: &mut Vec<Vec<u8>>, name: &str, value: &str) {
    let is_same = |variable: &Vec<u8>| {
        variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    };
    environment.retain(|variable| !is_same(variable));
    environment.push(variable(name.as_bytes(), value.as_bytes()));
}

impl CommandAttempt<'_> {
    /// Makes links for the inputs and folders for the outputs, and tells what to start.
    ///
    /// # Errors
    /// If the file system refuses, or a reference in `run` leads nowhere.
    pub fn prepare(&self, passed: &Passed) -> StageResult<ProcessSpec> {
        let inputs = self.link_inputs()?;
        let outputs = self.make_output_folders()?;
        let mut lookup = |reference: &Reference<'_>| match reference.scope {
            "inputs" => inputs.get(reference.name).cloned(),
            "outputs" => outputs.get(reference.name).cloned(),
            "run" if reference.name == "id" => Some(self.run.to_string()),
            _ => None,
        };
        let words = match &self.config.run {
            Run::Words(words) => {
                words.iter().map(|word| expand(word, Quoting::None, &mut lookup)).collect()
            }
            Run::Shell(text) => expand(text, Quoting::Shell, &mut lookup)
                .map(|text| vec!["sh".to_owned(), "-c".to_owned(), text]),
        };
        let words: Vec<String> = words
            .map_err(|error: TemplateError| StageError::config(error.message).help(error.help))?;
        let Some(program) = words.first() else {
            return Err(StageError::config("there is no program to run"));
        };
        let values = self.secret_values()?;
        let mut environment = self.environment(passed);
        for (name, value) in self.config.env.set() {
            set_variable(&mut environment, name, &values.put_into(value, &mut lookup)?);
        }
        Ok(ProcessSpec {
            folder: self.workdir(),
            programs: passed.candidates(program.as_bytes()),
            environment,
            arguments: words.into_iter().map(String::into_bytes).collect(),
            memory: self.memory.clone(),
            masks: values.masks(),
        })
    }

    /// The secrets that the program gets to know: those that values of `env` refer to, and those
    /// whose own variables are passed on.
    fn secret_values(&self) -> StageResult<Values> {
        let env = &self.config.env;
        let passed = self.secrets.iter().filter(|secret| match &secret.source {
            SecretSource::Environment(variable) => env.passed().contains(variable),
            SecretSource::File(_) => false,
        });
        let passed: Vec<String> = passed.map(|secret| secrets::reference(&secret.name)).collect();
        let set = env.set().map(|(_, value)| value);
        Values::look_up(self.secrets, set.chain(passed.iter().map(String::as_str)))
    }

    /// The folder that the program runs in.
    pub fn workdir(&self) -> PathBuf {
        match &self.config.workdir {
            Some(workdir) => self.base.join(workdir),
            None => self.base.to_owned(),
        }
    }

    fn environment(&self, passed: &Passed) -> Vec<Vec<u8>> {
        let mut environment = passed.variables.clone();
        for name in self.config.env.passed() {
            if let Some(value) = std::env::var_os(name)
                && !PASSED.contains(&name.as_str())
            {
                environment.push(variable(name.as_bytes(), value.as_bytes()));
            }
        }
        let path = |path: PathBuf| path.into_os_string().into_vec();
        let attempt = self.attempt.to_string();
        let cpus = self.cpus.to_string();
        environment.extend([
            variable(b"WICK_RUN", self.run.as_str().as_bytes()),
            variable(b"WICK_STAGE", self.stage.as_str().as_bytes()),
            variable(b"WICK_ATTEMPT", attempt.as_bytes()),
            variable(b"WICK_CPUS", cpus.as_bytes()),
            variable(b"WICK_OUTPUTS", &path(self.folder.join(layout::OUTPUTS))),
            variable(b"WICK_METRICS", &path(self.folder.join(COMMAND_METRICS))),
            variable(b"WICK_CHECKPOINTS", self.checkpoints.as_os_str().as_bytes()),
        ]);
        environment
    }

    /// Links each input into the attempt's folder, under a name that tells its format, and
    /// returns the links' paths.
    fn link_inputs(&self) -> StageResult<BTreeMap<&str, String>> {
        let folder = self.folder.join(layout::INPUTS);
        if !self.inputs.is_empty() {
            std::fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        }
        let mut links = BTreeMap::new();
        for input in self.inputs {
            let port = input.port.as_str();
            let path = if input.gathers {
                let entries = folder.join(port);
                std::fs::create_dir_all(&entries).map_err(io_error("make", &entries))?;
                for (label, artifact) in &input.artifacts {
                    let label = label.as_deref().unwrap_or(port);
                    link(&entries, label, input, artifact)?;
                }
                text_of(&entries)?
            } else {
                match input.artifacts.first() {
                    Some((_, artifact)) => text_of(&link(&folder, port, input, artifact)?)?,
                    // What it was to read did not come to be, and the stage runs without it: an
                    // empty text says so.
                    None => String::new(),
                }
            };
            links.insert(port, path);
        }
        Ok(links)
    }

    fn make_output_folders(&self) -> StageResult<BTreeMap<&str, String>> {
        let mut paths = BTreeMap::new();
        for (name, spec) in &self.config.outputs {
            let output = output_path(self.folder, name);
            let folder =
                if spec.port_type.is_folder() { Some(output.as_path()) } else { output.parent() };
            if let Some(folder) = folder {
                std::fs::create_dir_all(folder).map_err(io_error("make", folder))?;
            }
            let told = match &spec.path {
                Some(path) => self.workdir().join(path),
                None => written_path(&output, spec),
            };
            paths.insert(name.as_str(), text_of(&told)?);
        }
        Ok(paths)
    }
}

/// Makes a link called `name` in `folder` to an artifact, with the extension that its type has: a
/// dataset is its table.
fn link(folder: &Path, name: &str, input: &LinkedInput, artifact: &Path) -> StageResult<PathBuf> {
    let (target, name) = match input.port_type {
        PortType::Dataset => {
            let table = layout::DATASET_TABLES
                .into_iter()
                .find(|table| artifact.join(table).exists())
                .ok_or_else(|| {
                    StageError::data(format!("the dataset at input `{}` has no table", input.port))
                })?;
            let extension = table.rsplit('.').next().unwrap_or(table);
            (artifact.join(table), format!("{name}.{extension}"))
        }
        PortType::Value | PortType::Transform => (artifact.to_owned(), format!("{name}.json")),
        _ => (artifact.to_owned(), name.to_owned()),
    };
    let link = folder.join(name);
    std::os::unix::fs::symlink(&target, &link).map_err(io_error("make", &link))?;
    Ok(link)
}

/// Where the artifact of an output is made, in an attempt's folder.
pub(crate) fn output_path(folder: &Path, name: &str) -> PathBuf {
    let mut path = folder.join(layout::OUTPUTS);
    path.push(name);
    path
}

/// Where the program writes an output whose artifact is made at `output`.
pub(crate) fn written_path(output: &Path, spec: &OutputSpec) -> PathBuf {
    match spec.port_type {
        PortType::Dataset => output.join(spec.format.unwrap_or_default().file()),
        _ => output.to_owned(),
    }
}

pub(crate) fn io_error<'a>(
    what: &'a str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StageError + use<'a> {
    move |error| StageError::io(format!("cannot {what} {}", path.display()), error)
}

fn text_of(path: &Path) -> StageResult<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        StageError::config(format!("the path {} is not UTF-8", path.display()))
            .help("move the project to a folder whose name is UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(config: serde_json::Value, folder: &Path) -> StageResult<ProcessSpec> {
        let config: CommandConfig = serde_json::from_value(config).expect("a configuration");
        let table = folder.join("artifact");
        std::fs::create_dir_all(&table).expect("made");
        std::fs::write(table.join(layout::DATASET_PARQUET), "PAR1").expect("written");
        CommandAttempt {
            run: &RunId::from_random(1),
            stage: &StageName::new("s").expect("a name"),
            attempt: 1,
            folder: &folder.join("attempt"),
            base: folder,
            config: &config,
            inputs: &[
                LinkedInput {
                    port: PortName::new("raw").expect("a name"),
                    port_type: PortType::Dataset,
                    gathers: false,
                    artifacts: vec![(None, table.clone())],
                },
                LinkedInput {
                    port: PortName::new("all").expect("a name"),
                    port_type: PortType::Value,
                    gathers: true,
                    artifacts: vec![
                        (Some("x=0".to_owned()), table.join(layout::DATASET_PARQUET)),
                        (Some("x=1".to_owned()), table.join(layout::DATASET_PARQUET)),
                    ],
                },
                LinkedInput {
                    port: PortName::new("absent").expect("a name"),
                    port_type: PortType::Value,
                    gathers: false,
                    artifacts: Vec::new(),
                },
            ],
            cpus: 1,
            checkpoints: &folder.join("checkpoints"),
            memory: None,
            secrets: &[Secret {
                name: "token".to_owned(),
                source: SecretSource::File(folder.join("token")),
            }],
        }
        .prepare(&Passed::from_environment())
    }

    fn words(spec: &ProcessSpec) -> Vec<&str> {
        spec.arguments.iter().map(|word| std::str::from_utf8(word).expect("text")).collect()
    }

    #[test]
    fn references_become_paths_with_extensions() {
        let folder = tempfile::Builder::new().prefix("a b").tempdir().expect("a folder");
        let root = folder.path().join("attempt");
        let outputs = json!({"out": {"type": "dataset", "format": "csv"}, "note": "value"});
        let config = json!({"run": ["x", "${inputs.raw}", "a=${outputs.out}"], "outputs": outputs});
        let spec = prepare(config, folder.path()).expect("prepared");
        let input = root.join("inputs/raw.parquet").display().to_string();
        let out = root.join("outputs/out/data.csv").display().to_string();
        assert_eq!(words(&spec), ["x", &input, &format!("a={out}")]);
        assert_eq!(std::fs::read(&input).expect("the link leads to the table"), b"PAR1");
        assert!(root.join("outputs/out").is_dir() && !root.join("outputs/note").exists());
    }

    #[test]
    fn a_port_that_gathers_is_a_folder_and_an_absent_one_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = json!({"run": ["x", "${inputs.all}", "<${inputs.absent}>"]});
        let spec = prepare(config, folder.path()).expect("prepared");
        let all = folder.path().join("attempt/inputs/all");
        assert_eq!(words(&spec), ["x", &all.display().to_string(), "<>"]);
        for entry in ["x=0.json", "x=1.json"] {
            assert_eq!(std::fs::read(all.join(entry)).expect("the link leads there"), b"PAR1");
        }
    }

    #[test]
    fn a_shell_text_gets_quoted_paths() {
        let folder = tempfile::Builder::new().prefix("a b").tempdir().expect("a folder");
        let config = json!({"run": "cat ${inputs.raw}"});
        let spec = prepare(config, folder.path()).expect("prepared");
        let input = folder.path().join("attempt/inputs/raw.parquet");
        assert_eq!(words(&spec), ["sh", "-c", &format!("cat '{}'", input.display())]);
        assert!(spec.programs[0].ends_with(b"/bin/sh"), "{:?}", spec.programs);
    }

    #[test]
    fn the_environment_is_small_and_tells_the_attempt() {
        let folder = tempfile::tempdir().expect("a folder");
        let spec = prepare(json!({"run": ["x"]}), folder.path()).expect("prepared");
        let has = |text: &str| spec.environment.contains(&text.as_bytes().to_vec());
        assert!(has("WICK_STAGE=s") && has("WICK_ATTEMPT=1"));
        let checkpoints = folder.path().join("checkpoints");
        assert!(has(&format!("WICK_CHECKPOINTS={}", checkpoints.display())));
        assert!(!checkpoints.exists(), "a stage that saves nothing leaves nothing");
        assert!(!spec.environment.iter().any(|variable| variable.starts_with(b"CARGO")));
        assert!(spec.masks.is_empty());
    }

    #[test]
    fn a_secret_that_is_passed_on_is_hidden_too() {
        // `PATH` is one that is always set.
        let folder = tempfile::tempdir().expect("a folder");
        let source = SecretSource::Environment("PATH".to_owned());
        let config = json!({"run": ["x"], "env": ["PATH"]});
        let config: CommandConfig = serde_json::from_value(config).expect("a configuration");
        let attempt = CommandAttempt {
            run: &RunId::from_random(1),
            stage: &StageName::new("s").expect("a name"),
            attempt: 1,
            folder: folder.path(),
            base: folder.path(),
            config: &config,
            inputs: &[],
            cpus: 1,
            checkpoints: folder.path(),
            memory: None,
            secrets: &[Secret { name: "path".to_owned(), source }],
        };
        let spec = attempt.prepare(&Passed::from_environment()).expect("prepared");
        let path = std::env::var("PATH").expect("a path");
        assert_eq!(spec.masks.mask(&path), "***");
    }

    #[test]
    fn variables_are_set_and_secrets_put_in() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "swordfish\n").expect("written");
        let env = json!({
            "AUTH": "Bearer ${secrets.token}", "HOME": "/nowhere", "RAW": "${inputs.raw}", "N": 3,
        });
        let spec = prepare(json!({"run": ["x"], "env": env}), folder.path()).expect("prepared");
        let of = |name: &str| -> Vec<String> {
            let texts = spec.environment.iter().map(|text| String::from_utf8_lossy(text));
            texts.filter_map(|text| Some(text.strip_prefix(name)?.to_owned())).collect()
        };
        assert_eq!(of("AUTH="), ["Bearer swordfish"]);
        assert_eq!(of("HOME="), ["/nowhere"], "it stands for the one that is passed on");
        assert_eq!(of("N="), ["3"]);
        assert!(of("RAW=")[0].ends_with("/attempt/inputs/raw.parquet"));
        assert_eq!(spec.masks.mask("a swordfish"), "a ***");
        assert!(!format!("{spec:?}").contains("swordfish"));

        let bare = tempfile::tempdir().expect("a folder");
        let env = json!({"AUTH": "${secrets.token}"});
        let error = prepare(json!({"run": ["x"], "env": env}), bare.path());
        assert_eq!(error.expect_err("it is gone").to_string(), "the secret `token` cannot be read");
    }
}
