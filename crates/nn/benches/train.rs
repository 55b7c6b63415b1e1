//! How fast a training step is: images per second, the best of several rounds.
//!
//! `cargo bench -p wick-nn` (or with `--profile dev`: the crate is optimised there too), with
//! `RAYON_NUM_THREADS` for the threads. A word after `--` picks the benches whose names have it.

use std::time::{Duration, Instant};

use candle_core::{Device, Result, Tensor, Var};
use wick_nn::ops::{
    Activation, ConvOptions, Init, conv2d_max_pool2d, dense, in_pool, softmax_cross_entropy,
};
use wick_nn::optimizer::{Optimizer, Rule};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long one round lasts, and how many there are: other programs disturb some of them.
const ROUND: Duration = Duration::from_millis(40);
const ROUNDS: usize = 60;

/// A model as a function of its variables and a batch.
struct Bench {
    name: &'static str,
    variables: Vec<(String, Var)>,
    input: Vec<usize>,
    forward: fn(&[Var], &Tensor) -> Result<Tensor>,
}

fn variables(shapes: &[(&str, &[usize])]) -> Result<Vec<(String, Var)>> {
    shapes
        .iter()
        .map(|&(name, shape)| {
            let init = if shape.len() > 1 { Init::Default } else { Init::Constant(0.0) };
            let first = init.draw(1, name, shape, &Device::Cpu)?;
            Ok((name.to_owned(), Var::from_tensor(&first)?))
        })
        .collect()
}

fn relu() -> ConvOptions {
    ConvOptions { relu: true, ..ConvOptions::default() }
}

fn benches() -> Result<Vec<Bench>> {
    let cnn = Bench {
        name: "cnn",
        variables: variables(&[
            ("conv.weight", &[32, 1, 3, 3]),
            ("conv.bias", &[32]),
            ("dense.weight", &[10, 5408]),
            ("dense.bias", &[10]),
        ])?,
        input: vec![1, 28, 28],
        forward: |v, x| {
            let maps = conv2d_max_pool2d(x, &v[0], Some(&v[1]), relu(), (2, 2))?;
            dense(&maps, &v[2], Some(&v[3]), Activation::None)
        },
    };
    let deep = Bench {
        name: "deep",
        variables: variables(&[
            ("conv1.weight", &[32, 1, 3, 3]),
            ("conv1.bias", &[32]),
            ("conv2.weight", &[64, 32, 3, 3]),
            ("conv2.bias", &[64]),
            ("dense.weight", &[10, 1600]),
            ("dense.bias", &[10]),
        ])?,
        input: vec![1, 28, 28],
        forward: |v, x| {
            let maps = conv2d_max_pool2d(x, &v[0], Some(&v[1]), relu(), (2, 2))?;
            let maps = conv2d_max_pool2d(&maps, &v[2], Some(&v[3]), relu(), (2, 2))?;
            dense(&maps, &v[4], Some(&v[5]), Activation::None)
        },
    };
    let mlp = Bench {
        name: "mlp",
        variables: variables(&[
            ("a.weight", &[512, 784]),
            ("a.bias", &[512]),
            ("b.weight", &[256, 512]),
            ("b.bias", &[256]),
            ("c.weight", &[10, 256]),
            ("c.bias", &[10]),
        ])?,
        input: vec![784],
        forward: |v, x| {
            let x = dense(x, &v[0], Some(&v[1]), Activation::Relu)?;
            let x = dense(&x, &v[2], Some(&v[3]), Activation::Relu)?;
            dense(&x, &v[4], Some(&v[5]), Activation::None)
        },
    };
    Ok(vec![cnn, deep, mlp])
}

/// What was measured.
#[derive(Default, Clone, Copy)]
struct Measured {
    /// Images per second of the best round.
    rate: f64,
    /// Seconds an image took in it: forward, backward, optimizer.
    spent: [f64; 3],
    /// Images per second of the fastest single step: what the machine does when left alone.
    peak: f64,
}

fn run(bench: &Bench, batch: usize) -> Result<Measured> {
    let mut shape = vec![batch];
    shape.extend(&bench.input);
    // Digits are mostly background: so are these.
    let pixels = Init::Uniform { bound: 1.0 }.draw(2, "pixels", shape, &Device::Cpu)?;
    let pixels = pixels.relu()?;
    let labels: Vec<u32> = (0..batch as u32).map(|i| i * 7 % 10).collect();
    let labels = Tensor::from_vec(labels, batch, &Device::Cpu)?;
    let vars: Vec<Var> = bench.variables.iter().map(|(_, var)| var.clone()).collect();
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(rule, None, bench.variables.iter().cloned())?;
    let mut best = Measured::default();
    for _ in 0..ROUNDS {
        let mut spent = [0.0; 3];
        let mut steps = 0;
        let start = Instant::now();
        while start.elapsed() < ROUND {
            let from = Instant::now();
            let logits = (bench.forward)(&vars, &pixels)?;
            let loss = softmax_cross_entropy(&logits, &labels, None, 0.0)?;
            let forward = Instant::now();
            let gradients = loss.backward()?;
            let backward = Instant::now();
            optimizer.step(&gradients, 1e-4)?;
            let end = Instant::now();
            spent[0] += (forward - from).as_secs_f64();
            spent[1] += (backward - forward).as_secs_f64();
            spent[2] += (end - backward).as_secs_f64();
            best.peak = best.peak.max(batch as f64 / (end - from).as_secs_f64());
            steps += 1;
        }
        let rate = (steps * batch) as f64 / start.elapsed().as_secs_f64();
        if rate > best.rate {
            best.rate = rate;
            best.spent = spent.map(|seconds| seconds / (steps * batch) as f64);
        }
    }
    Ok(best)
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    println!("threads: {}", rayon::current_num_threads());
    in_pool(|| {
        for bench in benches()? {
            if !wanted.is_empty() && !wanted.iter().any(|w| bench.name.contains(w.as_str())) {
                continue;
            }
            for batch in [32, 128] {
                let Measured { rate, spent, peak } = run(&bench, batch)?;
                let [forward, backward, step] = spent.map(|seconds| seconds * 1e6);
                println!(
                    "{:5} batch {batch:3}: {rate:8.0} images/s, fastest step {peak:8.0} (per \
                     image: forward {forward:.1} µs, backward {backward:.1} µs, optimizer \
                     {step:.1} µs)",
                    bench.name,
                );
            }
        }
        Ok(())
    })
}
