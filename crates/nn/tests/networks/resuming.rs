//! A training that was interrupted goes on from what it saved, and comes to the same weights,
//! metrics and files, bit for bit, as one that was not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wick_core::{Digest, Fingerprint, PortType, Timestamp, WorkerEvent};
use wick_nn::train::config::{
    CrossEntropy, EarlyStopping, GradientClipping, LossSpec, Mode, OptimizerSpec, SchedulerSpec,
};
use wick_nn::train::{EpochReport, FitOutcome, StateError, TrainingState};
use wick_nn::{
    Examples, FitSettings, Inputs, Model, NnError, NnResult, SampleShape, Targets, Unwatched,
    Watcher, fit,
};
use wick_stage::checkpoint::{CheckpointPlace, Checkpoints, Line};
use wick_stage::{EventSink, StageError};

use crate::stages::{Attempt, iris_config, iris_parts};
use crate::untrained;

/// Points around three centres: the class is the nearest one, most of the time.
fn clouds(rows: usize, seed: usize) -> Examples {
    let mut values = Vec::new();
    let mut classes = Vec::new();
    for row in 0..rows {
        let noise = |salt: usize| (((row + seed) * 2_654_435_761 + salt * 40_503) >> 5) % 1000;
        let class = row % 3;
        values.push(class as f32 + noise(1) as f32 / 900.0);
        values.push((class * class) as f32 - noise(2) as f32 / 700.0);
        classes.push(if noise(3) < 50 { (class as u32 + 1) % 3 } else { class as u32 });
    }
    let inputs = Inputs::from_values(rows, SampleShape::Flat { width: 2 }, values).unwrap();
    Examples { inputs, targets: Targets::Classes(classes) }
}

const LAYERS: &str =
    r#"[{"dense": {"units": 8, "activation": "relu"}}, {"dropout": 0.2}, {"dense": 3}]"#;
const LOSS: LossSpec = LossSpec::CrossEntropy(CrossEntropy { label_smoothing: 0.05 });

/// Keeps the state after every epoch, as bytes.
#[derive(Default)]
struct Keeping(Vec<Vec<u8>>);

impl Watcher for Keeping {
    fn is_save_due(&mut self, _: usize) -> bool {
        true
    }

    fn save(&mut self, state: &TrainingState) -> NnResult {
        self.0.push(state.to_bytes().unwrap());
        Ok(())
    }
}

/// Offers states, the last one first.
#[derive(Default)]
struct Offering {
    states: Vec<TrainingState>,
    refused: Vec<StateError>,
    epochs: Vec<EpochReport>,
    resumed_after: usize,
}

impl Watcher for Offering {
    fn saved(&mut self) -> NnResult<Option<TrainingState>> {
        Ok(self.states.pop())
    }

    fn refused(&mut self, error: &StateError) {
        self.refused.push(error.clone());
    }

    fn resumed(&mut self, epochs: &[EpochReport]) -> NnResult {
        self.resumed_after = epochs.len();
        self.epochs.extend(epochs);
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> NnResult {
        self.epochs.push(*report);
        Ok(())
    }
}

fn train(settings: &FitSettings, watcher: &mut dyn Watcher) -> (Model, FitOutcome) {
    let mut model = untrained(LAYERS, &[2], LOSS, 3, settings.seed);
    let (train, held_out) = (clouds(150, 0), clouds(60, 1000));
    let outcome = fit(&mut model, &train, Some(&held_out), settings, watcher).unwrap();
    (model, outcome)
}

fn weights(model: &Model) -> BTreeMap<String, Vec<u32>> {
    let bits = |weight: &candle_core::Tensor| {
        let values: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    model.weights().iter().map(|(name, weight)| (name.clone(), bits(weight))).collect()
}

/// All of the reports but how fast it was. NaN equals NaN here.
fn computed(epochs: &[EpochReport]) -> String {
    let timeless = |epoch: &EpochReport| EpochReport { rows_per_second: 0.0, ..*epoch };
    format!("{:?}", epochs.iter().map(timeless).collect::<Vec<_>>())
}

/// Interrupts the training after each of its epochs in turn.
#[track_caller]
fn goes_on_from_every_epoch(settings: &FitSettings) -> FitOutcome {
    let (model, outcome) = train(settings, &mut Unwatched);
    let mut keeping = Keeping::default();
    let (watched, _) = train(settings, &mut keeping);
    assert_eq!(weights(&watched), weights(&model), "saving changes nothing");
    assert_eq!(keeping.0.len(), outcome.epochs.len() - 1, "saved after each epoch but the last");
    for (at, bytes) in keeping.0.iter().enumerate() {
        let states = vec![TrainingState::from_bytes(bytes).unwrap()];
        let mut offering = Offering { states, ..Offering::default() };
        let (resumed, again) = train(settings, &mut offering);
        assert_eq!(offering.resumed_after, at + 1);
        assert_eq!(weights(&resumed), weights(&model), "after epoch {}", at + 1);
        assert_eq!(computed(&again.epochs), computed(&outcome.epochs));
        assert_eq!(computed(&offering.epochs), computed(&outcome.epochs));
        assert_eq!(
            (again.best_epoch, again.stopped_early),
            (outcome.best_epoch, outcome.stopped_early)
        );
    }
    outcome
}

#[test]
fn every_optimizer_and_schedule_goes_on() {
    let optimizers = [
        r#"{"adam": {"learning_rate": 0.02}}"#,
        r#"{"adamw": {"learning_rate": 0.02, "weight_decay": 0.01}}"#,
        r#"{"sgd": {"learning_rate": 0.05}}"#,
        r#"{"sgd": {"learning_rate": 0.05, "momentum": 0.9}}"#,
        r#"{"sgd": {"learning_rate": 0.05, "momentum": 0.9, "nesterov": true}}"#,
        r#"{"rmsprop": {"learning_rate": 0.01}}"#,
        r#"{"rmsprop": {"learning_rate": 0.01, "momentum": 0.5}}"#,
    ];
    let schedules = [
        r#""constant""#,
        r#"{"step": {"every": 2, "factor": 0.5}}"#,
        r#"{"cosine": {"warmup": 1.5}}"#,
        r#"{"exponential": {"factor": 0.7}}"#,
    ];
    for (place, optimizer) in optimizers.iter().enumerate() {
        for schedule in schedules {
            let mut settings = FitSettings::new(LOSS, 6);
            settings.optimizer = serde_json::from_str::<OptimizerSpec>(optimizer).unwrap();
            settings.scheduler = serde_json::from_str::<SchedulerSpec>(schedule).unwrap();
            settings.seed = place as u64;
            settings.gradient_clipping = (place % 2 == 0).then_some(GradientClipping::Norm(1.0));
            settings.class_weights = Some(vec![1.0, 2.0, 0.5]);
            goes_on_from_every_epoch(&settings);
        }
    }
}

#[test]
fn the_best_weights_and_the_patience_are_remembered() {
    let mut settings = FitSettings::new(LOSS, 40);
    settings.optimizer = OptimizerSpec::adam(0.05);
    settings.keep_best_by = Some("validation.accuracy".to_owned());
    settings.early_stopping = Some(EarlyStopping {
        monitor: "validation.loss".to_owned(),
        patience: 4,
        min_delta: 0.01,
        mode: Some(Mode::Min),
    });
    let outcome = goes_on_from_every_epoch(&settings);
    assert!(outcome.stopped_early);
    // The interruptions lay on both sides of the best epoch.
    assert!((2..outcome.epochs.len() - 1).contains(&outcome.best_epoch), "{}", outcome.best_epoch);
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_the_one_before_taken() {
    let settings = FitSettings::new(LOSS, 5);
    let (model, _) = train(&settings, &mut Unwatched);
    let mut keeping = Keeping::default();
    train(&settings, &mut keeping);
    let good = TrainingState::from_bytes(&keeping.0[1]).unwrap();

    let mut of_another_network = good.clone();
    let weight = of_another_network.weights["dense_1.weight"].t().unwrap();
    of_another_network.weights.insert("dense_1.weight".to_owned(), weight.contiguous().unwrap());
    let mut of_another_optimizer = good.clone();
    of_another_optimizer.optimizer.retain(|name, _| !name.ends_with("second_moment"));
    let mut too_long = TrainingState::from_bytes(&keeping.0[3]).unwrap();
    let last = *too_long.epochs.last().unwrap();
    too_long.epochs.extend([EpochReport { epoch: 5, ..last }, EpochReport { epoch: 6, ..last }]);
    let mut of_no_epoch = good.clone();
    of_no_epoch.epochs.clear();
    let mut with_needless_weights = good.clone();
    with_needless_weights.kept = Some(good.weights.clone());
    let mut with_another_best = good.clone();
    with_another_best.epochs[0].best = false;

    let bad = vec![
        of_another_network,
        of_another_optimizer,
        too_long,
        of_no_epoch,
        with_needless_weights,
        with_another_best,
    ];
    let count = bad.len();
    let mut states = vec![good];
    states.extend(bad.clone());
    let mut offering = Offering { states, ..Offering::default() };
    let (resumed, _) = train(&settings, &mut offering);
    assert_eq!((offering.refused.len(), offering.resumed_after), (count, 2));
    assert_eq!(weights(&resumed), weights(&model));

    let mut offering = Offering { states: bad, ..Offering::default() };
    let (from_the_start, _) = train(&settings, &mut offering);
    assert_eq!((offering.refused.len(), offering.resumed_after), (count, 0));
    assert_eq!(weights(&from_the_start), weights(&model));
}

// ---- as stages ---------------------------------------------------------------------------

/// Takes reports until its process is killed, as it were.
struct Until {
    reports_left: usize,
    events: Vec<WorkerEvent>,
}

impl EventSink for Until {
    fn emit(&mut self, event: WorkerEvent) -> std::io::Result<()> {
        if matches!(event, WorkerEvent::Metrics(_)) {
            if self.reports_left == 0 {
                return Err(std::io::Error::other("killed"));
            }
            self.reports_left -= 1;
            self.events.push(event);
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

type Point = (String, i64, u64);

fn points(event: &WorkerEvent) -> Vec<Point> {
    let WorkerEvent::Metrics(points) = event else { return Vec::new() };
    let point = |p: &wick_core::MetricPoint| (p.key.to_string(), p.step, p.value.to_bits());
    points.iter().map(point).collect()
}

/// What a training gave: the bytes of its outputs and all that it measured.
#[derive(Debug, PartialEq)]
struct Given {
    files: Vec<Vec<u8>>,
    points: Vec<Point>,
}

struct Project {
    folder: tempfile::TempDir,
    train: PathBuf,
    held_out: PathBuf,
    config: Value,
}

impl Project {
    fn new(changes: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (train, held_out, _) = iris_parts(folder.path(), true);
        let mut config = iris_config();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        Self { folder, train, held_out, config }
    }

    fn place(&self) -> CheckpointPlace {
        CheckpointPlace {
            root: self.folder.path().join("checkpoints"),
            fingerprint: Fingerprint(Digest::of(b"train")),
            line: Line::Shared,
        }
    }

    /// Runs an attempt that is killed when it reports so often; gives what it made, and how many
    /// epochs its first report was of.
    fn attempt(&self, number: u32, reports: usize) -> Result<(Given, usize), StageError> {
        let inputs = [
            ("train", PortType::Dataset, self.train.as_path()),
            ("validation", PortType::Dataset, self.held_out.as_path()),
        ];
        let attempt = Attempt { number, checkpoints: Some(self.place()) };
        let mut sink = Until { reports_left: reports, events: Vec::new() };
        let made = attempt.run("train", &self.config, &inputs, &mut sink)?;
        let read = |file: &str| fs::read(made.path().join("outputs").join(file)).unwrap();
        let files = ["model/weights.safetensors", "model/model.json", "report/report.json"];
        let first = sink.events.first().map(points).unwrap_or_default();
        let epochs = first.iter().filter(|(key, ..)| key == "train.loss").count();
        let points = sink.events.iter().flat_map(points).collect();
        Ok((Given { files: files.map(read).into(), points }, epochs))
    }

    fn saved(&self, epoch: usize) -> PathBuf {
        let folder = self.place().folder(&wick_core::RunId::from_random(1));
        folder.join(format!("{epoch}.ckpt"))
    }
}

const EVER: usize = usize::MAX;

#[test]
fn a_killed_stage_goes_on_and_gives_the_same_bytes_and_points() {
    let project = Project::new(json!({"checkpoint": 1, "epochs": 12}));
    let (undisturbed, _) = Project::new(json!({"epochs": 12})).attempt(1, EVER).unwrap();
    let is_there = |epoch: usize| project.saved(epoch).exists();

    // Killed in its eighth epoch: it had saved seven, and two of them are kept.
    project.attempt(1, 7).unwrap_err();
    assert!(is_there(7) && is_there(6) && !is_there(5) && !is_there(8));
    // The second goes on from there and is killed, too; its first report is of all epochs before.
    project.attempt(2, 3).unwrap_err();
    assert!(is_there(9));
    let (given, epochs) = project.attempt(3, EVER).unwrap();
    assert_eq!(epochs, 9);
    assert_eq!(given, undisturbed);
    assert!(!is_there(12), "there is nothing to go on to after the last epoch");
}

#[test]
fn damaged_checkpoints_are_passed_over() {
    let (undisturbed, _) = Project::new(json!({"epochs": 10})).attempt(1, EVER).unwrap();
    #[track_caller]
    fn check(undisturbed: &Given, spoil: impl Fn(&Path, &Path, &Project), from: usize) {
        let project = Project::new(json!({"checkpoint": "1 epoch", "epochs": 10}));
        project.attempt(1, 5).unwrap_err();
        spoil(&project.saved(5), &project.saved(4), &project);
        let (given, epochs) = project.attempt(2, EVER).unwrap();
        // From the start, its first report is of its own first epoch.
        assert_eq!(epochs, from.max(1));
        assert_eq!(given, *undisturbed);
    }
    let cut = |path: &Path, to: usize| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..to.min(bytes.len() - 1)]).unwrap();
    };
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check(&undisturbed, |_, _, _| {}, 5);
    check(&undisturbed, |newest, _, _| cut(newest, usize::MAX), 4);
    check(&undisturbed, |newest, _, _| cut(newest, 0), 4);
    check(&undisturbed, |newest, _, _| flip(newest, 700), 4);
    check(&undisturbed, |newest, _, _| fs::remove_file(newest).unwrap(), 4);
    // Whole as a file, and yet no state of a training, or not of this step.
    let save = |project: &Project, bytes: &[u8]| {
        let attempt = Attempt { number: 1, checkpoints: Some(project.place()) };
        let assignment = attempt.assignment("train", &project.config, &[]);
        Checkpoints::of(&assignment).unwrap().save(5, bytes).unwrap();
    };
    check(&undisturbed, |_, _, project| save(project, b"{}"), 4);
    check(&undisturbed, |newest, older, _| assert!(fs::copy(older, newest).unwrap() > 0), 4);
    check(
        &undisturbed,
        |newest, older, _| [newest, older].iter().for_each(|path| cut(path, 99)),
        0,
    );
    check(
        &undisturbed,
        |newest, older, _| [newest, older].iter().for_each(|path| flip(path, 9)),
        0,
    );
}

#[test]
fn what_cannot_be_saved_does_not_end_the_training() {
    let project = Project::new(json!({"checkpoint": 1, "epochs": 3}));
    fs::write(project.folder.path().join("checkpoints"), "not a folder").unwrap();
    let (undisturbed, _) = Project::new(json!({"epochs": 3})).attempt(1, EVER).unwrap();
    assert_eq!(project.attempt(1, EVER).unwrap().0, undisturbed);
}

#[test]
fn a_training_that_never_saves_leaves_nothing_and_takes_nothing() {
    let mut project = Project::new(json!({"checkpoint": "never", "epochs": 6}));
    project.attempt(1, 4).unwrap_err();
    assert!(!project.folder.path().join("checkpoints").exists());
    project.config["checkpoint"] = json!(1);
    project.attempt(1, 4).unwrap_err();
    project.config["checkpoint"] = json!("never");
    assert_eq!(project.attempt(2, EVER).unwrap().1, 1);
}

#[test]
fn short_trainings_save_nothing_unless_told_to() {
    let project = Project::new(json!({"epochs": 6}));
    project.attempt(1, 4).unwrap_err();
    assert!(!project.folder.path().join("checkpoints").exists());
}

#[test]
fn an_error_of_the_watcher_still_ends_the_training() {
    struct Broken;
    impl Watcher for Broken {
        fn saved(&mut self) -> NnResult<Option<TrainingState>> {
            Err(NnError::data("no", "no"))
        }
    }
    let mut model = untrained(LAYERS, &[2], LOSS, 3, 1);
    let ended = fit(&mut model, &clouds(9, 0), None, &FitSettings::new(LOSS, 1), &mut Broken);
    assert!(ended.is_err());
}
