//! The commands that read pipeline files.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use wick_pipeline::Override;
use wick_plan::Selection;

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

/// Which stages a run is about. A stage may also be an instance (`train[lr=0.1]`), a stage with
/// instances (all of them), or a sub-pipeline (all its stages).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which stages")]
pub struct SelectionArgs {
    /// Compute this stage and all that depends on it anew; reuse what they need
    #[arg(long, value_name = "STAGE")]
    pub from: Vec<String>,

    /// Compute this stage alone anew; what it needs must be there
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["from", "until"])]
    pub only: Vec<String>,

    /// Only this stage and what it needs; with --from: what lies between
    #[arg(long, value_name = "STAGE")]
    pub until: Vec<String>,

    /// Compute this stage anew; everything else as usual
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
}

impl SelectionArgs {
    /// What was asked for; `all` is `--all`.
    pub fn selection(&self, all: bool) -> Selection {
        Selection {
            from: self.from.clone(),
            only: self.only.clone(),
            until: self.until.clone(),
            force: self.force.clone(),
            all,
        }
    }
}

/// `wick cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick cancel                 The run that goes on, if it is the only one\n  \
    wick cancel 7h2k            A run by a prefix of its id\n  \
    wick cancel 7h2k -o json\n\n\
    Its running stages are stopped; what has succeeded is kept, and `wick rerun` goes on from\n\
    there. Exits with 0 when the run has ended, whoever ended it.")]
pub struct CancelArgs {
    /// The run: an id, a unique prefix of one, or @last; by default the only one that goes on
    pub run: Option<String>,

    /// Only ask, and do not wait until it has stopped
    #[arg(long)]
    pub no_wait: bool,

    #[command(flatten)]
    pub output: OutputArgs,
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
    wick plan pipeline.yaml --from train     What would `wick run` do with the same flags?\n  \
    wick plan pipeline.yaml --why train      Every reason why this stage would run\n  \
    wick plan --rerun                        What would `wick rerun` do?\n  \
    wick plan --rerun 7h2k --all\n  \
    wick plan pipeline.yaml -o json\n\n\
    Nothing is run, and nothing is recorded.")]
pub struct PlanArgs {
    /// The pipeline file, or the name of a pipeline of the project
    #[arg(
        value_hint = ValueHint::FilePath,
        required_unless_present = "rerun",
        conflicts_with = "rerun"
    )]
    pub file: Option<PathBuf>,

    /// Plan the rerun of a run, by default the last, rather than a new run
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "@last")]
    pub rerun: Option<String>,

    #[command(flatten)]
    pub params: ParamArgs,

    /// Show every reason why stages would run; with a stage only of this one
    #[arg(long, value_name = "STAGE", num_args = 0..=1)]
    pub why: Option<Option<String>>,

    /// Plan as if nothing had succeeded before
    #[arg(long)]
    pub no_cache: bool,

    #[command(flatten)]
    pub output: OutputArgs,

    // Last: what follows would stand under its heading.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// With --rerun: everything anew
    #[arg(long, conflicts_with_all = ["from", "only", "until", "force"])]
    pub all: bool,
}

/// `wick run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick run pipeline.yaml\n  \
    wick run digits                          The project's pipeline of this name\n  \
    wick run pipeline.yaml -p epochs=3 -p learning_rate=0.01\n  \
    wick run pipeline.yaml --params small.yaml\n  \
    wick run pipeline.yaml --until evaluate      Only it and what it needs\n  \
    wick run pipeline.yaml --from train          It and what depends on it, anew\n  \
    wick run pipeline.yaml --no-cache -j 1\n\n\
    `wick plan` with the same flags tells beforehand what would run, and why.\n\
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

    // Last: what follows would stand under its heading.
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// `wick rerun`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick rerun                  The last run\n  \
    wick rerun 7h2k             A run by a prefix of its id\n  \
    wick rerun -p epochs=20     The same again, with another param\n  \
    wick rerun --from train     This stage and what depends on it, anew\n  \
    wick rerun --all            Everything anew\n  \
    wick plan --rerun           What would happen, and why\n\n\
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

    // Last: what follows would stand under its heading.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Compute everything anew
    #[arg(long, conflicts_with_all = ["from", "only", "until", "force"])]
    pub all: bool,
}

/// `wick worker`, hidden.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The attempt's folder
    pub folder: PathBuf,
}
