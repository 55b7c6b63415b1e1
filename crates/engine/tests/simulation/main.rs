//! A simulation of the whole engine: the real dispatcher, drive, recorder and resolver, between a
//! store, an executor, files and a clock that are simulated, and in which everything goes wrong
//! that can. It is the same each time: a seed decides all of it.
//!
//! Without arguments it is a test. With them it searches for longer, or shows one seed:
//!
//! ```text
//! cargo test -p wick-engine --test simulation -- --seeds 100000
//! WICK_SIM_SEED=17 cargo test -p wick-engine --test simulation
//! ```

mod bugs;
mod course;
mod database;
mod dice;
mod graphs;
mod judge;
mod lab;
mod process;
mod replay;
mod scheduler;
mod sharing;
mod store;
mod way;
mod workers;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bugs::Bug;
use course::{Outcome, Terms, play};
use judge::Violation;
use scheduler::lock;

/// How many seeds are tried when nobody says.
const SEEDS: u64 = 2000;

/// In how many seeds a planted bug must be found.
const SEEDS_PER_BUG: u64 = 300;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let seed = std::env::var("WICK_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = seed.or_else(|| number("--seed")) {
        return show(seed);
    }
    if let Some(seeds) = number("--seeds") {
        let first = number("--from").unwrap_or(0);
        return if search(first, seeds) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let tests: &[(&str, fn())] = &[
        ("all_holds_whatever_happens", all_holds_whatever_happens),
        ("an_engine_may_die_at_every_await", an_engine_may_die_at_every_await),
        ("a_seed_plays_the_same_twice", a_seed_plays_the_same_twice),
        ("every_planted_bug_is_found", every_planted_bug_is_found),
        ("the_database_is_like_the_real_one", the_database_is_like_the_real_one),
    ];
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let began = Instant::now();
        let passed = std::panic::catch_unwind(test).is_ok();
        failed += usize::from(!passed);
        let word = if passed { "ok" } else { "FAILED" };
        say(&format!("test {name} ... {word} ({:.2?})", began.elapsed()));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Plays one seed and tells all that happens.
fn show(seed: u64) -> ExitCode {
    let outcome = play(seed, Terms { trace: true, ..Terms::default() });
    outcome.trace.iter().for_each(|line| say(line));
    say(&format!("seed {seed}: {} steps, hash {:016x}", outcome.steps, outcome.hash));
    for Violation { invariant, what } in &outcome.violations {
        say(&format!("{invariant:?} does not hold: {what}"));
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays seeds on all processors. Tells the first that fails, and how much was tried.
fn search(first: u64, seeds: u64) -> bool {
    let began = Instant::now();
    let (next, totals) = (AtomicU64::new(first), Mutex::new(Outcome::default()));
    let failed: Mutex<Option<(u64, Violation)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || lock(&failed).is_some() {
                        return;
                    }
                    let outcome = play(seed, Terms::default());
                    if let Some(violation) = outcome.violations.into_iter().next() {
                        lock(&failed).get_or_insert((seed, violation));
                    }
                    let mut totals = lock(&totals);
                    totals.steps += outcome.steps;
                    totals.faults += outcome.faults;
                    totals.submissions += outcome.submissions;
                    totals.publications += outcome.publications;
                }
            });
        }
    });
    let Outcome { steps, faults, submissions, publications, .. } = *lock(&totals);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let played = next.load(Ordering::Relaxed).min(first + seeds) - first;
    let rate = |count: u64| count as f64 / minutes;
    say(&format!(
        "{played} seeds: {steps} steps, {faults} faults, {submissions} attempts, {publications} \
         publications; a minute: {:.0} seeds, {:.0} steps, {:.0} faults",
        rate(played),
        rate(steps),
        rate(faults)
    ));
    let failed = lock(&failed);
    if let Some((seed, Violation { invariant, what })) = &*failed {
        say(&format!("seed {seed}: {invariant:?} does not hold: {what}"));
        say(&format!(
            "WICK_SIM_SEED={seed} cargo test -p wick-engine --test simulation  # shows it"
        ));
    }
    failed.is_none()
}

fn all_holds_whatever_happens() {
    let seeds = std::env::var("WICK_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    assert!(search(0, seeds.unwrap_or(SEEDS)));
}

/// The engine dies after its first step, its second, and so on, until it is through.
fn an_engine_may_die_at_every_await() {
    for seed in 0..10 {
        let undisturbed = play(seed, Terms { dies_after: Some(0), ..Terms::default() });
        assert_eq!(undisturbed.violations, [], "seed {seed}");
        for polls in 1..=undisturbed.polls {
            let terms = Terms { dies_after: Some(polls), ..Terms::default() };
            let outcome = play(seed, terms);
            assert_eq!(outcome.violations, [], "seed {seed}, dead after {polls} polls");
        }
    }
}

fn a_seed_plays_the_same_twice() {
    for seed in 0..50 {
        let terms = Terms { trace: true, ..Terms::default() };
        let (first, second) = (play(seed, terms), play(seed, terms));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let terms = Terms { bug: Some(bug), ..Terms::default() };
        let found = (0..SEEDS_PER_BUG).find_map(|seed| {
            let violations = play(seed, terms).violations;
            let found = violations.into_iter().find(|found| found.invariant == bug.breaks())?;
            Some((seed, found.what))
        });
        let Some((seed, what)) = found else { panic!("{bug:?} is not found") };
        let what: String = what.chars().take(100).collect();
        say(&format!("  {bug:?}: by seed {seed}, {:?}: {what}", bug.breaks()));
    }
}

fn the_database_is_like_the_real_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut refused = 0;
    for seed in 0..40 {
        let outcome = play(seed, Terms { compare: true, ..Terms::default() });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        runtime.block_on(async {
            let store = wick_store::open(path.to_str().expect("text")).await.expect("a store");
            let compared = replay::compare(&store, &outcome.calls, &outcome.tables).await;
            store.close().await;
            assert_eq!(compared, Ok(()), "seed {seed}");
        });
        let answers = outcome.calls.iter().map(|(_, answer)| *answer);
        refused += answers.filter(|answer| *answer != replay::Answer::Done).count();
    }
    assert!(refused > 10, "only {refused} calls were refused: that compares too little");
}
