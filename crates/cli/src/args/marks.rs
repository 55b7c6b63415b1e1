//! The commands by which people say something of runs.

use clap::Args;

use super::OutputArgs;

/// `wick name`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick name @last baseline     Call the last run so\n  \
    wick show baseline           A name that only one run has is as good as its id\n  \
    wick name baseline           Tell the run's name\n  \
    wick name baseline --remove")]
pub struct NameArgs {
    /// The run
    pub run: String,

    /// The name; without it, the run's name is told
    pub name: Option<String>,

    /// Take the name away
    #[arg(long, conflicts_with = "name")]
    pub remove: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick note`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick note @last \"better after cleaning the labels\"\n  \
    wick note 7h2k               Write it in $VISUAL or $EDITOR\n  \
    wick note 7h2k - < notes.md  Take it from the standard input\n  \
    wick note 7h2k --remove")]
pub struct NoteArgs {
    /// The run
    pub run: String,

    /// The note; `-` reads the standard input; without it, an editor is opened
    pub text: Option<String>,

    /// Take the note away
    #[arg(long, conflicts_with = "text")]
    pub remove: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick tag`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick tag @last team=vision data=2026-11\n  \
    wick tag 7h2k m3xa team=vision    Several runs at once\n  \
    wick tag 7h2k --remove data\n  \
    wick tag 7h2k                     Tell the run's tags")]
pub struct TagArgs {
    /// Runs, then tags
    #[arg(required = true, value_name = "RUN… KEY=VALUE")]
    pub words: Vec<String>,

    /// Take the tag with this key away
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick star`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick star @last\n  \
    wick star 7h2k m3xa\n  \
    wick star 7h2k --remove")]
pub struct StarArgs {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,

    /// Take the star away
    #[arg(long)]
    pub remove: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick archive`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick archive 7h2k m3xa\n  \
    wick restore 7h2k          Take it out again\n\n\
    An archived run stays as it is; lists and searches leave it out unless asked for it.")]
pub struct ArchiveArgs {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick delete 7h2k m3xa\n  \
    wick restore 7h2k          Until `wick gc` has removed it\n\n\
    A deleted run is hidden. `wick gc` removes it for good and frees the bytes that no other run\n\
    and no model needs.")]
pub struct DeleteArgs {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick restore`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick restore 7h2k m3xa\n\n\
    Takes back `wick delete` and `wick archive`.")]
pub struct RestoreArgs {
    /// The runs: ids or unique prefixes of them
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}
