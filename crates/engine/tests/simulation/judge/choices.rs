//! What the judge knows of the choice of the best instance.

use wick_core::{MetricPoint, RunId, StageName};
use wick_plan::{Best, Mode, Plan, StageIndex};

use super::Judge;
use crate::database::{Run, Source, Tables};

impl Judge {
    /// An attempt has measured something: what it measured at the highest step counts, and of
    /// equal steps what came last.
    pub(super) fn is_measured(
        &mut self,
        run: &RunId,
        stage: &StageName,
        attempt: u32,
        points: &[MetricPoint],
    ) {
        for point in points {
            let key = (run.clone(), stage.clone(), attempt);
            let latest = self.measured.entry(key).or_insert((point.step, point.value));
            if point.step >= latest.0 {
                *latest = (point.step, point.value);
            }
        }
    }

    /// The best of the instances `from`: the first of those that are best by a number.
    pub fn best(
        &self,
        tables: &Tables,
        run: &Run,
        plan: &Plan,
        from: &[StageIndex],
        best: &Best,
    ) -> Option<StageName> {
        let names = |from: &[StageIndex]| -> Vec<StageName> {
            from.iter().flat_map(|from| self.instances_of(run, plan.stage(*from))).collect()
        };
        let has_ended_well = |name: &StageName| {
            run.place(name).is_some_and(|place| run.stages[place].state.has_outputs())
        };
        let instances = names(from);
        let measured = if best.of.is_empty() { instances.clone() } else { names(&best.of) };
        let sign = if best.mode == Mode::Min { 1.0 } else { -1.0 };
        let mut values: Vec<(f64, usize)> = Vec::new();
        for (place, (instance, of)) in instances.iter().zip(&measured).enumerate() {
            let value = self.published_metric(tables, run, of).filter(|value| !value.is_nan());
            if has_ended_well(instance) && has_ended_well(of) {
                values.extend(value.map(|value| (sign * value, place)));
            }
        }
        values.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
        values.first().map(|(_, place)| instances[*place].clone())
    }

    /// What the attempt measured whose outputs are a stage's.
    fn published_metric(&self, tables: &Tables, run: &Run, stage: &StageName) -> Option<f64> {
        let place = run.place(stage)?;
        let attempt = match run.stages[place].source.as_ref()? {
            Source::Own(attempt) => (run.new.id.clone(), stage.clone(), *attempt),
            Source::Origin(origin) => {
                tables.run(&origin.run)?;
                (origin.run.clone(), origin.stage.clone(), origin.attempt)
            }
        };
        self.measured.get(&attempt).map(|(_, value)| *value)
    }
}
