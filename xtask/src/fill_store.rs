//! Fills a store with made-up runs, many at a time.

use std::error::Error;
use std::time::Instant;

use wick_store::{Loaded, RunDump, Store, StoreResult};

use crate::made_up;

/// What is asked for.
#[derive(Debug)]
pub struct Options {
    store: String,
    runs: u64,
    points: usize,
    seed: u64,
    batch: u64,
}

impl Options {
    /// Reads what follows the command's name.
    ///
    /// # Errors
    /// If a word is not an option, or has no value that fits.
    pub fn read(words: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut options =
            Self { store: String::new(), runs: 100_000, points: 100, seed: 1, batch: 500 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` wants a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("`{value}` is no number"));
            match word.as_str() {
                "--store" => options.store.clone_from(value),
                "--runs" => options.runs = number()?,
                "--points" => options.points = usize::try_from(number()?)?,
                "--seed" => options.seed = number()?,
                "--batch" => options.batch = number()?.max(1),
                _ => return Err(format!("there is no option `{word}`").into()),
            }
        }
        if options.store.is_empty() {
            return Err("say where: `--store PLACE`".into());
        }
        Ok(options)
    }
}

/// Fills the store.
///
/// # Errors
/// If it cannot be opened or written.
pub fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(fill(options))
}

async fn fill(options: Options) -> Result<(), Box<dyn Error>> {
    let store = wick_store::open(&options.store).await?;
    let begun = Instant::now();
    let (mut new, mut loading) = (0_u64, std::time::Duration::ZERO);
    // The next runs are made up while the last are written.
    let mut next = Some(made(&options, 0));
    let mut first = 0;
    while let Some(batch) = next.take() {
        let runs = batch.await??;
        first += options.batch;
        next = (first < options.runs).then(|| made(&options, first));
        let before = Instant::now();
        let loaded = store.load_runs(&runs).await?;
        loading += before.elapsed();
        new += loaded.iter().filter(|loaded| **loaded == Loaded::New).count() as u64;
        let done = first.min(options.runs);
        if done % 10_000 < options.batch {
            eprintln!("{done} of {} runs, {:.0} s", options.runs, begun.elapsed().as_secs_f64());
        }
    }
    tell(&*store, &options, new, loading);
    store.close().await;
    if let Ok(file) = std::fs::metadata(options.store.trim_start_matches("sqlite://")) {
        let (bytes, runs) = (file.len() as f64, options.runs as f64);
        let points = runs * 10.0 * options.points as f64;
        println!("{:.0} bytes a run, {:.1} a point with all else", bytes / runs, bytes / points);
    }
    Ok(())
}

/// Makes up one batch, on a thread of its own.
fn made(options: &Options, first: u64) -> tokio::task::JoinHandle<StoreResult<Vec<RunDump>>> {
    let (seed, runs, points) = (options.seed, options.runs, options.points);
    let numbers = first..(first + options.batch).min(runs);
    tokio::task::spawn_blocking(move || {
        numbers.map(|number| made_up::run(seed, number, runs, points)).collect()
    })
}

fn tell(store: &dyn Store, options: &Options, new: u64, loading: std::time::Duration) {
    let seconds = loading.as_secs_f64();
    println!(
        "{} has {new} more runs, of {} asked for: {:.0} runs and {:.0} points a second",
        store.location(),
        options.runs,
        new as f64 / seconds,
        new as f64 * 10.0 * options.points as f64 / seconds,
    );
}
