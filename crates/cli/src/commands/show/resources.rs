//! What all attempts of a run used of the machine together.

use serde::Serialize;
use wick_core::{EnergySource, Usage};

use super::{Shown, attempts};
use crate::render::{Cell, Paint, Table, Ui, human, usage};

/// Sums over all attempts of a run.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// How many attempts it had.
    attempts: u64,
    /// For how long they could have begun before they did.
    waited_micros: u64,
    /// For how long their processes lived.
    wall_micros: u64,
    /// From the record of their start to that of their end, without the time of their processes:
    /// to start these, and to keep what they made.
    around_micros: u64,
    /// Processor time.
    cpu_micros: u64,
    /// The most memory that one of them held.
    max_rss_bytes: u64,
    /// Read from disks.
    read_bytes: Option<u64>,
    /// Written to disks.
    written_bytes: Option<u64>,
    /// The most memory of GPUs that one of them held.
    gpu_memory_bytes: Option<u64>,
    /// For how long GPUs were busy with them.
    gpu_busy_micros: Option<u64>,
    /// The energy that they took.
    energy_joules: Option<f64>,
    /// What of that is only estimated.
    estimated_joules: f64,
    /// How the energy is known: all the ways.
    energy_sources: Vec<EnergySource>,
    /// What making the energy set free.
    co2_grams: Option<f64>,
}

impl Totals {
    /// Those of the run.
    pub fn of(shown: &Shown) -> Self {
        let mut totals = Self::default();
        for attempt in &shown.history.attempts {
            totals.attempts += 1;
            totals.waited_micros += attempts::waited_micros(attempt).unwrap_or(0);
            let Some(usage) = &attempt.usage else { continue };
            totals.add(usage);
            if let Some(finished) = attempt.finished {
                let whole = u64::try_from(finished.micros_since(attempt.started)).unwrap_or(0);
                totals.around_micros += whole.saturating_sub(usage.wall_micros);
            }
        }
        totals
    }

    fn add(&mut self, usage: &Usage) {
        self.wall_micros += usage.wall_micros;
        self.cpu_micros += usage.cpu_micros;
        self.max_rss_bytes = self.max_rss_bytes.max(usage.max_rss_bytes);
        add(&mut self.read_bytes, usage.read_bytes);
        add(&mut self.written_bytes, usage.written_bytes);
        add(&mut self.gpu_busy_micros, usage.gpu_busy_micros);
        self.gpu_memory_bytes = self.gpu_memory_bytes.max(usage.gpu_memory_bytes);
        if let Some(joules) = usage.energy_joules {
            *self.energy_joules.get_or_insert(0.0) += joules;
            if usage.energy_source == Some(EnergySource::Estimate) {
                self.estimated_joules += joules;
            }
        }
        if let Some(grams) = usage.co2_grams {
            *self.co2_grams.get_or_insert(0.0) += grams;
        }
        if let Some(source) = usage.energy_source
            && !self.energy_sources.contains(&source)
        {
            self.energy_sources.push(source);
        }
    }
}

fn add(sum: &mut Option<u64>, number: Option<u64>) {
    if let Some(number) = number {
        *sum.get_or_insert(0) += number;
    }
}

/// The totals, a line each.
pub fn table(ui: &Ui, shown: &Shown) -> Option<String> {
    let totals = Totals::of(shown);
    // Of runs that were imported only the time is known, which is told above.
    if totals.cpu_micros == 0 && totals.max_rss_bytes == 0 {
        return None;
    }
    let mut table = Table::new(ui, &[]);
    let mut fact = |name: &str, value: String| {
        table.row([Cell::painted(Paint::Faint, name), Cell::new(value)]);
    };
    fact(
        "time",
        format!(
            "{} in {}, {} of a processor; {} waiting for room, {} around them",
            usage::micros(totals.wall_micros),
            human::plural(usize::try_from(totals.attempts).unwrap_or(usize::MAX), "attempt"),
            usage::micros(totals.cpu_micros),
            usage::micros(totals.waited_micros),
            usage::micros(totals.around_micros),
        ),
    );
    fact("memory", format!("{} at most", human::bytes(totals.max_rss_bytes)));
    if let (Some(read), Some(written)) = (totals.read_bytes, totals.written_bytes) {
        let (read, written) = (human::bytes(read), human::bytes(written));
        fact("disk", format!("{read} read, {written} written"));
    }
    if let Some(busy) = totals.gpu_busy_micros {
        let held = totals.gpu_memory_bytes.map(|bytes| format!(", {} held", human::bytes(bytes)));
        fact("gpu", format!("{} busy{}", usage::micros(busy), held.unwrap_or_default()));
    }
    if let Some(joules) = totals.energy_joules {
        let is_estimate = totals.estimated_joules > 0.0;
        let co2 = totals.co2_grams.map(|grams| format!(", {}", usage::co2(grams, is_estimate)));
        let how = usage::sources(&totals.energy_sources);
        let energy = usage::joules(joules, is_estimate);
        fact("energy", format!("{energy}{} ({how})", co2.unwrap_or_default()));
    }
    Some(table.render_indented(2))
}
