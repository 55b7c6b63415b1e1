//! `wick trend`.

use clap::Args;
use wick_core::ExperimentName;

use super::{Mode, TableFormat};

/// `wick trend`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick trend evaluate.accuracy                       Over the last runs\n  \
    wick trend train.loss \"params.lr < 0.01\"           Only of runs like this\n  \
    wick trend accuracy --all -n 500\n  \
    wick trend evaluate.accuracy -o csv > accuracy.csv\n\n\
    A star marks a run that was better than all before it. Without --experiment it is that of the\n\
    newest run that has the metric.")]
pub struct TrendArgs {
    /// The metric: `key` of any stage, or `stage.key`
    pub metric: String,

    /// Only runs like this; `wick runs --help` tells how to say it
    pub filter: Option<String>,

    /// Only runs of this experiment (by default a pipeline's name)
    #[arg(short, long, value_name = "NAME")]
    pub experiment: Option<ExperimentName>,

    /// Runs of every experiment
    #[arg(long, conflicts_with = "experiment")]
    pub all: bool,

    /// Which value is best; by default told by the metric's name
    #[arg(long)]
    pub mode: Option<Mode>,

    /// At most so many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Which page of them, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub page: u32,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: TableFormat,
}
