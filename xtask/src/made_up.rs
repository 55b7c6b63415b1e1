//! A run that never was, but could have been: the training of a small network.

use serde_json::{Value, json};
use wick_core::{
    AttemptState, Digest, Effect, Event, EventBody, Failure, FailureCause, Fingerprint, Input,
    Output, PortType, RunId, RunState, SkipReason, StageName, StageOrigin, Timestamp, Token, Usage,
};
use wick_store::dump::{
    AttemptDump, DUMP_VERSION, EventDump, Json, OutputDump, ParamDump, PartsDump, RunDump,
    SeriesDump, StageDump,
};
use wick_store::{Marks, StoreResult};

use crate::dice::Dice;

/// When the newest run began: 2026-11-01, in microseconds since 1970.
const NEWEST: i64 = 1_793_491_200_000_000;

/// How far apart runs begin: 10 minutes.
const APART: i64 = 600_000_000;

const MINUTE: i64 = 60_000_000;

const EXPERIMENTS: u64 = 100;
const TEAMS: [&str; 5] = ["vision", "language", "ranking", "fraud", "speech"];
const PEOPLE: [&str; 8] = ["ann", "bob", "chen", "dana", "emeka", "fatima", "goran", "hiro"];
const PIPELINES: [&str; 6] = ["digits", "titanic", "reviews", "clicks", "forecast", "speech"];

/// The metrics of the stage that trains, and of the one that evaluates.
const TRAINED: [&str; 7] = [
    "loss",
    "accuracy",
    "validation.loss",
    "validation.accuracy",
    "learning_rate",
    "gradient_norm",
    "system.cpu",
];
const EVALUATED: [&str; 3] = ["accuracy", "f1", "loss"];

const STAGES: [(&str, &str); 3] = [("load", "load"), ("train", "train"), ("evaluate", "evaluate")];

/// The run with this number of all `runs` that a seed stands for, with so many points a series.
pub fn run(seed: u64, number: u64, runs: u64, points: usize) -> StoreResult<RunDump> {
    let mut dice = Dice::new(seed, number);
    let id = RunId::from_random(dice.next());
    let started = NEWEST - (runs - number) as i64 * APART + dice.below(APART as u64) as i64;
    let pipeline = *dice.one_of(&PIPELINES);
    let state = match dice.below(100) {
        0..6 => RunState::Failed,
        6..8 => RunState::Cancelled,
        _ => RunState::Succeeded,
    };
    let params = params(&mut dice);
    // What a training comes to depends on its params, so that searches find something.
    let rate = params[0].1.as_f64().unwrap_or(0.01);
    let quality = 0.99 - 0.05 * (rate.log10() + 2.5).powi(2) - 0.08 * dice.share();
    let mut making = Making { dice, id: &id, time: started, points, quality, state };
    let made = making.stages()?;
    let Making { mut dice, time: finished, .. } = making;
    let overridden = dice.below(10) as usize;
    let params = params.into_iter().enumerate().map(|(place, (name, value))| {
        let overridden = place == overridden;
        Ok(ParamDump { name: name.to_owned(), value: Json::of(&value)?, overridden })
    });
    let mut params = params.collect::<StoreResult<Vec<_>>>()?;
    params.sort_by(|a, b| a.name.cmp(&b.name));
    let marks = marks(&mut dice, finished);
    Ok(RunDump {
        version: DUMP_VERSION,
        experiment: format!("experiment_{:02}", dice.below(EXPERIMENTS)).parse().map_err(odd)?,
        pipeline: pipeline.to_owned(),
        pipeline_path: format!("/projects/{pipeline}/{pipeline}.yaml"),
        // A few versions of each, as people change them.
        pipeline_text: format!(
            "pipeline: {pipeline}\n# version {}\n{}",
            dice.below(20),
            "stages: ...\n".repeat(60)
        ),
        parent: None,
        environment: Json::of(&environment(&mut dice))?,
        git_diff: None,
        plan: Digest::of(&dice.next().to_le_bytes()),
        state,
        started: Timestamp(started),
        finished: Some(Timestamp(finished)),
        marks,
        params,
        stages: made.stages,
        attempts: made.attempts,
        series: made.series,
        parts: made.parts,
        events: made.events,
        id,
    })
}

fn odd(error: impl std::fmt::Display) -> wick_store::StoreError {
    wick_store::StoreError::Refused(format!("a made-up name is none: {error}"))
}

/// Ten of them.
fn params(dice: &mut Dice) -> [(&'static str, Value); 10] {
    let rate = 10_f64.powf(-1.0 - 3.0 * dice.share());
    [
        ("learning_rate", json!((rate * 1e6).round() / 1e6)),
        ("batch_size", json!(dice.one_of(&[16, 32, 64, 128, 256]))),
        ("epochs", json!(10 * (1 + dice.below(20)))),
        ("layers", json!(1 + dice.below(12))),
        ("dropout", json!(dice.below(10) as f64 / 20.0)),
        ("optimizer", json!(dice.one_of(&["sgd", "adam", "adamw", "lamb"]))),
        ("weight_decay", json!(*dice.one_of(&[0.0, 1e-5, 1e-4, 1e-3]))),
        ("seed", json!(dice.below(1_000))),
        ("augment", json!(dice.below(2) == 0)),
        ("activation", json!(dice.one_of(&["relu", "gelu", "silu"]))),
    ]
}

fn environment(dice: &mut Dice) -> Value {
    json!({
        "host": format!("node-{:02}", dice.below(16)),
        "user": dice.one_of(&PEOPLE),
        "wick": "0.1.0",
        "cpus": 16,
        "git": {
            "commit": format!("{:016x}{:016x}{:08x}", dice.next(), dice.next(), dice.next() >> 32),
            "branch": dice.one_of(&["main", "wider", "less-data"]),
            "dirty": dice.below(4) == 0,
        },
    })
}

fn marks(dice: &mut Dice, finished: i64) -> Marks {
    let one_in = |dice: &mut Dice, share: u64| dice.below(share) == 0;
    let later = Some(Timestamp(finished + MINUTE));
    Marks {
        name: one_in(dice, 20).then(|| format!("try {}", dice.below(500))),
        note: one_in(dice, 50).then(|| "better than the one before, nobody knows why".to_owned()),
        starred: later.filter(|_| one_in(dice, 100)),
        archived: later.filter(|_| one_in(dice, 50)),
        deleted: later.filter(|_| one_in(dice, 200)),
        tags: vec![
            ("reason".to_owned(), dice.one_of(&["sweep", "nightly", "by hand"]).to_string()),
            ("team".to_owned(), dice.one_of(&TEAMS).to_string()),
        ],
    }
}

/// What the stages of a run leave.
#[derive(Default)]
struct Made {
    stages: Vec<StageDump>,
    attempts: Vec<AttemptDump>,
    series: Vec<SeriesDump>,
    parts: Vec<PartsDump>,
    events: Vec<EventDump>,
}

struct Making<'a> {
    dice: Dice,
    id: &'a RunId,
    /// When what is made happens.
    time: i64,
    points: usize,
    /// How good the training turns out: its last accuracy.
    quality: f64,
    state: RunState,
}

impl Making<'_> {
    fn stages(&mut self) -> StoreResult<Made> {
        let mut made = Made::default();
        let begin = EventBody::RunStarted { host: "node".to_owned(), pid: 4_711 };
        self.tell(&mut made, begin)?;
        let mut data: Option<(StageName, Digest)> = None;
        for (place, (name, kind)) in STAGES.into_iter().enumerate() {
            let stage: StageName = name.parse().map_err(odd)?;
            // A run that goes wrong does so while it trains, and what follows is left out.
            let ends = match (place, self.state) {
                (0, _) | (_, RunState::Succeeded) => AttemptState::Succeeded,
                (1, RunState::Cancelled) => AttemptState::Cancelled,
                (1, _) => AttemptState::Failed,
                _ => AttemptState::Skipped,
            };
            let mut row = StageDump {
                stage: stage.clone(),
                template: None,
                kind: kind.parse().map_err(odd)?,
                state: ends,
                fingerprint: None,
                attempts: 0,
                source: None,
                because: None,
                started: None,
                finished: None,
                failure: None,
                inputs: Vec::new(),
                metrics: Vec::new(),
            };
            if ends == AttemptState::Skipped {
                let because = SkipReason::Need("train".parse().map_err(odd)?);
                row.because = Some(because.clone());
                row.finished = Some(Timestamp(self.time));
                self.tell(&mut made, EventBody::StageSkipped { stage, reason: because })?;
            } else {
                data = self.attempt(&mut made, &mut row, data)?;
            }
            made.stages.push(row);
        }
        self.tell(&mut made, EventBody::RunFinished { state: self.state })?;
        made.parts.sort_by_key(|parts| parts.fingerprint);
        Ok(made)
    }

    fn tell(&mut self, made: &mut Made, body: EventBody) -> StoreResult<()> {
        self.time += 1_000 + self.dice.below(20_000) as i64;
        let event = Event { time: Timestamp(self.time), body };
        made.events.push(EventDump { time: event.time, body: Json::of(&event.body)? });
        Ok(())
    }

    /// One attempt of a stage, which reads what the one before made.
    fn attempt(
        &mut self,
        made: &mut Made,
        row: &mut StageDump,
        reads: Option<(StageName, Digest)>,
    ) -> StoreResult<Option<(StageName, Digest)>> {
        let stage = row.stage.clone();
        let fingerprint = Fingerprint(Digest::of(&self.dice.next().to_le_bytes()));
        let port_type = match stage.as_str() {
            "train" => PortType::Model,
            "evaluate" => PortType::Report,
            _ => PortType::Dataset,
        };
        let port = |name: &str| name.parse().map_err(odd);
        let inputs = match reads {
            None => Vec::new(),
            Some((from, digest)) => {
                let output: wick_core::PortName =
                    port(if from.as_str() == "train" { "model" } else { "data" })?;
                vec![Input { port: output.clone(), output, stage: from, item: None, digest }]
            }
        };
        let (queued, token) = (Some(Timestamp(self.time)), Token(self.dice.next()));
        let parts = json!({"kind": row.kind, "revision": 1, "with": {"rows": self.dice.below(9)}});
        made.parts.push(PartsDump { fingerprint, parts: Json::of(&parts)? });
        let start = EventBody::AttemptStarted {
            stage: stage.clone(),
            attempt: 1,
            token,
            fingerprint,
            queued,
            inputs: inputs.clone(),
            parts: None,
        };
        self.tell(made, start)?;
        let started = Timestamp(self.time);
        let pid = 1_000 + self.dice.below(30_000) as u32;
        let spawned =
            EventBody::AttemptSpawned { stage: stage.clone(), attempt: 1, pid, started: 0 };
        self.tell(made, spawned)?;
        let took = MINUTE / 10 + self.dice.below(MINUTE as u64) as i64;
        self.series(made, &stage, took);
        self.time += took;
        let usage = self.usage(took);
        let failure = (row.state == AttemptState::Failed).then(|| Failure {
            cause: FailureCause::Exit,
            message: "the program returned 1".to_owned(),
            chain: Vec::new(),
            help: None,
            exit: Some(wick_core::Exit::Code(1)),
        });
        let digest = Digest::of(&self.dice.next().to_le_bytes());
        let output = Output {
            port: port(output_of(port_type))?,
            port_type,
            digest,
            bytes: 1_000 + self.dice.below(10_000_000),
            meta: json!({"rows": self.dice.below(100_000)}),
        };
        let outputs = if row.state == AttemptState::Succeeded { vec![output] } else { Vec::new() };
        let end = EventBody::AttemptFinished {
            stage: stage.clone(),
            attempt: 1,
            token,
            state: row.state,
            usage,
            failure: failure.clone(),
            outputs: outputs.clone(),
            effects: Vec::<Effect>::new(),
        };
        self.tell(made, end)?;
        let finished = Some(Timestamp(self.time));
        (row.started, row.finished) = (Some(started), finished);
        (row.attempts, row.fingerprint) = (1, Some(fingerprint));
        (row.failure, row.inputs) = (failure.clone(), inputs);
        row.source = Some(StageOrigin { run: self.id.clone(), stage: stage.clone(), attempt: 1 });
        let outputs = outputs.into_iter().map(|output| {
            let Output { port, port_type, digest, bytes, meta } = output;
            Ok(OutputDump { port, port_type, digest, bytes, meta: Json::of(&meta)? })
        });
        made.attempts.push(AttemptDump {
            stage: stage.clone(),
            attempt: 1,
            state: row.state,
            fingerprint,
            pid: Some(pid),
            queued,
            started,
            finished,
            usage: Some(usage),
            failure,
            effects: None,
            outputs: outputs.collect::<StoreResult<_>>()?,
        });
        Ok(Some((stage, digest)))
    }

    fn usage(&mut self, took: i64) -> Usage {
        Usage {
            wall_micros: took as u64,
            cpu_micros: took as u64 * (1 + self.dice.below(8)),
            max_rss_bytes: (1 + self.dice.below(4_000)) << 20,
            read_bytes: Some(self.dice.below(1 << 30)),
            written_bytes: Some(self.dice.below(1 << 28)),
            energy_joules: Some((took as f64 / 1e6) * 35.0),
            energy_source: Some(wick_core::EnergySource::Estimate),
            co2_grams: Some((took as f64 / 1e6) * 35.0 / 3.6e6 * 400.0),
            gpu_memory_bytes: None,
            gpu_busy_micros: None,
        }
    }

    /// What a stage measures while it runs: curves as trainings have them, with noise. The numbers
    /// are those of computations in 32 bits, as nearly all are.
    fn series(&mut self, made: &mut Made, stage: &StageName, took: i64) {
        let keys: &[&str] = match stage.as_str() {
            "train" => &TRAINED,
            "evaluate" => &EVALUATED,
            _ => &[],
        };
        let beat = took / self.points.max(1) as i64;
        let times: Vec<i64> = (1..=self.points as i64)
            .map(|n| self.time + n * beat - self.dice.below(1 + beat as u64 / 50) as i64)
            .collect();
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        for key in keys {
            let values = (0..self.points).map(|n| self.value(key, n)).collect();
            made.series.push(SeriesDump {
                stage: stage.clone(),
                attempt: 1,
                key: key.to_owned(),
                steps: (0..self.points as i64).collect(),
                times: times.clone(),
                values,
            });
        }
    }

    fn value(&mut self, key: &str, n: usize) -> f64 {
        let progress = 1.0 - (-5.0 * (n + 1) as f64 / self.points as f64).exp();
        let noise = (self.dice.share() - 0.5) * 0.02;
        let value = match key {
            "loss" | "validation.loss" => 2.3 - 2.2 * self.quality * progress + noise,
            "learning_rate" => 0.01 * 0.98_f64.powi(n as i32 / 4),
            "gradient_norm" => 5.0 * (1.0 - progress) + 0.1 + noise.abs(),
            "system.cpu" => 50.0 + 45.0 * self.dice.share(),
            _ => (self.quality * progress + noise).clamp(0.0, 1.0),
        };
        f64::from(value as f32)
    }
}

/// The output that stages have for what they make.
const fn output_of(port_type: PortType) -> &'static str {
    match port_type {
        PortType::Model => "model",
        PortType::Report => "report",
        _ => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let made = |seed, number| run(seed, number, 10, 20).expect("a run");
        assert_eq!(made(1, 3), made(1, 3));
        assert_ne!(made(1, 3).id, made(1, 4).id);
        assert_ne!(made(1, 3).id, made(2, 3).id);
        let one = made(1, 3);
        assert_eq!((one.params.len(), one.stages.len()), (10, 3));
        assert!(one.params.is_sorted_by(|a, b| a.name <= b.name));
    }

    #[test]
    fn a_run_that_succeeds_has_ten_metrics() {
        let runs: Vec<RunDump> = (0..50).map(|n| run(1, n, 50, 30).expect("a run")).collect();
        let good = runs.iter().find(|run| run.state == RunState::Succeeded).expect("most do");
        assert_eq!(good.series.len(), 10);
        assert!(good.series.iter().all(|series| series.values.len() == 30));
        assert!(runs.iter().any(|run| run.state == RunState::Failed));
    }
}
