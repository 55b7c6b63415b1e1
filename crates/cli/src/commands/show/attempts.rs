//! Every try of a stage, and what it used of the machine.

use wick_core::{AttemptState, EnergySource, Usage};
use wick_store::AttemptRecord;

use super::{Shown, limited};
use crate::render::style::attempt_paint;
use crate::render::{Cell, Table, Ui, human, usage};

/// Of more attempts than this, those that went well at once are left out.
const FEW_ATTEMPTS: usize = 20;

/// A table of attempts. Unless it `is_asked_for`, it is only worth its room where some stage had
/// several or failed, and leaves out of many those that went well at once.
pub fn table(ui: &Ui, shown: &Shown, is_asked_for: bool) -> Option<String> {
    let history = &shown.history;
    let routine = |attempt: &&AttemptRecord| {
        attempt.attempt == 1
            && attempt.state == AttemptState::Succeeded
            && history.attempts_of(attempt.stage.as_str()).count() == 1
    };
    let all = is_asked_for || ui.verbosity > 0;
    if history.attempts.iter().all(|attempt| routine(&attempt)) && !all {
        return None;
    }
    let worth: Vec<&AttemptRecord> = if !all && history.attempts.len() > FEW_ATTEMPTS {
        history.attempts.iter().filter(|attempt| !routine(attempt)).collect()
    } else {
        history.attempts.iter().collect()
    };
    let left_out = history.attempts.len() - worth.len();
    let (attempts, mut more) = limited(ui, &worth);
    if left_out > 0 {
        let count = human::count(left_out as u64);
        more.push_str(&format!("\n  … and {count} that succeeded at once; -v shows all"));
    }
    let uses = |has: fn(&Usage) -> bool| {
        attempts.iter().any(|attempt| attempt.usage.as_ref().is_some_and(has))
    };
    // Columns that say nothing of any attempt take the room of others.
    let has_gpu = uses(|usage| usage.gpu_busy_micros.is_some());
    let has_energy = uses(|usage| usage.energy_joules.is_some());
    let has_exit = attempts.iter().any(|attempt| exit(attempt).is_some());
    let mut header = vec![
        "stage",
        "attempt",
        "state",
        "started",
        "waited",
        "ran",
        "cpu",
        "memory",
        "read + written",
    ];
    header.extend(has_gpu.then_some("gpu"));
    let guessed = uses(|usage| usage.energy_source == Some(EnergySource::Estimate));
    let energy = if guessed { ["energy (~ estimate)", "CO₂"] } else { ["energy", "CO₂"] };
    header.extend(energy.into_iter().filter(|_| has_energy));
    header.extend(has_exit.then_some("exit"));
    let mut table = Table::new(ui, &header);
    for attempt in attempts {
        let used = attempt.usage.unwrap_or_default();
        let mut row = vec![
            Cell::new(&attempt.stage),
            Cell::number(attempt.attempt),
            Cell::painted(attempt_paint(attempt.state), attempt.state),
            Cell::new(attempt.started),
            Cell::number(waited_micros(attempt).map(usage::micros).unwrap_or_default()),
            Cell::number(some(used.wall_micros, usage::micros)),
            Cell::number(some(used.cpu_micros, usage::micros)),
            Cell::number(some(used.max_rss_bytes, human::bytes)),
            Cell::number(usage::disk(used.read_bytes, used.written_bytes)),
        ];
        row.extend(has_gpu.then(|| Cell::number(usage::gpu(&used))));
        let is_estimate = used.energy_source == Some(EnergySource::Estimate);
        let energy = used.energy_joules.map(|joules| usage::joules(joules, is_estimate));
        let co2 = used.co2_grams.map(|grams| usage::grams(grams, is_estimate));
        let cells = [energy, co2].map(|text| Cell::number(text.unwrap_or_default()));
        row.extend(cells.into_iter().filter(|_| has_energy));
        row.extend(has_exit.then(|| Cell::new(exit(attempt).unwrap_or_default())));
        table.row(row);
    }
    (!table.is_empty()).then(|| table.render_indented(2) + &more)
}

/// For how long an attempt could have begun before it did.
pub fn waited_micros(attempt: &AttemptRecord) -> Option<u64> {
    let queued = attempt.queued?;
    u64::try_from(attempt.started.micros_since(queued)).ok()
}

fn exit(attempt: &AttemptRecord) -> Option<String> {
    attempt.failure.as_ref().and_then(|failure| failure.exit).map(human::exit)
}

/// Nothing for 0: it was not measured, or is not worth a word.
fn some(number: u64, shown: impl FnOnce(u64) -> String) -> String {
    if number == 0 { String::new() } else { shown(number) }
}
