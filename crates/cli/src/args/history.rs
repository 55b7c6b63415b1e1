//! The commands that ask what was recorded.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use wick_core::ExperimentName;

use super::OutputArgs;

/// `wick show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick show                   The last run\n  \
    wick show 7h2k              A run by a prefix of its id\n  \
    wick show --only params,metrics\n  \
    wick show --only resources,attempts\n  \
    wick show --data            How the values of its datasets are distributed\n  \
    wick show --data parts.train\n  \
    wick show --pipeline        The pipeline file as it was run\n  \
    wick show --diff            What differed from the commit: `… | git apply`\n  \
    wick show -o json")]
pub struct ShowArgs {
    /// The run: an id, a unique prefix of one, or @last
    #[arg(default_value = "@last")]
    pub run: String,

    /// Only these sections, apart by commas
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    pub only: Vec<ShowSection>,

    /// Print the pipeline file as it was run, and nothing else
    #[arg(long, conflicts_with_all = ["output", "only", "diff", "data"])]
    pub pipeline: bool,

    /// Print what differed from the commit that was checked out, and nothing else
    #[arg(long, conflicts_with_all = ["output", "only", "data"])]
    pub diff: bool,

    /// Show how the values of datasets are distributed: of this stage, of this `stage.output`, or
    /// of all
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
          conflicts_with = "only")]
    pub data: Option<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// A part of what `wick show` tells, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShowSection {
    /// The run itself: its state, times, name, note, tags
    Overview,
    /// What it was told
    Params,
    /// Its stages and what came of them
    Stages,
    /// Every try of a stage, and what it used
    Attempts,
    /// What all attempts used together: time, memory, disk, GPUs, energy and CO₂
    Resources,
    /// The last value of every metric
    Metrics,
    /// What each stage read, and which run had made it
    Inputs,
    /// What its stages made
    Artifacts,
    /// The layers of the models
    Models,
    /// The machine and the code
    Environment,
    /// What failed, and the end of its log
    Failures,
}

/// `wick logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick logs                       Of the last run: the stages that failed, or all\n  \
    wick logs @last train           One stage\n  \
    wick logs 7h2k train --tail 50  Its last 50 lines\n  \
    wick logs @last train --follow  While it runs")]
pub struct LogsArgs {
    /// The run: an id, a unique prefix of one, or @last
    #[arg(default_value = "@last")]
    pub run: String,

    /// Only this stage
    pub stage: Option<String>,

    /// This attempt rather than the last
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,

    /// Only the last N lines
    #[arg(short, long, visible_short_alias = 'n', value_name = "N")]
    pub tail: Option<usize>,

    /// Go on printing until the attempt ends
    #[arg(short, long)]
    pub follow: bool,
}

/// How numbers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people
    Table,
    /// For programs; carries a "version"
    Json,
    /// For spreadsheets
    Csv,
}

/// `wick metrics`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick metrics                                 Of the last run\n  \
    wick metrics @last train.validation.loss     Its curve\n  \
    wick metrics 7h2k loss                       `loss` of every stage that has one\n  \
    wick metrics @last loss --with 7h2k          The curves of two runs beside each other\n  \
    wick metrics @last --system                  What the machine measured, too\n  \
    wick metrics 7h2k -o csv > metrics.csv       Every point of every series")]
pub struct MetricsArgs {
    /// The run: an id, a unique prefix of one, or @last
    #[arg(default_value = "@last")]
    pub run: String,

    /// Only this metric: `stage.key` or `key`; as a plot
    pub key: Option<String>,

    /// Also show what the machine measured: cpu, memory, disk, power
    #[arg(long)]
    pub system: bool,

    /// Show the curves of these runs beside it; needs a KEY
    #[arg(long, value_name = "RUN", requires = "key")]
    pub with: Vec<String>,

    /// Thin each series to about N points, keeping its peaks; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub points: usize,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: TableFormat,
}

/// `wick compare`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick compare 7h2k @last\n  \
    wick compare 7h2k m3xa @last     As many as you like, a column each\n  \
    wick compare 7h2k m3xa --curves train.loss\n  \
    wick compare 7h2k m3xa --all     Also what is equal\n  \
    wick compare 7h2k m3xa -o csv\n\n\
    What differs most comes first: of two runs by the change in shares of the first, of more by\n\
    how far the values lie apart in shares of their size. Stages are told against the first run.")]
pub struct CompareArgs {
    /// Two runs or more
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub runs: Vec<String>,

    /// Also show what is equal
    #[arg(long)]
    pub all: bool,

    /// Also compare what the machine measured: cpu, memory, disk, power
    #[arg(long)]
    pub system: bool,

    /// Show the curves of this metric, rather than of the one that differs most
    #[arg(long, value_name = "KEY")]
    pub curves: Option<String>,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: TableFormat,
}

/// `wick diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick diff 7h2k @last             Which stages differ, and why\n  \
    wick diff 7h2k @last train       Only this one\n  \
    wick diff 7h2k m3xa -o json\n\n\
    `wick compare` shows params and metrics side by side.")]
pub struct DiffArgs {
    /// A run
    pub a: String,

    /// Another run
    pub b: String,

    /// Only this stage; or all instances of it, or all stages of this sub-pipeline
    pub stage: Option<String>,

    /// Also show what is equal
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick artifacts`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick artifacts                               Of the last run\n  \
    wick artifacts @last train.model             One of them\n  \
    wick artifacts @last --export out            Copy them to out/STAGE/OUTPUT\n  \
    wick artifacts 7h2k train --export out")]
pub struct ArtifactsArgs {
    /// The run: an id, a unique prefix of one, or @last
    #[arg(default_value = "@last")]
    pub run: String,

    /// Only this stage, or this output of it: `stage` or `stage.output`
    pub name: Option<String>,

    /// Copy them into this folder, each verified on the way
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub export: Option<PathBuf>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick history train               The last runs of the stage\n  \
    wick history train -n 200        More of them\n  \
    wick history train --page 2      The ones before\n  \
    wick history 'train[lr=0.1]'     One instance; `train` means all of them\n  \
    wick history train -o json\n\n\
    Median, p95 and the rate of failures are of the runs that are shown. Without --experiment it\n\
    is that of the newest run that has the stage.")]
pub struct HistoryArgs {
    /// The stage
    pub stage: String,

    /// Only runs of this experiment (by default a pipeline's name)
    #[arg(short, long, value_name = "NAME")]
    pub experiment: Option<ExperimentName>,

    /// Runs of every experiment
    #[arg(long, conflicts_with = "experiment")]
    pub all: bool,

    /// At most so many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Which page of them, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub page: u32,

    #[command(flatten)]
    pub output: OutputArgs,
}
