//! `wick lineage`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// How `wick lineage` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LineageFormat {
    /// Lines for people
    Tree,
    /// For programs; carries a "version"
    Json,
    /// A drawing
    Svg,
    /// For Graphviz
    Dot,
}

/// `wick lineage`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick lineage mnist@production              All that this model came from\n  \
    wick lineage mnist:3                       Version 3 of it\n  \
    wick lineage 7h2k:evaluate.report          What a stage of a run made\n  \
    wick lineage train.model                   The same of the last run\n  \
    wick lineage @last                         All results of a run\n  \
    wick lineage 3fa92b1c --forward            What became of an artifact, in every run\n  \
    wick lineage data/iris.csv                 What was made of a file\n  \
    wick lineage mnist -o svg --write mnist.svg\n\n\
    A stage that was cached leads to the run that computed. `with` is what a stage was told.")]
pub struct LineageArgs {
    /// A model, a run, RUN:STAGE.OUTPUT, the first digits of a digest, or a file
    pub what: String,

    /// What became of it, rather than what it came from
    #[arg(long)]
    pub forward: bool,

    /// At most so many stages one after the other; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub depth: usize,

    /// At most so many stages altogether; 0 for all
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "tree")]
    pub output: LineageFormat,

    /// Write a drawing into this file rather than to the standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub write: Option<PathBuf>,
}
