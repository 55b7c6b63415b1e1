//! Short ways to say what happens in a run.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde_json::json;
use wick_core::{
    AttemptState, Digest, Effect, EnergySource, Event, EventBody, ExperimentName, Failure,
    FailureCause, Fingerprint, Input, MetricPoint, Output, PortName, PortType, RunId, RunState,
    SkipReason, StageName, StageOrigin, Timestamp, Token, Usage,
};
use wick_store::{EngineId, Lease, NewRun, Store};

/// A clock that never stands still, and numbers that never come twice.
static CLOCK: AtomicI64 = AtomicI64::new(1_700_000_000_000_000);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

pub fn now() -> Timestamp {
    Timestamp(CLOCK.fetch_add(1_000, Ordering::Relaxed))
}

pub fn number() -> u64 {
    // Spread over all bits, the highest among them: databases have signed numbers only.
    NUMBERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub fn stage(name: &str) -> StageName {
    StageName::new(name).expect("a name")
}

pub fn port(name: &str) -> PortName {
    PortName::new(name).expect("a name")
}

pub fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint(Digest::of(text.as_bytes()))
}

/// An engine on another machine: it lives as long as its lease.
pub fn engine() -> EngineId {
    EngineId {
        host: "elsewhere".to_owned(),
        pid: 17,
        process_start: u64::MAX,
        token: Token(number()),
    }
}

/// A run of the stages `names`.
pub fn new_run(names: &[&str]) -> NewRun {
    NewRun {
        id: RunId::from_random(number()),
        experiment: ExperimentName::new("digits").expect("a name"),
        pipeline: "digits".to_owned(),
        pipeline_path: "/project/digits.yaml".to_owned(),
        pipeline_text: "pipeline: digits\n".to_owned(),
        parent: None,
        params: vec![
            ("learning_rate".to_owned(), json!(0.001)),
            ("epochs".to_owned(), json!(10)),
            ("layers".to_owned(), json!([32, "relu"])),
        ],
        overridden: vec!["epochs".to_owned()],
        environment: json!({"host": "here", "git": {"commit": "abc", "dirty": false}}),
        git_diff: None,
        plan: Digest::of(b"plan"),
        stages: names
            .iter()
            .map(|name| (stage(name), "command".parse().expect("a name")))
            .collect(),
    }
}

/// A run under way.
pub struct Driven<'a> {
    pub store: &'a dyn Store,
    pub run: RunId,
    pub lease: Lease,
    pub engine: EngineId,
}

impl<'a> Driven<'a> {
    pub async fn new(store: &'a dyn Store, names: &[&str]) -> Self {
        Self::of(store, new_run(names)).await
    }

    pub async fn of(store: &'a dyn Store, run: NewRun) -> Self {
        let engine = engine();
        let lease = store.create_run(&run, &engine, now()).await.expect("a new run");
        Self { store, run: run.id, lease, engine }
    }

    pub async fn tell(&self, bodies: impl IntoIterator<Item = EventBody>) {
        self.try_tell(bodies).await.expect("events that fit");
    }

    pub async fn try_tell(
        &self,
        bodies: impl IntoIterator<Item = EventBody>,
    ) -> wick_store::StoreResult<()> {
        let events: Vec<_> = bodies.into_iter().map(|body| Event { time: now(), body }).collect();
        self.store.append(&self.lease, &events).await
    }

    /// Runs a stage to its good end.
    pub async fn succeed(&self, name: &str, print: &str) {
        let token = Token(number());
        self.tell([
            started(name, 1, token, print),
            finished(name, 1, token, AttemptState::Succeeded),
        ])
        .await;
    }

    pub async fn end(&self, state: RunState) {
        self.tell([EventBody::RunFinished { state }]).await;
    }

    pub async fn states(&self) -> Vec<AttemptState> {
        let stages = self.store.stages(&self.run).await.expect("stages");
        stages.into_iter().map(|stage| stage.state).collect()
    }

    pub async fn state(&self) -> RunState {
        self.store.run(&self.run).await.expect("an answer").expect("the run").state
    }
}

pub fn started(name: &str, attempt: u32, token: Token, print: &str) -> EventBody {
    EventBody::AttemptStarted {
        stage: stage(name),
        attempt,
        token,
        fingerprint: fingerprint(print),
        queued: None,
        inputs: Vec::new(),
        parts: None,
    }
}

pub fn usage() -> Usage {
    Usage {
        wall_micros: 1_500,
        cpu_micros: 900,
        max_rss_bytes: 1 << 20,
        read_bytes: Some(4_096),
        written_bytes: Some(0),
        energy_joules: Some(12.5),
        energy_source: Some(EnergySource::RaplAndNvml),
        co2_grams: Some(0.1),
        gpu_memory_bytes: Some(1 << 33),
        gpu_busy_micros: Some(700),
    }
}

pub fn failure() -> Failure {
    Failure {
        cause: FailureCause::Exit,
        message: "the program returned 3".to_owned(),
        chain: vec!["a cause".to_owned()],
        help: Some("look at its log".to_owned()),
        exit: Some(wick_core::Exit::Code(3)),
    }
}

pub fn output(name: &str, content: &str) -> Output {
    Output {
        port: port(name),
        port_type: PortType::Dataset,
        digest: Digest::of(content.as_bytes()),
        bytes: content.len() as u64,
        meta: json!({"rows": 891, "title": "it's \"quoted\""}),
    }
}

pub fn input(name: &str, from: &str, content: &str) -> Input {
    Input {
        port: port(name),
        stage: stage(from),
        output: port("data"),
        item: None,
        digest: Digest::of(content.as_bytes()),
    }
}

pub fn finished(name: &str, attempt: u32, token: Token, state: AttemptState) -> EventBody {
    let failure = (state == AttemptState::Failed).then(failure);
    let outputs = if state == AttemptState::Succeeded {
        vec![output("data", name), output("again", name)]
    } else {
        Vec::new()
    };
    EventBody::AttemptFinished {
        stage: stage(name),
        attempt,
        token,
        state,
        usage: usage(),
        failure,
        outputs,
        effects: Vec::new(),
    }
}

pub fn cached(name: &str, print: &str, origin: StageOrigin, effects: Vec<Effect>) -> EventBody {
    EventBody::StageCached {
        stage: stage(name),
        fingerprint: fingerprint(print),
        origin,
        inputs: vec![input("data", "elsewhere", "content")],
        outputs: Vec::new(),
        effects,
    }
}

pub fn retry(name: &str, attempt: u32) -> EventBody {
    EventBody::RetryScheduled { stage: stage(name), attempt, delay_ms: 2_000 }
}

pub fn skipped(name: &str, because: &str) -> EventBody {
    EventBody::StageSkipped { stage: stage(name), reason: SkipReason::Need(stage(because)) }
}

pub fn points(name: &str, attempt: u32, points: &[(&str, i64, f64)]) -> EventBody {
    EventBody::Metrics {
        stage: stage(name),
        attempt,
        points: points
            .iter()
            .map(|(key, step, value)| MetricPoint {
                key: (*key).into(),
                step: *step,
                time: now(),
                value: *value,
            })
            .collect(),
    }
}
