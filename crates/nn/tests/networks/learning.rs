//! Networks learn what they should, stop when they should, and do it again bit for bit.

use std::collections::BTreeMap;

use candle_core::Var;
use wick_nn::train::config::{
    CrossEntropy, EarlyStopping, GradientClipping, Huber, LossSpec, OptimizerSpec,
};
use wick_nn::train::{BatchReport, EpochReport};
use wick_nn::{
    Examples, FitSettings, Inputs, Model, NnError, NnResult, SampleShape, Targets, Unwatched,
    Watcher, fit, score,
};

use crate::untrained;

fn optimizer(json: &str) -> OptimizerSpec {
    serde_json::from_str(json).unwrap()
}

fn flat(width: usize, values: Vec<f32>) -> Inputs {
    let rows = values.len() / width;
    Inputs::from_values(rows, SampleShape::Flat { width }, values).unwrap()
}

fn xor() -> Examples {
    let inputs = flat(2, vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
    Examples { inputs, targets: Targets::Classes(vec![0, 1, 1, 0]) }
}

/// y = 3a − 2b + 1, with a and b on a grid.
fn plane() -> Examples {
    let grid = (0..100).flat_map(|i| [(i % 10) as f32 / 5.0 - 1.0, (i / 10) as f32 / 5.0 - 1.0]);
    let values: Vec<f32> = grid.collect();
    let truth = values.chunks(2).map(|x| f64::from(3.0 * x[0] - 2.0 * x[1] + 1.0)).collect();
    Examples { inputs: flat(2, values), targets: Targets::Values(truth) }
}

#[test]
fn xor_is_learned_with_every_optimizer_and_both_losses() {
    let xor = xor();
    for json in [
        r#"{"adam": {"learning_rate": 0.05}}"#,
        r#"{"adamw": {"learning_rate": 0.05}}"#,
        r#"{"sgd": {"learning_rate": 0.2, "momentum": 0.9}}"#,
        r#"{"sgd": {"learning_rate": 0.2, "momentum": 0.9, "nesterov": true}}"#,
        r#"{"rmsprop": {"learning_rate": 0.02}}"#,
    ] {
        let cross_entropy = LossSpec::CrossEntropy(CrossEntropy::default());
        for (loss, outputs) in [(cross_entropy, 2), (LossSpec::BinaryCrossEntropy, 1)] {
            let layers = format!(
                r#"[{{"dense": {{"units": 8, "activation": "tanh"}}}}, {{"dense": {outputs}}}]"#
            );
            let mut model = untrained(&layers, &[2], loss, 2, 1);
            let mut settings = FitSettings::new(loss, 300);
            settings.optimizer = optimizer(json);
            let outcome = fit(&mut model, &xor, None, &settings, &mut Unwatched).unwrap();
            assert_eq!((outcome.epochs.len(), outcome.best_epoch), (300, 300));
            let scores = score(&model, &xor).unwrap();
            assert_eq!(scores.accuracy, Some(1.0), "{json} {}", loss.name());
            assert!(scores.loss < 0.1, "{json} {}: {}", loss.name(), scores.loss);
        }
    }
}

#[test]
fn a_plane_is_found() {
    let plane = plane();
    for loss in [LossSpec::Mse, LossSpec::Mae, LossSpec::Huber(Huber { delta: 1.0 })] {
        let mut model = untrained(r#"[{"dense": 1}]"#, &[2], loss, 0, 2);
        let mut settings = FitSettings::new(loss, 120);
        settings.optimizer = optimizer(r#"{"adam": {"learning_rate": 0.05}}"#);
        settings.scheduler = serde_json::from_str(r#""cosine""#).unwrap();
        fit(&mut model, &plane, None, &settings, &mut Unwatched).unwrap();
        let weight = |name: &str| -> Vec<f32> {
            model.weights()[name].flatten_all().unwrap().to_vec1().unwrap()
        };
        let found = [weight("dense_1.weight"), weight("dense_1.bias")].concat();
        for (found, truth) in found.iter().zip([3.0, -2.0, 1.0]) {
            assert!((found - truth).abs() < 0.02, "{}: {found:?} {truth}", loss.name());
        }
        let errors = score(&model, &plane).unwrap().errors.unwrap();
        assert!(errors.r2 > 0.999 && errors.mae < 0.02);
    }
}

fn weights(model: &Model) -> BTreeMap<String, Vec<u32>> {
    let bits = |weight: &candle_core::Tensor| {
        let values: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    model.weights().iter().map(|(name, weight)| (name.clone(), bits(weight))).collect()
}

/// 300 small images: the class is where the bright square is.
fn squares() -> Examples {
    let mut values = Vec::new();
    let mut classes = Vec::new();
    for i in 0..300usize {
        let class = i % 4;
        let (top, left) = (class / 2 * 6, class % 2 * 6);
        classes.push(class as u32);
        for place in 0..144 {
            let (row, column) = (place / 12, place % 12);
            let inside = (top..top + 6).contains(&row) && (left..left + 6).contains(&column);
            let noise = (((i * 144 + place) * 2_654_435_761) >> 7) % 120;
            values.push((noise + if inside { 130 } else { 0 }) as u8);
        }
    }
    let shape = SampleShape::Image { height: 12, width: 12, channels: 1 };
    let inputs = Inputs::from_bytes(300, shape, values, 255.0).unwrap();
    Examples { inputs, targets: Targets::Classes(classes) }
}

const SQUARES: &str = r#"[{"conv2d": {"filters": 6, "kernel": 3, "activation": "relu"}},
    {"max_pool2d": 2}, {"dropout": 0.2}, "flatten", {"dense": 4}]"#;

#[test]
fn equal_seeds_train_equal_models_on_any_number_of_threads() {
    let squares = squares();
    let loss = LossSpec::CrossEntropy(CrossEntropy { label_smoothing: 0.1 });
    let train = |seed: u64| {
        let mut model = untrained(SQUARES, &[12, 12, 1], loss, 4, seed);
        let mut settings = FitSettings::new(loss, 4);
        settings.seed = seed;
        settings.gradient_clipping = Some(GradientClipping::Norm(1.0));
        settings.class_weights = Some(vec![1.0, 2.0, 1.0, 0.5]);
        let outcome = fit(&mut model, &squares, Some(&squares), &settings, &mut Unwatched).unwrap();
        let scores: Vec<_> =
            outcome.epochs.iter().map(|epoch| (epoch.train, epoch.validation)).collect();
        (weights(&model), scores)
    };
    let first = train(3);
    assert_eq!(train(3), first);
    assert_ne!(train(4).0, first.0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| train(3)), first);
}

#[test]
fn images_are_learned() {
    let squares = squares();
    let loss = LossSpec::CrossEntropy(CrossEntropy::default());
    let mut model = untrained(SQUARES, &[12, 12, 1], loss, 4, 1);
    let settings = FitSettings { batch_size: 16, ..FitSettings::new(loss, 8) };
    fit(&mut model, &squares, None, &settings, &mut Unwatched).unwrap();
    assert!(score(&model, &squares).unwrap().accuracy.unwrap() > 0.98);
}

#[test]
fn early_stopping_keeps_the_best_weights() {
    // The truth is noise on the validation data, so its loss soon gets worse.
    let values: Vec<f32> =
        (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0).collect();
    let classes = |shift: u32| (0..100u32).map(|i| (i * i + shift * i) / 3 % 2).collect();
    let train = Examples { inputs: flat(4, values.clone()), targets: Targets::Classes(classes(1)) };
    let held_out = Examples { inputs: flat(4, values), targets: Targets::Classes(classes(2)) };
    let loss = LossSpec::BinaryCrossEntropy;
    let layers = r#"[{"dense": {"units": 32, "activation": "relu"}}, {"dense": 1}]"#;
    let mut model = untrained(layers, &[4], loss, 2, 5);
    let mut settings = FitSettings::new(loss, 400);
    settings.optimizer = optimizer(r#"{"adam": {"learning_rate": 0.05}}"#);
    settings.keep_best_by = Some("validation.loss".to_owned());
    settings.early_stopping = Some(serde_json::from_str::<EarlyStopping>("5").unwrap());
    let outcome = fit(&mut model, &train, Some(&held_out), &settings, &mut Unwatched).unwrap();
    assert!(outcome.stopped_early);
    assert_eq!(outcome.epochs.len(), outcome.best_epoch + 5);
    let losses: Vec<f64> =
        outcome.epochs.iter().map(|epoch| epoch.validation.unwrap().loss).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[outcome.best_epoch - 1], best);
    assert_eq!(score(&model, &held_out).unwrap().loss, best);
}

#[test]
fn a_loss_that_is_no_number_ends_the_training_with_the_mend() {
    let mut model = untrained(r#"[{"dense": 1}]"#, &[2], LossSpec::Mse, 0, 2);
    let mut settings = FitSettings::new(LossSpec::Mse, 50);
    settings.optimizer = optimizer(r#"{"sgd": {"learning_rate": 90.0}}"#);
    let before = weights(&model);
    let error = fit(&mut model, &plane(), None, &settings, &mut Unwatched).unwrap_err();
    let NnError::Diverged { message, help } = error else { panic!("{error}") };
    assert!(message.starts_with("the loss is no longer a number in epoch"), "{message}");
    assert!(help.contains("lower the learning rate (now 90)"), "{help}");
    assert_eq!(weights(&model), before);
}

/// Holds one weight at zero, and counts what it is told.
#[derive(Default)]
struct Mask {
    steps: usize,
    epochs: usize,
    last: f64,
}

impl Watcher for Mask {
    fn batch(&mut self, report: &BatchReport) -> NnResult {
        assert!(report.epochs_done > self.last && report.epochs_done <= 3.0);
        self.last = report.epochs_done;
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> NnResult {
        self.epochs += 1;
        assert_eq!(report.epoch, self.epochs);
        Ok(())
    }

    fn after_step(&mut self, weights: &BTreeMap<String, Var>) -> NnResult {
        self.steps += 1;
        let weight = &weights["dense_1.weight"];
        let mask = candle_core::Tensor::new(&[[1f32, 0.0]], weight.device())?;
        weight.set(&(weight.as_tensor() * mask)?)?;
        Ok(())
    }
}

#[test]
fn a_watcher_sees_every_step_and_can_hold_weights() {
    let mut model = untrained(r#"[{"dense": 1}]"#, &[2], LossSpec::Mse, 0, 2);
    let mut mask = Mask::default();
    fit(&mut model, &plane(), None, &FitSettings::new(LossSpec::Mse, 3), &mut mask).unwrap();
    assert_eq!((mask.steps, mask.epochs, mask.last), (12, 3, 3.0));
    let weight: Vec<Vec<f32>> = model.weights()["dense_1.weight"].to_vec2().unwrap();
    assert!(weight[0][0] != 0.0 && weight[0][1] == 0.0);
}

#[test]
fn class_weights_move_the_decision() {
    // The same point is class 0 nine times and class 1 once.
    let examples = Examples {
        inputs: flat(1, vec![1.0; 10]),
        targets: Targets::Classes([vec![0; 9], vec![1]].concat()),
    };
    let cross_entropy = LossSpec::CrossEntropy(CrossEntropy::default());
    for (loss, outputs) in [(cross_entropy, 2), (LossSpec::BinaryCrossEntropy, 1)] {
        let share = |class_weights: Option<Vec<f32>>| {
            let layers = format!(r#"[{{"dense": {outputs}}}]"#);
            let mut model = untrained(&layers, &[1], loss, 2, 0);
            let mut settings = FitSettings::new(loss, 400);
            settings.optimizer = optimizer(r#"{"adam": {"learning_rate": 0.05}}"#);
            settings.class_weights = class_weights;
            fit(&mut model, &examples, None, &settings, &mut Unwatched).unwrap();
            model.predict(&examples.inputs).unwrap().row(0)[1]
        };
        assert!((share(None) - 0.1).abs() < 0.01);
        // 10 / (2 · 9) and 10 / (2 · 1): both classes weigh the same.
        assert!((share(Some(vec![5.0 / 9.0, 5.0])) - 0.5).abs() < 0.01);
    }
}
