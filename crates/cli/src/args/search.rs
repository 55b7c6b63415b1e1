//! The commands that find runs.

use clap::{Args, ValueEnum};
use wick_core::{ExperimentName, RunState};

/// The filter language, behind the examples of `wick runs --help`.
const RUNS_HELP: &str = "Examples:
  wick runs
  wick runs --state failed
  wick runs 'metrics.accuracy > 0.97 and params.lr < 0.01'
  wick runs \"tags.team = 'vision' or starred\" --sort 'metrics.accuracy desc'
  wick runs \"started > '2 days ago' and stage.train.duration > '10m'\"
  wick runs --columns 'params.lr, metrics.accuracy' -n 100 --page 2
  wick runs 'params.lr is not null' --columns params.lr -o csv > runs.csv

What a filter can ask:
  metrics.KEY  metrics.STAGE.KEY     the latest value: of any stage, of one
  params.NAME                        numbers as numbers, texts as texts
  tags.KEY                           what `wick tag` set
  run_id name experiment pipeline state started finished duration parent
  note user host starred archived deleted git.commit git.branch git.dirty
  stage.NAME.status|duration|attempts|kind
  artifact.STAGE.digest|bytes|type   of one output: artifact.STAGE.PORT.digest
  dataset.name|digest|context        what stages read of the type dataset

How:
  = != < <= > >=    in ('a', 'b')    between 1 and 2    like 'a%'    ilike 'A_'
  is null    is nan    and    or    not    ( )
  Texts stand in quotes, odd keys in backquotes: tags.`a b`, metrics.`train[lr=0.1].loss`.
  Times: '2026-11-01', '2026-11-01 12:30', 'yesterday', '2 days ago', in UTC; a number is
  milliseconds since 1970. Durations: '90s', '1h30m'; a number is seconds.
  A comparison with what is missing is false; `not` of it is true. MLflow's filters mean the same.";

/// How `wick runs` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RunsFormat {
    /// For people
    Table,
    /// For programs; carries a "version"
    Json,
    /// One line a run, with a header
    Csv,
}

/// `wick runs`.
#[derive(Debug, Args)]
#[command(after_help = RUNS_HELP)]
pub struct RunsArgs {
    /// Only runs like this, such as "metrics.accuracy > 0.97"
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,

    /// Only runs of this experiment (by default a pipeline's name)
    #[arg(short, long, value_name = "NAME")]
    pub experiment: Option<ExperimentName>,

    /// Only runs in this state: running, succeeded, failed, cancelled, interrupted
    #[arg(short, long, value_parser = parse_run_state)]
    pub state: Option<RunState>,

    /// By what to sort, such as "metrics.accuracy desc, started"; the newest come first
    #[arg(long, value_name = "FIELDS")]
    pub sort: Option<String>,

    /// What to show of each run, such as "params.lr, metrics.accuracy"
    #[arg(long, value_name = "FIELDS")]
    pub columns: Option<String>,

    /// At most so many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Which page of so many, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub page: u32,

    /// Archived runs only
    #[arg(long, group = "put_away")]
    pub archived: bool,

    /// Deleted runs only, as long as they can be restored
    #[arg(long, group = "put_away")]
    pub deleted: bool,

    /// Archived and deleted runs, too
    #[arg(long, group = "put_away")]
    pub all: bool,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: RunsFormat,
}

fn parse_run_state(text: &str) -> Result<RunState, String> {
    text.parse().map_err(|_| {
        let states: Vec<_> = RunState::ALL.iter().map(|state| state.as_str()).collect();
        format!("a run is one of {}", states.join(", "))
    })
}

/// Which value of a metric is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The greatest
    Max,
    /// The smallest
    Min,
}

/// `wick best`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick best --metric evaluate.accuracy\n  \
    wick best --metric validation.loss -n 10           A loss is best when it is low\n  \
    wick best --metric images_per_second --mode max\n  \
    wick best --metric accuracy \"params.optimizer = 'adam' and started > '1 week ago'\"\n  \
    wick best --metric accuracy -o json\n\n\
    `wick runs --help` explains filters.")]
pub struct BestArgs {
    /// Only among runs like this, such as "params.optimizer = 'adam'"
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,

    /// The metric: `key` of any stage, or `stage.key`
    #[arg(short, long, value_name = "KEY")]
    pub metric: String,

    /// Which value is best; by default told by the metric's name
    #[arg(long)]
    pub mode: Option<Mode>,

    /// Only runs of this experiment (by default a pipeline's name)
    #[arg(short, long, value_name = "NAME")]
    pub experiment: Option<ExperimentName>,

    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    #[command(flatten)]
    pub output: super::OutputArgs,
}
