//! The commands that use registered models.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::OutputArgs;

/// `wick models`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick models\n  \
    wick models mnist\n  \
    wick models -o json")]
pub struct ModelsArgs {
    /// Only the model of this name
    pub name: Option<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick predict`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick predict titanic passengers.csv                 The newest version\n  \
    wick predict titanic@production passengers.csv      The one with this alias\n  \
    wick predict titanic@2 passengers.csv -o out.csv    Version 2, into a file\n  \
    wick predict @last:train.model passengers.csv       A model that a run made\n  \
    wick predict ./exported/model passengers.csv        A model's folder\n\n\
    The rows are given as they were before any preprocessing: the model carries its transform.")]
pub struct PredictArgs {
    /// A registered model as NAME, NAME@ALIAS or NAME@VERSION; a run's as RUN:STAGE.OUTPUT; or a folder
    pub model: String,

    /// The table: CSV, Parquet, Arrow IPC or JSON lines
    #[arg(value_hint = ValueHint::FilePath)]
    pub data: PathBuf,

    /// Where to write: .csv, .parquet, .arrow or .jsonl by its ending; by default CSV to the standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Also write the probability of every class, as probability_CLASS
    #[arg(long)]
    pub probabilities: bool,
}

/// `wick serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick serve mnist                    The alias `production` if there is one, else the newest\n  \
    wick serve mnist@staging --port 9000\n  \
    curl -s localhost:8080/predict -d '{\"rows\": [{\"age\": 22, \"fare\": 7.25}]}'")]
pub struct ServeArgs {
    /// The model, as NAME, NAME@ALIAS or NAME@VERSION
    pub model: String,

    /// The address to listen on; 0.0.0.0 for every network
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// The port; 0 for any free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
}
