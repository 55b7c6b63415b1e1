//! The commands that read pipeline files.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use wick_pipeline::Override;

use super::OutputArgs;

/// Params given from outside the pipeline file.
#[derive(Debug, Clone, Default, Args)]
pub struct ParamArgs {
    /// Set a param; may be given several times, the last one counts
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = Override::parse)]
    pub params: Vec<Override>,

    /// Read params from a YAML or JSON file of names and values; -p goes before it
    #[arg(long = "params", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub param_files: Vec<PathBuf>,
}

/// How a run is executed.
#[derive(Debug, Clone, Default, Args)]
pub struct ExecuteArgs {
    /// Compute every stage anew, whatever succeeded before
    #[arg(long)]
    pub no_cache: bool,

    /// Run at most so many stages at once, whatever the machine has room for
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroU32>,

    /// After a failure, still run every stage that does not depend on it: the default
    #[arg(short, long, overrides_with = "fail_fast")]
    keep_going: bool,

    /// Start nothing more after the first failure
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,
}

impl ExecuteArgs {
    /// Whether stages that do not depend on a failed one still run.
    pub const fn keep_going(&self) -> bool {
        self.keep_going || !self.fail_fast
    }
}

/// `wick init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick init                 In this folder\n  \
    wick init plants          In a new folder\n  \
    cd plants && wick run pipeline.yaml")]
pub struct InitArgs {
    /// The folder; made if it does not exist
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// `wick check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick check                               All pipelines of the project\n  \
    wick check pipeline.yaml\n  \
    wick check pipelines/*.yaml\n  \
    wick check pipeline.yaml -p epochs=0     With other params\n  \
    wick check pipeline.yaml -o json         For editors and CI")]
pub struct CheckArgs {
    /// The pipeline files, or names of the project's pipelines; by default all of them
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub params: ParamArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick plan pipeline.yaml\n  \
    wick plan pipeline.yaml -p epochs=3      What would this param change?\n  \
    wick plan pipeline.yaml -o json")]
pub struct PlanArgs {
    /// The pipeline file, or the name of a pipeline of the project
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    #[command(flatten)]
    pub params: ParamArgs,

    /// Plan as if nothing had succeeded before
    #[arg(long)]
    pub no_cache: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick run pipeline.yaml\n  \
    wick run digits                          The project's pipeline of this name\n  \
    wick run pipeline.yaml -p epochs=3 -p learning_rate=0.01\n  \
    wick run pipeline.yaml --params small.yaml\n  \
    wick run pipeline.yaml --no-cache -j 1\n\n\
    Ctrl-C once lets the running stages end and starts no more; twice stops them at once.\n\
    Either way `wick rerun` goes on from there.")]
pub struct RunArgs {
    /// The pipeline file, or the name of a pipeline of the project
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    #[command(flatten)]
    pub params: ParamArgs,

    #[command(flatten)]
    pub execute: ExecuteArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick rerun`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick rerun                  The last run\n  \
    wick rerun 7h2k             A run by a prefix of its id\n  \
    wick rerun -p epochs=20     The same again, with another param\n\n\
    The pipeline file is read again. If the plan is unchanged the run itself goes on with more\n\
    attempts; if you have mended the file, a new run begins that names this one as its parent.\n\
    Either way every stage that succeeded and is unchanged is kept.")]
pub struct RerunArgs {
    /// The run: an id, a unique prefix of one, or @last
    #[arg(default_value = "@last")]
    pub run: String,

    #[command(flatten)]
    pub params: ParamArgs,

    #[command(flatten)]
    pub execute: ExecuteArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick worker`, hidden.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The attempt's folder
    pub folder: PathBuf,
}
