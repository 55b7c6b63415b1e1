//! `wick up`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ExecuteArgs, OutputArgs};

/// `wick up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick up                       Every pipeline of the project that declares a schedule\n  \
    wick up nightly.yaml          Only this one\n  \
    wick up --list                What would begin when; begins nothing\n  \
    wick up -o json >> up.log     A JSON object a line\n\n\
    A pipeline declares when its runs begin:\n  \
    schedule: {cron: \"0 3 * * *\", timezone: Europe/Zurich, on_change: [\"data/*.csv\"],\n             \
    missed: run_once, overlap: queue}\n\n\
    One `wick up` runs for each store. Pipelines run side by side, each at most once at a time;\n\
    files are read again for each run. Ctrl-C once begins no more runs and lets the running\n\
    stages end; twice stops them. Either way `wick rerun RUN` goes on with a run that was cut\n\
    short.")]
pub struct UpArgs {
    /// The pipeline files, or names of the project's pipelines; by default all with a schedule
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// Show what would begin when, and end
    #[arg(long, visible_alias = "dry-run")]
    pub list: bool,

    /// With --list: how many times of each pipeline are shown
    #[arg(short = 'n', long, value_name = "N", default_value_t = 3, requires = "list")]
    pub count: u8,

    /// Drive at most so many runs at once; others wait for their turn
    #[arg(long, value_name = "N")]
    pub runs: Option<NonZeroUsize>,

    #[command(flatten)]
    pub execute: ExecuteArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}
