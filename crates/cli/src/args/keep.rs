//! The commands that keep house.

use std::time::Duration;

use clap::{Args, Subcommand};
use wick_core::ExperimentName;

use super::OutputArgs;

/// `wick gc`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick gc                                    What could go, and how much that is\n  \
    wick gc --yes                              Remove it\n  \
    wick gc --older-than 90d --keep-last 100   Also old runs, but the last 100 of each experiment\n  \
    wick gc --experiment tries --keep-last 0 --yes\n\n\
    Goes: runs that were deleted, runs that the rules say, and artifacts that nothing needs any \
    more.\nStays: what a run or a model that stays needs, and the runs that models came from, \
    deleted or not;\nruns with a star or a tag `keep`; what runs now.\nRules that always hold stand in wick.yaml, `retention: {older_than: 90d, \
    keep_last: 100}`.")]
pub struct GcArgs {
    /// Do it; without this, nothing is removed
    #[arg(short, long, visible_alias = "delete")]
    pub yes: bool,

    /// Also runs that began longer ago: 90d, 12h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub older_than: Option<Duration>,

    /// Also all runs but the last N of each experiment; with --older-than, these stay though old
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,

    /// Only runs of this experiment
    #[arg(short, long, value_name = "NAME")]
    pub experiment: Option<ExperimentName>,

    /// Leave artifacts that were used within this time
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_time)]
    pub grace: Duration,

    /// Also damaged bytes that were set aside longer ago
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_time)]
    pub quarantine: Duration,

    /// Another store that uses the same place for artifacts: what it needs stays
    #[arg(long, value_name = "PLACE")]
    pub also: Vec<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    wick_pipeline::units::parse_duration(text)
}

/// `wick store`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    wick store status          Where is it, how large, who is at work?\n  \
    wick store check           Is everything there that the store names?\n  \
    wick store check --deep    And is every byte what it was?"
)]
pub struct StoreArgs {
    /// What to do
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What can be done with a store as a whole.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Show where the store is, its version, what is in it, and which engines are at work
    Status(StoreStatusArgs),
    /// Bring the store up to the version of this wick
    Migrate(StoreMigrateArgs),
    /// Check that every artifact that the store names is there, and undamaged
    Check(StoreCheckArgs),
    /// Copy everything to another store, SQLite or PostgreSQL
    Copy(StoreCopyArgs),
    /// Write everything into a SQLite file
    Backup(StoreBackupArgs),
}

/// `wick store copy`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick store copy --to postgres://server/wick\n  \
    wick store copy --to postgres://server/wick --artifacts s3://bucket/wick\n  \
    wick store copy --to /backup/history.db\n  \
    wick store copy --store postgres://server/wick --to .wick/store.db\n\n\
    Runs that are there are left as they are, unless they came further since: copying again goes\n\
    on where it was interrupted. In the end all runs are compared by their digests.\n\n\
    The artifacts go to where the other store is used: of a file in a project, to the place of\n\
    that project; of any other file, to the folder `artifacts` beside it. A PostgreSQL has no\n\
    folder: its artifacts stay where this project has them, unless --artifacts says where to.")]
pub struct StoreCopyArgs {
    /// The other store: a path or a URL
    #[arg(long, value_name = "STORE")]
    pub to: String,

    /// Copy the artifacts to this folder or URL
    #[arg(long, value_name = "PLACE")]
    pub artifacts: Option<String>,

    /// Copy no artifacts, only what the store itself holds
    #[arg(long, conflicts_with = "artifacts")]
    pub no_artifacts: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick store backup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick store backup history.db\n  \
    wick store backup --store postgres://server/wick history.db\n  \
    wick runs --store history.db\n\n\
    The file is a store of its own. It is there whole or not at all; runs may go on meanwhile.\n\
    Artifacts are not in it.")]
pub struct StoreBackupArgs {
    /// The file to write
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: std::path::PathBuf,
}

/// `wick store check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick store check\n  \
    wick store check --deep     Reads every byte of every artifact, in the bucket too\n  \
    wick store check -o json\n\n\
    Exits with 0 if nothing is missing or damaged, else with 70.")]
pub struct StoreCheckArgs {
    /// Read all artifacts and compare their digests, not only their sizes
    #[arg(long)]
    pub deep: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick store status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick store status\n  \
    wick store status --store postgres://server/wick -o json\n\n\
    It changes nothing: no store is made, none is migrated.")]
pub struct StoreStatusArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick store migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick store migrate\n  \
    wick store migrate --store postgres://server/wick\n\n\
    Every command does so by itself when it opens an older store; this one says what it did. An\n\
    older wick refuses a store that a newer one has migrated, and there is no way back: make a\n\
    backup first.")]
pub struct StoreMigrateArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}
