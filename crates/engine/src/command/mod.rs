//! The kind `command`: any program as a stage, with typed ports.
//!
//! Its stages are not run by a worker: the engine starts the program itself ([`launch`]), and
//! afterwards looks at what it made ([`collect`]).

pub mod collect;
pub mod config;
pub mod launch;
pub mod protocol;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wick_core::{PortName, PortType};
use wick_pipeline::template::{Piece, pieces};
use wick_stage::{
    Checked, Context, Documentation, Example, Issues, Kind, Known, Ports, StageError, StageResult,
    Typed, TypedKind,
};

use crate::secrets;
use config::{CommandConfig, Run};

/// The kind's name.
pub const COMMAND: &str = "command";

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Typed::boxed(Command)]
}

/// The kind `command`.
#[derive(Debug, Clone, Copy)]
struct Command;

const DOCUMENTATION: Documentation = Documentation {
    summary: "Runs any program, with typed inputs and outputs.",
    description: "\
`run` is either a list, whose first word is the program and which no shell sees, or a text for
`sh -c`. In both, `${inputs.NAME}` and `${outputs.NAME}` stand for paths; in a text they are quoted
for the shell. Inputs have any name and type.

A dataset input is the path of its table, `NAME.parquet`, `NAME.arrow` or `NAME.csv`; a value or a
transform is a JSON file; a model, a report or a folder is a folder. Inputs are read-only. The
program writes each declared output to its path; an output that is missing afterwards fails the
stage. What it prints is the attempt's log; a code other than 0 fails the attempt.

The program sees a small environment, whatever else the one of `wick` holds: `PATH`, `HOME`,
`USER`, `LOGNAME`, `SHELL`, `LANG`, `LC_*`, `TZ`, `TMPDIR`, `TERM`, the variables of Python
environments, CUDA, certificates and proxies; the variables of `env`; and `WICK_RUN`, `WICK_STAGE`,
`WICK_ATTEMPT`, `WICK_CPUS`, `WICK_OUTPUTS`, `WICK_METRICS`, `WICK_CHECKPOINTS` and `WICK_PROCESS`.

Each line that the program appends to the file `WICK_METRICS` is a JSON object:

    {\"metric\": \"loss\", \"value\": 0.31, \"step\": 4}
    {\"param\": \"n_features\", \"value\": 17}

A metric is recorded while the program runs; `step` is 0 where it is left out, and the value may be
`NaN`, `Infinity` or `-Infinity`. A param is any JSON value that the program has found out; when the
stage succeeds it becomes the param `STAGE.n_features` of the run, also of runs that reuse the
stage. A line that is neither is left out and told in the log; it never fails the stage.

Without lines: the numbers of the JSON file that `metrics` names, or else of an output that is called
`metrics`, of type `value` or `report`, are recorded as metrics when the program has ended. Numbers
in nested objects are called `outer.inner`; of a report, `report.json` with its `metrics` counts.

`env` is a list of variables that are passed on, or a mapping that gives them values. In such a
value `${secrets.NAME}` stands for a secret of the pipeline. It is put in when the program starts,
and is kept nowhere: not in the plan, the store or the attempt's folder. Everything that the program
prints then passes through a filter that writes `***` for the secret, also where it is Base64,
hexadecimal, or encoded for a URL or JSON. What it writes into files is its own. A secret has at
least 4 characters.

A long program can save its state in the folder that `WICK_CHECKPOINTS` names. It is not there
until the program makes it (`mkdir -p`), and it outlives the attempt: a retry, `wick rerun` or a
new run of the same stage, with the same fingerprint, finds what was saved and can go on from it.
It is removed when the stage has succeeded, and when nothing was written to it for 30 days. Write
a file under another name and rename it, so that a kill leaves no half of one. With `--no-cache`
or `cache: false` each run has a folder of its own, with `--force` each computation.

With `resources: {memory: …}` the program and its children are held to that much memory: together
where `wick` has a control group of its own, each for itself elsewhere.

The stage runs again when `with`, an input, a file of `code` or a variable that `env` passes on has
changed; not when a secret has.
Scripts of the pipeline's folder that `run` names as words count as `code` by themselves. When the
program ends, processes that it left behind are ended too.",
    examples: &[
        Example {
            title: "A Python script between two stages",
            yaml: "\
uses: command
inputs: {raw: flights}
with:
  run: [python3, scripts/features.py, \"${inputs.raw}\", \"${outputs.features}\"]
  outputs: {features: dataset}
",
        },
        Example {
            title: "A shell line with a file and metrics",
            yaml: "\
uses: command
inputs: {model: train.model}
with:
  run: ./size.sh ${inputs.model} > ${outputs.sizes}
  outputs: {sizes: value}
  metrics: sizes
  env: [SIZE_UNIT]
",
        },
        Example {
            title: "A program that needs a secret, declared by the pipeline as \
                    `secrets: {token: \"${env.API_TOKEN}\"}`",
            yaml: "\
uses: command
with:
  run: [python3, scripts/fetch.py, \"${outputs.raw}\"]
  outputs: {raw: file}
  env: {API_TOKEN: \"${secrets.token}\", PAGE_SIZE: 500}
",
        },
    ],
};

impl TypedKind for Command {
    type Config = CommandConfig;

    const NAME: &'static str = COMMAND;
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        DOCUMENTATION
    }

    fn ports(&self, config: &CommandConfig, issues: &mut Issues) -> Ports {
        let mut ports = Ports::new().any_input(PortType::ALL, 0).gathering();
        for (name, output) in &config.outputs {
            match PortName::new(name) {
                Ok(port) => ports = ports.named_output(port, output.port_type, false),
                Err(error) => issues.with(
                    ["outputs", name.as_str()],
                    format!("`{name}` cannot name an output"),
                    error.to_string(),
                ),
            }
            if output.format.is_some() && output.port_type != PortType::Dataset {
                issues.with(
                    ["outputs", name.as_str(), "format"],
                    format!("an output of type {} has no format", output.port_type),
                    "leave it out, or let the type be `dataset`",
                );
            }
        }
        let words: &[String] = match &config.run {
            Run::Words(words) => words,
            Run::Shell(text) => std::slice::from_ref(text),
        };
        if words.first().is_none_or(|word| word.trim().is_empty()) {
            issues.with(["run"], "there is no program to run", "write `run: [PROGRAM, ARGUMENT]`");
        }
        for name in config.env.names() {
            if name.is_empty() || name.contains(['=', '\0']) {
                issues.with(
                    ["env"],
                    format!("`{name}` cannot name an environment variable"),
                    "write the name alone, or a mapping: `env: {NAME: value}`",
                );
            } else if name.starts_with("WICK_") {
                issues.with(
                    ["env"],
                    format!("`{name}` is wick's own: it tells the program of its attempt"),
                    "take a name that does not start with `WICK_`",
                );
            }
        }
        if config.run.words().any(|word| !secrets::named_in(word).is_empty()) {
            issues.with(
                ["run"],
                "a secret cannot stand in `run`: everyone on the machine sees the arguments of a \
                 program",
                "hand it over as a variable: `env: {NAME: \"${secrets.NAME}\"}`",
            );
        }
        ports
    }

    fn check(&self, config: &CommandConfig, known: &Known<'_>) -> Checked {
        let mut checked =
            Checked { environment: config.env.passed().to_vec(), ..Checked::default() };
        for word in config.run.words() {
            check_references(word, &["run"], config, known, &mut checked.issues);
        }
        for (name, value) in config.env.set() {
            check_references(value, &["env", name], config, known, &mut checked.issues);
        }
        let workdir = known.resolve(config.workdir.as_deref().unwrap_or(Path::new("")));
        if config.workdir.is_some() && !workdir.is_dir() {
            checked.issues.with(
                ["workdir"],
                format!("there is no folder {}", workdir.display()),
                "name a folder, from the pipeline file's own",
            );
        }
        for (place, path) in config.code.iter().enumerate() {
            let path = known.resolve(path);
            if path.exists() {
                checked.sources.push(path);
            } else {
                let path_to_it = [wick_stage::PathSegment::from("code"), place.into()];
                checked.issues.with(
                    path_to_it,
                    format!("there is no {}", path.display()),
                    "name files and folders from the pipeline file's own folder",
                );
            }
        }
        for path in named_code(&config.run, &workdir) {
            if !checked.sources.contains(&path) {
                checked.sources.push(path);
            }
        }
        checked
    }

    fn run(&self, _: CommandConfig, _: &mut Context<'_>) -> StageResult {
        Err(StageError::internal("the engine starts a command's program itself, without a worker"))
    }
}

/// Checks that every `${inputs.…}` and `${outputs.…}` in `word`, which stands at `place` of the
/// `with`, is there.
fn check_references(
    word: &str,
    place: &[&str],
    config: &CommandConfig,
    known: &Known<'_>,
    issues: &mut Issues,
) {
    for piece in pieces(word) {
        let Ok(Piece::Reference(reference)) = piece else { continue };
        let (there, names): (bool, Vec<&str>) = match reference.scope {
            "inputs" => (
                known.inputs.contains_key(reference.name),
                known.inputs.keys().map(PortName::as_str).collect(),
            ),
            "outputs" => (
                config.outputs.contains_key(reference.name),
                config.outputs.keys().map(String::as_str).collect(),
            ),
            _ => continue,
        };
        if !there {
            let message = format!("there is no `{}.{}`", reference.scope, reference.name);
            let help = if names.is_empty() {
                format!("the stage declares no {}", reference.scope)
            } else {
                format!("the stage's {} are {}", reference.scope, names.join(", "))
            };
            issues.with(place.iter().copied(), message, help);
        }
    }
}

/// What files of code are called.
const CODE: &[&str] = &[
    "py", "sh", "bash", "zsh", "r", "R", "jl", "js", "mjs", "ts", "pl", "rb", "lua", "sql", "ipynb",
];

/// Code below the folder `workdir` that the command names as words of its own: scripts by their
/// extension, and executable files. Data is not counted: the command may be what writes it.
/// Programs found by `PATH` and files elsewhere are the user's to declare.
fn named_code(run: &Run, workdir: &Path) -> Vec<PathBuf> {
    let separators: &[char] = match run {
        Run::Words(_) => &[],
        Run::Shell(_) => &[' ', '\t', '\n', ';', '&', '|', '<', '>', '(', ')', '"', '\''],
    };
    let mut found = Vec::new();
    for word in run.words().flat_map(|word| word.split(separators)) {
        let relative = Path::new(word);
        if word.is_empty() || relative.is_absolute() || word.contains("..") || word.contains("${") {
            continue;
        }
        let path = workdir.join(relative.strip_prefix(".").unwrap_or(relative));
        let Ok(metadata) = path.metadata() else { continue };
        let extension = relative.extension().and_then(|extension| extension.to_str());
        let is_code = extension.is_some_and(|extension| CODE.contains(&extension))
            || metadata.permissions().mode() & 0o111 != 0;
        if metadata.is_file() && is_code {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use serde_json::json;
    use wick_stage::PortFacts;

    use super::*;

    fn check(config: serde_json::Value, base: &Path) -> (Vec<String>, Vec<PathBuf>) {
        let kind = &kinds()[0];
        let mut inputs = IndexMap::new();
        inputs.insert(PortName::new("raw").expect("a name"), PortFacts::unknown(PortType::File));
        let messages = |issues: Vec<wick_stage::Issue>| -> Vec<String> {
            issues.into_iter().map(|issue| issue.message).collect()
        };
        match kind.ports(&config) {
            Err(issues) => (messages(issues), Vec::new()),
            Ok(_) => {
                let checked = kind.check(&config, &Known { base, inputs: &inputs });
                (messages(checked.issues.into_vec()), checked.sources)
            }
        }
    }

    #[test]
    fn references_must_lead_somewhere() {
        let base = Path::new("/nowhere");
        let config = json!({"run": ["cp", "${inputs.raw}", "${outputs.made}"]});
        assert_eq!(check(config, base).0, ["there is no `outputs.made`"]);
        let config =
            json!({"run": "cat ${inputs.row} > ${outputs.made}", "outputs": {"made": "file"}});
        assert_eq!(check(config, base).0, ["there is no `inputs.row`"]);
        let config = json!({"run": []});
        assert_eq!(check(config, base).0, ["there is no program to run"]);
        let config = json!({"run": "x", "env": {"A": "${inputs.raw}", "B": "${inputs.row}"}});
        assert_eq!(check(config, base).0, ["there is no `inputs.row`"]);
        let config = json!({"run": ["x", "${secrets.token}"]});
        assert!(check(config, base).0[0].starts_with("a secret cannot stand in `run`"));
        let config = json!({"run": "x", "env": {"WICK_RUN": 1}});
        assert!(check(config, base).0[0].starts_with("`WICK_RUN` is wick's own"));
        let config = json!({"run": "x", "outputs": {"a b": "file"}});
        assert_eq!(check(config, base).0, ["`a b` cannot name an output"]);
    }

    #[test]
    fn scripts_that_a_command_names_are_code() {
        let base = tempfile::tempdir().expect("a folder");
        std::fs::write(base.path().join("clean.py"), "").expect("written");
        let expect = vec![base.path().join("clean.py")];
        let config = json!({"run": ["python3", "clean.py", "-v"]});
        assert_eq!(check(config, base.path()), (vec![], expect.clone()));
        let config = json!({"run": "python3 ./clean.py>${outputs.x}", "outputs": {"x": "file"}});
        assert_eq!(check(config, base.path()), (vec![], expect.clone()));
        std::fs::write(base.path().join("out.csv"), "").expect("written");
        let config = json!({"run": "python3 clean.py > out.csv"});
        assert_eq!(check(config, base.path()), (vec![], expect.clone()));
        let config = json!({"run": ["python3", "clean.py"], "code": ["clean.py"]});
        assert_eq!(check(config, base.path()), (vec![], expect));
    }
}
