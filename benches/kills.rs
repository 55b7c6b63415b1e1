//! Random `kill -9`s over a mixed pipeline, each followed by a plain `wick rerun`, of which the
//! artifacts must be those of an undisturbed run: `cargo bench --bench kills -- 500`. A second
//! number is the seed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Instant;

#[path = "../tests/faults/aftermath.rs"]
mod aftermath;
#[path = "../tests/faults/mixed.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod mixed;
#[path = "../tests/faults/random_kills.rs"]
mod random_kills;
#[path = "../tests/sandbox.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod sandbox;

const KILLS: usize = 500;

fn main() -> ExitCode {
    // cargo itself adds `--bench`.
    let numbers: Result<Vec<u64>, _> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .map(|argument| argument.parse())
        .collect();
    let Ok(numbers) = numbers else {
        eprintln!("usage: cargo bench --bench kills -- [KILLS] [SEED]");
        return ExitCode::from(2);
    };
    let count = numbers.first().map_or(KILLS, |count| *count as usize);
    let seed = numbers.get(1).copied().unwrap_or(1);
    let begun = Instant::now();
    let done = random_kills::many(count, seed, |kills| {
        if kills % 50 < 3 {
            println!("{kills} kills, {:.0?}", begun.elapsed());
        }
    });
    let [engine, supervisor, attempt, all] = done.victims;
    println!(
        "{} kills in {} runs, seed {seed}, {:.1?}: {engine} of the engine, {supervisor} of the \
         supervisor, {attempt} of an attempt, {all} of all at once; {} found a run under way",
        done.kills,
        done.runs,
        begun.elapsed(),
        done.landed
    );
    println!(
        "every run came to its end with a plain `wick rerun`: the artifacts of an undisturbed run, \
         no stage published twice, no process left"
    );
    ExitCode::SUCCESS
}
