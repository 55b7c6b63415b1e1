//! The commands that take the history out of wick, and bring other histories in.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::OutputArgs;

/// How `wick sql` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SqlFormat {
    /// For people
    Table,
    /// For programs; carries a "version"
    Json,
    /// One line a row, with a header
    Csv,
}

/// `wick sql`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick sql --schema                             The views and their columns\n  \
    wick sql \"SELECT state, count(*) FROM runs GROUP BY state\"\n  \
    wick sql \"SELECT run, value FROM latest_metrics WHERE key = 'accuracy' ORDER BY value DESC\"\n  \
    wick sql --file worst.sql -o csv > worst.csv\n  \
    echo 'SELECT 1' | wick sql -\n\n\
    Nothing but queries is executed, and nothing can be changed. Times are in UTC.")]
pub struct SqlArgs {
    /// The query; `-` reads it from the standard input
    #[arg(required_unless_present_any = ["file", "schema"])]
    pub query: Option<String>,

    /// Read the query from this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "query", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// At most so many rows; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
    pub limit: u64,

    /// Give up after so long: 30s, 5m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_timeout)]
    pub timeout: Duration,

    /// Show how the database would answer, instead of the answer
    #[arg(long)]
    pub explain: bool,

    /// Print the views that can be asked, and their columns
    #[arg(long, conflicts_with_all = ["query", "file", "explain"])]
    pub schema: bool,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: SqlFormat,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A table for each view of `wick sql`: for polars, pandas and DuckDB
    Parquet,
    /// A line of JSON for each run and each model, with all that is known of them
    Json,
}

impl ExportFormat {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ExportFormat::Parquet => "parquet",
            ExportFormat::Json => "json",
        }
    }
}

/// `wick export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick export                       All runs, to wick-export/runs.parquet, metrics.parquet, …\n  \
    wick export 'experiment = \"digits\" and metrics.accuracy > 0.9'\n  \
    wick export -o /data/history --force\n  \
    wick export --output-format json  All that is known, to runs.jsonl and models.jsonl\n\n\
    Then, for example: duckdb -c \"SELECT * FROM 'wick-export/latest_metrics.parquet'\"\n\
    The columns are those of `wick sql --schema`; times are in UTC.")]
pub struct ExportArgs {
    /// Only the runs that this filter finds: `wick runs --help` explains filters
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,

    /// The folder to be made
    #[arg(short, long, value_name = "DIR", default_value = "wick-export", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,

    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "parquet")]
    pub output_format: ExportFormat,

    /// Replace an earlier export
    #[arg(long)]
    pub force: bool,
}

/// `wick import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick import mlflow mlruns\n  \
    wick import mlflow mlflow.db\n  \
    wick import mlflow http://localhost:5000")]
pub struct ImportArgs {
    /// Whose history
    #[command(subcommand)]
    pub from: ImportFrom,
}

/// Whose history can be imported.
#[derive(Debug, Subcommand)]
pub enum ImportFrom {
    /// MLflow's: a folder, a SQLite database, or a tracking server
    Mlflow(MlflowArgs),
}

/// `wick import mlflow`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick import mlflow mlruns --artifacts\n  \
    wick import mlflow sqlite:///mlflow.db\n  \
    wick import mlflow https://mlflow.example.org\n\n\
    Experiments, runs, params, tags, notes and the whole history of each metric become runs of one\n\
    stage, `mlflow`. What was deleted, or cannot be read, is left out and told. A second import adds\n\
    what is new. A server is asked as MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or\n\
    MLFLOW_TRACKING_TOKEN say.")]
pub struct MlflowArgs {
    /// A folder (mlruns), a database (mlflow.db), or the address of a tracking server
    #[arg(value_hint = ValueHint::AnyPath)]
    pub place: String,

    /// Also copy the files of runs into the artifact store; of a folder only
    #[arg(long)]
    pub artifacts: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `500ms`, `30s`, `5m`, `1h`.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as 500ms, 30s, 5m or 1h".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(millis) {
        // A day is beyond anybody's patience, and within every clock's range.
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        Some(0) => Err("it needs some time".to_owned()),
        _ => Err("at most 24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let parse = |text| parse_timeout(text).ok();
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
        for wrong in ["", "30", "s", "0s", "-1s", "1d", "25h", "99999999999999999999s", "é"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
