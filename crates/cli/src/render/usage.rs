//! What attempts used, for people. A number that was guessed begins with `~`.

use wick_core::{EnergySource, Usage};

use super::human;

/// A time: `85 ms`.
pub fn micros(micros: u64) -> String {
    human::micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// What was read and written: `1.2 MB + 300 kB`; nothing where there was neither.
pub fn disk(read: Option<u64>, written: Option<u64>) -> String {
    match (read.unwrap_or(0), written.unwrap_or(0)) {
        (0, 0) => String::new(),
        (read, written) => format!("{} + {}", human::bytes(read), human::bytes(written)),
    }
}

/// The time and the memory of GPUs: `12 s, 3.1 GB`.
pub fn gpu(usage: &Usage) -> String {
    let held = usage.gpu_memory_bytes.map(human::bytes);
    let busy = usage.gpu_busy_micros.map(micros);
    [busy, held].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Energy: `240 J`, `12 kJ`, `1.3 kWh`; above a tenth of a kilowatt hour in those.
pub fn joules(joules: f64, is_estimate: bool) -> String {
    let sign = if is_estimate { "~" } else { "" };
    let text = match joules {
        ..9.95 => format!("{joules:.1} J"),
        ..999.5 => format!("{joules:.0} J"),
        ..9_950.0 => format!("{:.1} kJ", joules / 1e3),
        ..360_000.0 => format!("{:.0} kJ", joules / 1e3),
        _ => format!("{} kWh", human::number(joules / 3.6e6)),
    };
    format!("{sign}{text}")
}

/// `0.32 g CO₂`, `1.2 kg CO₂`.
pub fn co2(mass: f64, is_estimate: bool) -> String {
    format!("{} CO₂", grams(mass, is_estimate))
}

/// A mass: `32.0 mg`, `0.32 g`.
pub fn grams(grams: f64, is_estimate: bool) -> String {
    let sign = if is_estimate { "~" } else { "" };
    let text = match grams {
        ..0.0005 => format!("{:.0} µg", grams * 1e6),
        ..0.0995 => format!("{:.1} mg", grams * 1e3),
        ..9.95 => format!("{grams:.2} g"),
        ..999.5 => format!("{grams:.0} g"),
        _ => format!("{:.1} kg", grams / 1e3),
    };
    format!("{sign}{text}")
}

/// How energy is known: `estimate from processor time`.
pub fn sources(sources: &[EnergySource]) -> String {
    let word = |source: &EnergySource| match source {
        EnergySource::Rapl => "counted by the processors",
        EnergySource::Nvml => "counted by the GPUs, without the processors",
        EnergySource::RaplAndNvml => "counted by processors and GPUs",
        EnergySource::Estimate => "estimate from processor time",
    };
    sources.iter().map(word).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_and_co2_are_short_and_say_when_they_are_guessed() {
        #[track_caller]
        fn check(given: f64, energy: &str) {
            assert_eq!(joules(given, false), energy);
        }
        check(0.0, "0.0 J");
        check(9.96, "10 J");
        check(240.4, "240 J");
        check(1_240.0, "1.2 kJ");
        check(359_000.0, "359 kJ");
        check(3.6e6, "1 kWh");
        check(4.5e6, "1.250 kWh");
        assert_eq!(joules(12.0, true), "~12 J");
        assert_eq!(co2(0.000_032, true), "~32 µg CO₂");
        assert_eq!(co2(0.032, false), "32.0 mg CO₂");
        assert_eq!(co2(0.319, false), "0.32 g CO₂");
        assert_eq!(co2(31.9, false), "32 g CO₂");
        assert_eq!(co2(1_250.0, false), "1.2 kg CO₂");
    }

    #[test]
    fn what_was_not_used_is_not_shown() {
        assert_eq!(disk(Some(0), None), "");
        assert_eq!(disk(Some(1_200_000), Some(0)), "1.2 MB + 0 B");
        assert_eq!(gpu(&Usage::default()), "");
    }
}
