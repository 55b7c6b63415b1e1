//! The learning rate over time.

use super::config::SchedulerSpec;

/// The learning rate of a step, as a function of how far the training is.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The rate that the schedule starts from.
    pub base: f64,
    /// How it changes.
    pub spec: SchedulerSpec,
    /// How many epochs there are at most.
    pub epochs: usize,
    /// How many steps an epoch has.
    pub steps_per_epoch: usize,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0 over all epochs.
    pub fn rate(&self, step: u64) -> f64 {
        let epochs_done = step as f64 / self.steps_per_epoch.max(1) as f64;
        // Warm-up ends with the whole rate at its last step, as is usual: step 0 of 10 has a
        // tenth of the rate, not zero.
        let warmup = self.warmup();
        if epochs_done < warmup {
            let warmup_steps = warmup * self.steps_per_epoch as f64;
            return self.base * ((step + 1) as f64 / warmup_steps).min(1.0);
        }
        let whole_epochs = epochs_done.floor();
        match self.spec {
            SchedulerSpec::Constant(_) => self.base,
            SchedulerSpec::Step(decay) => {
                let drops = (whole_epochs / decay.every.max(1) as f64).floor();
                self.base * decay.factor.powf(drops)
            }
            SchedulerSpec::Exponential(decay) => self.base * decay.factor.powf(whole_epochs),
            SchedulerSpec::Cosine(cosine) => {
                let span = (self.epochs as f64 - warmup).max(f64::MIN_POSITIVE);
                let done = ((epochs_done - warmup) / span).min(1.0);
                let share = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                cosine.minimum + (self.base - cosine.minimum) * share
            }
        }
    }

    fn warmup(&self) -> f64 {
        match self.spec {
            SchedulerSpec::Constant(constant) => constant.warmup,
            SchedulerSpec::Step(step) => step.warmup,
            SchedulerSpec::Cosine(cosine) => cosine.warmup,
            SchedulerSpec::Exponential(exponential) => exponential.warmup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(json: &str, steps: &[u64]) -> Vec<f64> {
        let spec = serde_json::from_str(json).expect(json);
        let schedule = Schedule { base: 1.0, spec, epochs: 4, steps_per_epoch: 10 };
        steps.iter().map(|step| schedule.rate(*step)).collect()
    }

    #[test]
    fn rates_follow_the_schedule() {
        assert_eq!(rates(r#""constant""#, &[0, 39]), [1.0, 1.0]);
        let step = r#"{"step": {"every": 2, "factor": 0.5}}"#;
        assert_eq!(rates(step, &[0, 19, 20, 39]), [1.0, 1.0, 0.5, 0.5]);
        let exponential = r#"{"exponential": {"factor": 0.5}}"#;
        assert_eq!(rates(exponential, &[9, 10, 30]), [1.0, 0.5, 0.125]);
        let cosine = rates(r#""cosine""#, &[0, 20, 40]);
        assert!((cosine[0] - 1.0).abs() < 1e-12 && (cosine[1] - 0.5).abs() < 1e-12);
        assert!(cosine[2].abs() < 1e-12);
        let warm = rates(r#"{"constant": {"warmup": 1}}"#, &[0, 4, 9, 10]);
        assert_eq!(warm, [0.1, 0.5, 1.0, 1.0]);
    }
}
