//! The `wick` command: what can be typed ([`args`]), what it does ([`commands`]), how it looks
//! ([`render`], [`progress`]).
//!
//! The libraries print nothing and know no terminal; everything that a person sees is made
//! here. `main` does nothing before the command is known, so that `wick --version` and the
//! engine's own subcommands start at once.

mod args;
mod commands;
mod curves;
mod drive;
mod environment;
mod error;
mod filter;
mod history;
mod hooks;
mod memory;
mod model;
mod pipeline;
mod progress;
mod project;
mod registry;
mod render;
mod session;
mod up;

use std::process::ExitCode;

use crate::args::Command;
use crate::render::Ui;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = args::parse();
    // Those who compute, and the supervisor for the programs that it starts.
    let computes = matches!(
        cli.command,
        Command::Worker(_) | Command::Supervisor | Command::Predict(_) | Command::Serve(_)
    );
    memory::suit(computes);
    match &cli.command {
        Command::Worker(args) => {
            return wick_engine::worker::main(&args.folder, &registry::registry());
        }
        Command::Supervisor => return wick_engine::supervisor::main(),
        _ => {}
    }
    let ui = Ui::new(&cli.global);
    match commands::dispatch(&cli, &ui) {
        Ok(code) => code.into(),
        Err(error) => {
            ui.error(&error);
            error.exit_code().into()
        }
    }
}
