//! `wick completions`: completions for a shell.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::error::{CommandResult, ExitCode};
use crate::render::Ui;

pub fn completions(args: &CompletionsArgs, ui: &Ui) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wick", &mut script);
    ui.write(&script);
    Ok(ExitCode::Success)
}
