//! The methods against shap, lime, captum and scikit-learn: see `reference/README.md`.

mod common;

use common::{Mlp, Tensors, all_near, head, near, sigmoid};
use wick_evaluate::metrics::roc_auc;
use wick_explain::draw::Draw;
use wick_explain::gradients::{PathOptions, integrated_gradients, saliency};
use wick_explain::importance::permutation_importance;
use wick_explain::lime::{Neighbourhood, TableSampler, Values, fit_local, kernel_weights};
use wick_explain::shap::{Coalitions, KernelSolver, Link, Worth, exact_shapley};
use wick_explain::{Matrix, Players};

type Outputs = Result<Vec<f64>, std::convert::Infallible>;

fn ok<T>(result: Result<T, std::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
    }
}

/// The MLP on ten columns, the others frozen.
fn frozen(rest: &[f64], rows: &Matrix<f64>) -> Matrix<f64> {
    let mut whole = Matrix::with_capacity(rows.rows(), rest.len());
    for row in rows.iter() {
        let mut values = rest.to_vec();
        values[..row.len()].copy_from_slice(row);
        whole.push(&values);
    }
    whole
}

#[test]
fn exact_shapley_values() {
    let (file, mlp) = (Tensors::open("shap_exact10"), Mlp::breast());
    let background: Matrix<f64> = file.matrix("background");
    let rows: Matrix<f64> = file.matrix("x");
    let rest = file.values("frozen_row");
    let players = Players::single_columns(10);
    let all = Coalitions::all(10);
    for (name, squash) in [("exact_logit", false), ("exact_prob", true)] {
        let expect: Matrix<f64> = file.matrix(name);
        let predict = |batch: &Matrix<f64>| -> Outputs {
            let logits = mlp.logits(&frozen(&rest, batch));
            Ok(if squash { logits.into_iter().map(sigmoid).collect() } else { logits })
        };
        let worth = Worth { players: &players, background: &background, predict };
        let base = ok(worth.nobody());
        near(name, base, file.values(&format!("{name}_base"))[0], 1e-9);
        for (place, row) in rows.iter().enumerate() {
            let values = exact_shapley(10, &ok(worth.of(&all, row)));
            all_near(name, &values, expect.row(place), 1e-9);
            near("additivity", base + values.iter().sum::<f64>(), ok(worth.everybody(row)), 1e-9);
        }
    }
}

#[test]
fn kernel_shap_over_all_coalitions_is_exact() {
    let (file, mlp) = (Tensors::open("shap_exact10"), Mlp::breast());
    let background: Matrix<f64> = file.matrix("background");
    let rows: Matrix<f64> = file.matrix("x");
    let rest = file.values("frozen_row");
    let expect: Matrix<f64> = file.matrix("kernel_full_logit");
    let players = Players::single_columns(10);
    let predict = |batch: &Matrix<f64>| -> Outputs { Ok(mlp.logits(&frozen(&rest, batch))) };
    let worth = Worth { players: &players, background: &background, predict };
    let coalitions = Coalitions::sample(10, 1022, &mut Draw::new(0, "shap", &[]));
    assert_eq!(coalitions.len(), 1022);
    let solver = KernelSolver::new(&coalitions);
    let base = ok(worth.nobody());
    for (place, row) in rows.iter().enumerate() {
        let values: Vec<f64> =
            ok(worth.of(&coalitions, row)).into_iter().map(|worth| worth - base).collect();
        let contributions = solver.solve(&values, ok(worth.everybody(row)) - base);
        all_near("kernel", &contributions, expect.row(place), 1e-9);
    }
}

#[test]
fn kernel_shap_of_the_same_coalitions() {
    let (file, mlp) = (Tensors::open("shap_kernel30"), Mlp::breast());
    let test: Matrix<f64> = Tensors::open("breast_data").matrix("X_test");
    let base = file.values("base")[0];
    for row in 0..3 {
        let masks: Matrix<f64> = file.matrix(&format!("mask{row}"));
        let weights = file.values(&format!("w{row}"));
        let mut coalitions = Coalitions::new(30);
        for (mask, weight) in masks.iter().zip(&weights) {
            let members: Vec<bool> = mask.iter().map(|member| *member == 1.0).collect();
            coalitions.push(&members, *weight);
        }
        let worth: Vec<f64> =
            file.values(&format!("ey{row}")).into_iter().map(|ey| ey - base).collect();
        let output = sigmoid(mlp.logits(&test)[row]);
        let contributions = KernelSolver::new(&coalitions).solve(&worth, output - base);
        all_near("phi", &contributions, &file.values(&format!("phi_l1_0_{row}")), 1e-9);
    }
}

/// shap's own two seeds differ by at most .025 (rms .006): so may ours from it. Log-odds are 25 times
/// as large in sum, and so is what sampling does to them.
#[test]
fn kernel_shap_by_sampling() {
    let (file, mlp) = (Tensors::open("shap_kernel30"), Mlp::breast());
    let data = Tensors::open("breast_data");
    let test: Matrix<f64> = data.matrix("X_test");
    let background = head(&data.matrix::<f64>("X_train"), 100);
    let players = Players::single_columns(30);
    let predict = |batch: &Matrix<f64>| -> Outputs {
        Ok(mlp.logits(batch).into_iter().map(sigmoid).collect())
    };
    let worth = Worth { players: &players, background: &background, predict };
    let base = ok(worth.nobody());
    near("base", base, file.values("base")[0], 1e-9);
    let samples = 2108;
    let coalitions = Coalitions::sample(30, samples, &mut Draw::new(0, "shap", &[]));
    let solver = KernelSolver::new(&coalitions);
    let large: Matrix<f64> = file.matrix("phi_40000");
    let logit: Matrix<f64> = file.matrix("phi_logitlink_2048");
    for row in 0..2 {
        let worths = ok(worth.of(&coalitions, test.row(row)));
        let output = ok(worth.everybody(test.row(row)));
        for (link, expect, tolerance) in
            [(Link::Identity, &large, 0.03), (Link::Logit, &logit, 0.4)]
        {
            let empty = link.apply(base);
            let values: Vec<f64> = worths.iter().map(|worth| link.apply(*worth) - empty).collect();
            let contributions = solver.solve(&values, link.apply(output) - empty);
            all_near(&format!("{link:?}"), &contributions, expect.row(row), tolerance);
        }
    }
}

#[test]
fn lime_local_models() {
    let file = Tensors::open("lime");
    for (name, count) in [
        ("tab_cont", 10),
        ("tab_quart", 10),
        ("tab_cont_fwd5", 5),
        ("tab_quart_fwd5", 5),
        ("text", 10),
        ("img", 49),
    ] {
        let value = |part: &str| file.values(&format!("{name}_{part}"));
        let model =
            fit_local(&file.matrix(&format!("{name}_data")), &value("labels"), &value("w"), count);
        let whole = value("intercept_score_pred");
        near(name, model.intercept, whole[0], 1e-9);
        near(name, model.score, whole[1], 1e-9);
        near(name, model.prediction, whole[2], 1e-9);
        let features: Vec<f64> = model.coefficients.iter().map(|(f, _)| *f as f64).collect();
        let coefficients: Vec<f64> = model.coefficients.iter().map(|(_, c)| *c).collect();
        all_near(name, &features, &value("feat"), 0.0);
        all_near(name, &coefficients, &value("coef"), 1e-9);
    }
}

#[test]
fn lime_distances_and_weights() {
    let file = Tensors::open("lime");
    for name in ["tab_cont", "tab_quart"] {
        let near_row = Neighbourhood::of_table(file.matrix(&format!("{name}_data")));
        all_near(name, near_row.weights(), &file.values(&format!("{name}_w")), 1e-9);
    }
    let masks: Matrix<f64> = file.matrix("img_data");
    let mut coalitions = Coalitions::new(49);
    for mask in masks.iter() {
        let members: Vec<bool> = mask.iter().map(|member| *member == 1.0).collect();
        coalitions.push(&members, 1.0);
    }
    let near_image = Neighbourhood::of_segments(&coalitions);
    all_near("img", near_image.weights(), &file.values("img_w"), 1e-9);
    let weights = kernel_weights(&file.values("img_dist"), 0.25);
    all_near("img", &weights, &file.values("img_w"), 1e-12);
}

#[test]
fn lime_quartiles() {
    let file = Tensors::open("lime");
    let data = Tensors::open("breast_data");
    let train: Matrix<f64> = data.matrix("X_train");
    let test: Matrix<f64> = data.matrix("X_test");
    let players = Players::single_columns(30);
    let sampler = TableSampler::new(&players, &train);
    let edges: Matrix<f64> = file.matrix("tab_quart_edges");
    let frequencies: Matrix<f64> = file.matrix("tab_quart_feature_freq");
    let bins = file.values("tab_quart_row_bins");
    for player in 0..30 {
        all_near("edges", sampler.edges(player).expect("cut"), edges.row(player), 1e-9);
        near("bin", sampler.bin(player, test.row(0)) as f64, bins[player], 0.0);
        let mut counts = [0.0; 4];
        train.iter().for_each(|row| counts[sampler.bin(player, row) as usize] += 1.0 / 426.0);
        all_near("frequencies", &counts, frequencies.row(player), 1e-9);
    }

    // Another stream of random numbers: the local models agree as two of lime's seeds would.
    let mlp = Mlp::breast();
    let mut draw = Draw::for_row(0, "lime", test.row(0));
    let sample = sampler.sample(test.row(0), 5000, Values::Quartile, &mut draw);
    let outputs: Vec<f64> = mlp.logits(&sample.rows).into_iter().map(sigmoid).collect();
    let model = Neighbourhood::of_table(sample.features).fit(&outputs, 30);
    let expect = file.values("tab_quart_coef");
    for (feature, expect) in file.values("tab_quart_feat").iter().zip(&expect) {
        let found = model.coefficients.iter().find(|(f, _)| *f as f64 == *feature);
        near("coefficient", found.expect("all features are used").1, *expect, 0.06);
    }
}

#[test]
fn integrated_gradients_of_the_mlp() {
    let (file, mlp) = (Tensors::open("grad_mlp"), Mlp::breast());
    let test: Matrix<f64> = Tensors::open("breast_data").matrix("X_test");
    let expect: Matrix<f64> = file.matrix("ig50_gausslegendre");
    let deltas = file.values("ig50_delta_gausslegendre");
    let options = PathOptions { steps: 50, tolerance: 1e9, max_steps: 50 };
    let gradient = |rows: &Matrix<f64>| Ok(mlp.gradients(rows));
    for (place, expect) in expect.iter().enumerate() {
        let found = ok(integrated_gradients(test.row(place), &[0.0; 30], options, gradient));
        all_near("integrated gradients", &found.attributions, expect, 2e-5);
        near("completeness", found.completeness_error, deltas[place], 1e-4);

        let options = PathOptions { steps: 50, tolerance: 0.002, max_steps: 3200 };
        let found = ok(integrated_gradients(test.row(place), &[0.0; 30], options, gradient));
        assert!(found.relative_error() <= 0.002, "{} at {}", found.relative_error(), found.steps);
    }
    let slopes = ok(saliency(&head(&test, 20), gradient));
    all_near("saliency", slopes.values(), &file.values("saliency"), 1e-5);
}

/// Within four standard errors of both means, over 200 repeats each.
#[test]
fn permutation_importance_of_a_logistic_regression() {
    let (file, model) = (Tensors::open("inspection"), Tensors::open("grad_mlp"));
    let data = Tensors::open("breast_data");
    let test: Matrix<f64> = data.matrix("X_test");
    let positive: Vec<bool> = data.values("y_test").iter().map(|label| *label == 1.0).collect();
    let (weights, bias) = (model.values("lr_coef"), model.values("lr_intercept")[0]);
    let score = |rows: &Matrix<f64>| {
        let scores: Vec<f64> = rows
            .iter()
            .map(|row| row.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>() + bias)
            .collect();
        Ok(roc_auc(&positive, &scores))
    };
    let players = Players::single_columns(30);
    let found = ok(permutation_importance(&test, &players, 200, 0, score, |_| Ok(())));
    let (means, deviations) = (file.values("perm_imp_auc_mean"), file.values("perm_imp_auc_std"));
    for (player, importance) in found.iter().enumerate() {
        let error = 4.0 * deviations[player] * (2.0_f64 / 200.0).sqrt() + 1e-12;
        near("importance", importance.mean, means[player], error);
        near(
            "deviation",
            importance.deviation,
            deviations[player],
            0.3 * deviations[player] + 1e-12,
        );
    }
}
