//! What those who work on Candlewick run: `cargo xtask COMMAND`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod dice;
mod fill_store;
mod made_up;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask COMMAND

Commands:
  fill-store --store PLACE [--runs 100000] [--points 100] [--seed 1] [--batch 500]
      Fills a store with made-up runs: 10 params, 10 metrics of so many points each, and all else
      that a run has. The same seed gives the same runs; those that are there are left out. So a
      fill that was interrupted is gone on with, and one that is repeated does nothing.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some("fill-store") => fill_store::Options::read(&words[1..]).and_then(fill_store::run),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(format!("there is no command `{other}`\n\n{HELP}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
