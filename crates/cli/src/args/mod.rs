//! What can be typed: the command line's grammar and help, apart from what it does.

mod data;
mod help;
mod history;
mod keep;
mod lineage;
mod marks;
mod models;
mod pipelines;
mod search;
mod tools;
mod trend;
mod up;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use data::{ExportArgs, ExportFormat, ImportArgs, ImportFrom, MlflowArgs, SqlArgs, SqlFormat};
pub use help::parse;
pub use history::{
    ArtifactsArgs, CompareArgs, DiffArgs, HistoryArgs, LogsArgs, MetricsArgs, ShowArgs,
    ShowSection, TableFormat,
};
pub use keep::{
    GcArgs, StoreArgs, StoreBackupArgs, StoreCheckArgs, StoreCommand, StoreCopyArgs,
    StoreMigrateArgs, StoreStatusArgs,
};
pub use lineage::{LineageArgs, LineageFormat};
pub use marks::{ArchiveArgs, DeleteArgs, NameArgs, NoteArgs, RestoreArgs, StarArgs, TagArgs};
pub use models::{ModelsArgs, PredictArgs, ServeArgs};
pub use pipelines::{
    CancelArgs, CheckArgs, ExecuteArgs, InitArgs, ParamArgs, PlanArgs, RerunArgs, RunArgs,
    WorkerArgs,
};
pub use search::{BestArgs, Mode, RunsArgs, RunsFormat};
pub use tools::{CompletionsArgs, DoctorArgs, KindsArgs, SchemaArgs};
pub use trend::TrendArgs;
pub use up::UpArgs;

pub(crate) const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().effects(Effects::BOLD))
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default());

const AFTER_HELP: &str = "\
Examples:
  wick init flowers && cd flowers     A small project to start from
  wick run pipeline.yaml              Run it; what is unchanged is not computed twice
  wick run pipeline.yaml -p epochs=3  The same with another param
  wick rerun                          Pick the last run up where it broke
  wick show                           What the last run did

Runs are named by id, by any unique prefix of it, or by @last.

Exit codes:
  0    success
  1    a run failed
  2    invalid input: the command line, a pipeline file, a name that does not exist
  70   internal: wick, the store or the machine failed
  75   busy: another wick drives the run, or another program holds the store
  130  cancelled";

/// A workflow engine for machine learning in one binary
#[derive(Debug, Parser)]
#[command(
    name = "wick",
    version,
    about,
    long_about = "A workflow engine for machine learning in one binary.\n\n\
        A pipeline is a YAML file of stages that load and clean data, train networks, evaluate, \
        explain, compress and deploy them. Every run, param, metric and artifact is recorded; \
        nothing that succeeded is computed twice.",
    after_help = AFTER_HELP,
    styles = STYLES,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,

    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The experiment store: a SQLite file or a postgres:// URL
    #[arg(
        long,
        global = true,
        value_name = "PLACE",
        env = "WICK_STORE",
        hide_env_values = true,
        value_hint = ValueHint::FilePath
    )]
    pub store: Option<String>,

    /// The project's folder, instead of the nearest one with a wick.yaml or a .wick/
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub project: Option<PathBuf>,

    /// When to use colours; NO_COLOR is respected
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,

    /// Say less: only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Table,
    /// For programs; carries a "version"
    Json,
}

/// The choice of an output format, for every command that prints a table.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

impl OutputArgs {
    /// Whether a program reads the result.
    pub fn is_json(&self) -> bool {
        self.output == OutputFormat::Json
    }
}

/// The commands; [`help`] says under which heading each stands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a small working project to start from
    Init(InitArgs),
    /// Find every mistake in pipeline files without running anything
    Check(CheckArgs),
    /// Show what a run would do: which stages are cached, which run, and why
    Plan(PlanArgs),
    /// Run a pipeline
    Run(RunArgs),
    /// Pick a run up where it broke; what succeeded is kept
    Rerun(RerunArgs),
    /// Stop a run that another terminal, or `wick up`, drives
    Cancel(CancelArgs),
    /// Run the project's pipelines by their schedules: at times, and when files change
    Up(UpArgs),
    /// List runs: all, or those that a filter means, in any order
    Runs(RunsArgs),
    /// Find the runs that did best by a metric, and the params in which they differ
    Best(BestArgs),
    /// Show everything recorded of a run
    Show(ShowArgs),
    /// Print what the stages of a run printed
    Logs(LogsArgs),
    /// Show the metrics of a run, as a table, a plot or CSV
    Metrics(MetricsArgs),
    /// Show what differs between runs: params, metrics, stages, curves
    Compare(CompareArgs),
    /// Show why stages differ between two runs
    Diff(DiffArgs),
    /// Show how a stage did over all runs: times, failures, metrics
    History(HistoryArgs),
    /// Show how a metric went from run to run
    Trend(TrendArgs),
    /// Show what an artifact, a model or a run came from, or what became of it
    Lineage(LineageArgs),
    /// Ask the history in SQL
    Sql(SqlArgs),
    /// Write the history to files for polars, pandas and DuckDB
    Export(ExportArgs),
    /// Remove what nobody needs any more: deleted and old runs, artifacts
    Gc(GcArgs),
    /// Check, move and look after the store as a whole
    Store(StoreArgs),
    /// Take the history of another program in: MLflow's
    Import(ImportArgs),
    /// List or export what the stages of a run made
    Artifacts(ArtifactsArgs),
    /// Call a run by a name
    Name(NameArgs),
    /// Write a note of a run
    Note(NoteArgs),
    /// Tag runs with words of your own
    Tag(TagArgs),
    /// Mark runs as favourites
    Star(StarArgs),
    /// Put runs away: lists leave them out
    Archive(ArchiveArgs),
    /// Throw runs away, until `wick gc` removes them for good
    Delete(DeleteArgs),
    /// Take back what was archived or deleted
    Restore(RestoreArgs),
    /// List registered models, their versions and aliases
    Models(ModelsArgs),
    /// Score a table with a model
    Predict(PredictArgs),
    /// Serve a registered model over HTTP
    Serve(ServeArgs),
    /// Explain the kinds of stages: what they take, make and can be told
    Kinds(KindsArgs),
    /// Print the JSON schema of pipeline files, for editors
    Schema(SchemaArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Check this machine and project: store, disk, cpu, git, python
    Doctor(DoctorArgs),
    /// Run one attempt; started by the engine
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Start and end the engine's processes; started by the engine
    #[command(hide = true)]
    Supervisor,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_shows_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.starts_with("Examples:\n"),
                "`wick {}` has no example",
                command.get_name()
            );
        }
    }
}
