//! The commands around the work: documentation, editors, shells, the machine.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

use super::OutputArgs;

/// `wick kinds`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick kinds             All of them, a line each\n  \
    wick kinds train       Everything about one\n  \
    wick kinds train -o json")]
pub struct KindsArgs {
    /// Explain this kind
    pub name: Option<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// `wick schema`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick schema > pipeline.schema.json\n  \
    wick schema --write schema/pipeline.json\n\n\
    Editors with a YAML language server complete and check a pipeline that begins with:\n  \
    # yaml-language-server: $schema=pipeline.schema.json")]
pub struct SchemaArgs {
    /// Write it into this file rather than to the standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub write: Option<PathBuf>,
}

/// `wick completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick completions bash > ~/.local/share/bash-completion/completions/wick\n  \
    wick completions zsh > ~/.zfunc/_wick\n  \
    wick completions fish > ~/.config/fish/completions/wick.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// `wick doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wick doctor\n  \
    wick doctor -o json\n\n\
    Exits with 0 unless something that wick needs is broken.")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}
