//! The energy that an attempt takes, and the CO₂ that making it sets free.
//!
//! A counter counts what a whole processor takes. Of that an attempt has the share that its
//! processor time has in all processor time of the machine meanwhile: what the machine takes
//! while it waits falls on those that compute. Without a counter that may be read, processor time
//! is multiplied by the watts that a processor is said to take, and the result is called an
//! estimate. GPUs have counters of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wick_core::{EnergySource, Usage};

use super::processes::machine_busy;
use super::rapl::{POWERCAP, Rapl};

/// What energy costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carbon {
    /// What making a kilowatt hour sets free, in grams of CO₂.
    pub grams_per_kwh: f64,
    /// What a busy processor takes, in watts, where nothing counts it.
    pub watts_per_cpu: f64,
}

impl Default for Carbon {
    /// The world's mean grid (475 g, IEA 2019), and the mean of processors by core (12 W,
    /// Lannelongue and others, Green Algorithms, 2021).
    fn default() -> Self {
        Self { grams_per_kwh: 475.0, watts_per_cpu: 12.0 }
    }
}

const JOULES_PER_KWH: f64 = 3.6e6;

impl Carbon {
    /// Notes in `usage` what energy an attempt took. `counted` is what it had of the processors'
    /// counters, `gpus` of those of the GPUs, both in joules. Without the former, and with the
    /// latter, the processors' part is left out, so that what is there was measured.
    pub fn charge(&self, usage: &mut Usage, counted: Option<f64>, gpus: Option<f64>) {
        let (joules, source) = match (counted, gpus) {
            (Some(cpu), Some(gpus)) => (cpu + gpus, EnergySource::RaplAndNvml),
            (Some(cpu), None) => (cpu, EnergySource::Rapl),
            (None, Some(gpus)) => (gpus, EnergySource::Nvml),
            (None, None) => {
                let seconds = usage.cpu_micros as f64 / 1e6;
                (seconds * self.watts_per_cpu, EnergySource::Estimate)
            }
        };
        usage.energy_joules = Some(joules);
        usage.energy_source = Some(source);
        usage.co2_grams = Some(joules / JOULES_PER_KWH * self.grams_per_kwh);
    }
}

/// What was counted up to some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    joules: f64,
    /// Processor time of the whole machine, in seconds.
    busy: f64,
}

/// How often the counters are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// How old a reading may be when an attempt ends that is worth another.
const FRESH: Duration = Duration::from_millis(200);

/// A share in less processor time than this would be a guess: the machine counts it in ticks of
/// 10 ms.
const LEAST_BUSY: f64 = 0.1;

/// Reads the counters of the processors now and then, and tells what falls on an attempt. Without
/// counters it costs nothing.
#[derive(Debug)]
pub struct EnergyMeter {
    proc: PathBuf,
    powercap: PathBuf,
    /// Looked for when it is first read.
    rapl: Option<Option<Rapl>>,
    read_at: Option<Duration>,
    before: Reading,
    latest: Reading,
}

impl Default for EnergyMeter {
    fn default() -> Self {
        Self::under(Path::new("/proc"), Path::new(POWERCAP))
    }
}

impl EnergyMeter {
    /// Reads `/proc` and `/sys/class/powercap` elsewhere.
    pub fn under(proc: &Path, powercap: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            powercap: powercap.to_owned(),
            rapl: None,
            read_at: None,
            before: Reading::default(),
            latest: Reading::default(),
        }
    }

    /// The time is `now`, on a clock that only goes forward: reads the counters if that is due.
    pub fn tick(&mut self, now: Duration) {
        if self.read_at.is_none_or(|at| now.saturating_sub(at) >= INTERVAL) {
            self.read(now);
        }
    }

    fn read(&mut self, now: Duration) {
        let rapl = self.rapl.get_or_insert_with(|| Rapl::open(&self.powercap));
        let Some(rapl) = rapl else {
            // Never again.
            self.read_at = Some(Duration::MAX);
            return;
        };
        let Some(busy) = machine_busy(&self.proc) else { return };
        let reading = Reading { joules: rapl.read(), busy };
        self.before = if self.read_at.is_none() { reading } else { self.latest };
        self.latest = reading;
        self.read_at = Some(now);
    }

    /// What is counted by now, to be handed to [`share`](Self::share) when the attempt that
    /// begins now has ended.
    pub fn mark(&self) -> Option<Reading> {
        self.read_at.is_some().then_some(self.latest)
    }

    /// What fell on an attempt that began at `begun`, ends now after `wall`, and computed for
    /// `cpu_micros`, in joules. `None` without counters, or if too little was counted to say.
    pub fn share(
        &mut self,
        begun: Option<Reading>,
        cpu_micros: u64,
        wall: Duration,
        now: Duration,
    ) -> Option<f64> {
        if matches!(self.rapl, Some(Some(_)))
            && wall >= FRESH
            && self.read_at.is_some_and(|at| now.saturating_sub(at) >= FRESH)
        {
            self.read(now);
        }
        self.rapl.as_ref()?.as_ref()?;
        let cpu = cpu_micros as f64 / 1e6;
        let span = |from: Reading| (self.latest.joules - from.joules, self.latest.busy - from.busy);
        // One that began and ended between two readings took energy at the rate of the last
        // stretch that was counted.
        let (joules, busy) = [begun, Some(self.before)]
            .into_iter()
            .flatten()
            .map(span)
            .find(|(_, busy)| *busy >= LEAST_BUSY.max(cpu / 2.0))?;
        // Time is counted in ticks: nobody took more than all.
        Some(if cpu >= busy { joules } else { joules * cpu / busy })
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::tests::FakeProc;
    use super::super::rapl::tests::FakePowercap;
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A machine whose counters a test sets: 100 ticks a second, as everywhere.
    struct Machine {
        proc: FakeProc,
        sys: FakePowercap,
        meter: EnergyMeter,
    }

    impl Machine {
        fn new() -> Self {
            let (proc, sys) = (FakeProc::new(), FakePowercap::new());
            let meter = EnergyMeter::under(proc.path(), sys.path());
            Self { proc, sys, meter }
        }

        fn at(&mut self, second: u64, joules: u64, busy_seconds: u64) {
            self.proc.machine(busy_seconds * 100);
            self.sys.domain("intel-rapl:0", "package-0", joules * 1_000_000 % 10_000_000);
            self.meter.tick(seconds(second));
        }
    }

    #[test]
    fn an_attempt_has_its_share_of_what_was_counted() {
        let mut machine = Machine::new();
        machine.at(1, 1, 100);
        let begun = machine.meter.mark();
        assert!(begun.is_some());
        machine.at(2, 4, 102);
        // The counter goes over its largest value, 10 J, in between.
        machine.at(3, 11, 108);
        let share = machine.meter.share(begun, 2_000_000, seconds(2), seconds(3));
        assert_eq!(share, Some(10.0 * 2.0 / 8.0));
        // One between the readings: by the last stretch, 7 J for 6 s.
        let begun = machine.meter.mark();
        let share = machine.meter.share(begun, 600_000, Duration::from_millis(100), seconds(3));
        assert!(share.is_some_and(|joules| (joules - 0.7).abs() < 1e-9), "{share:?}");
    }

    #[test]
    fn nobody_takes_more_than_all() {
        let mut machine = Machine::new();
        machine.at(1, 0, 10);
        let begun = machine.meter.mark();
        machine.at(2, 5, 11);
        let share = machine.meter.share(begun, 1_050_000, seconds(1), seconds(2));
        assert_eq!(share, Some(5.0));
    }

    #[test]
    fn without_counters_nothing_is_read_or_said() {
        let proc = FakeProc::new();
        let nowhere = proc.path().join("powercap");
        let mut meter = EnergyMeter::under(proc.path(), &nowhere);
        meter.tick(seconds(1));
        assert_eq!(meter.share(meter.mark(), 1_000_000, seconds(1), seconds(2)), None);
    }

    #[test]
    fn energy_says_how_it_is_known_and_becomes_co2() {
        let carbon = Carbon { grams_per_kwh: 360.0, watts_per_cpu: 10.0 };
        let charged = |counted, gpus| {
            let mut usage = Usage { cpu_micros: 3_000_000, ..Usage::default() };
            carbon.charge(&mut usage, counted, gpus);
            (usage.energy_joules, usage.energy_source, usage.co2_grams)
        };
        let co2 = |joules: f64| Some(joules / 1e4);
        assert_eq!(charged(None, None), (Some(30.0), Some(EnergySource::Estimate), co2(30.0)));
        assert_eq!(charged(Some(5.0), None), (Some(5.0), Some(EnergySource::Rapl), co2(5.0)));
        assert_eq!(charged(None, Some(70.0)), (Some(70.0), Some(EnergySource::Nvml), co2(70.0)));
        let both = charged(Some(5.0), Some(70.0));
        assert_eq!(both, (Some(75.0), Some(EnergySource::RaplAndNvml), co2(75.0)));
    }
}
