use super::super::check::{assert_close, check_gradients, flat, values, variable};
use super::super::conv::tests::reference as convolve;
use super::*;

fn op(
    input: [usize; 4],
    weight: [usize; 4],
    options: ConvOptions,
    pool: (usize, usize),
) -> ConvPool {
    let ConvOptions { stride, padding, relu } = options;
    let sizes = Convolution::new(&input, &weight, &[weight[0]], stride, padding).expect("it fits");
    let tiles = Window { kernel: pool, stride: pool, padding: (0, 0) };
    let (out_height, out_width) = tiles.places(sizes.out_height, sizes.out_width).expect("it fits");
    let winners = OnceLock::new();
    ConvPool { sizes, relu, pool, out_height, out_width, tracked: true, winners }
}

fn reference(op: &ConvPool, v: &[Vec<f64>]) -> Vec<f64> {
    let maps = convolve(&op.sizes, &v[0], &v[1], &v[2], op.relu);
    let mut out = Vec::new();
    for map in maps.chunks_exact(op.sizes.out_pixels()) {
        for y in 0..op.out_height {
            for x in 0..op.out_width {
                let window = (0..op.pool.0 * op.pool.1).map(|i| {
                    let (dy, dx) = (i / op.pool.1, i % op.pool.1);
                    map[(y * op.pool.0 + dy) * op.sizes.out_width + x * op.pool.1 + dx]
                });
                out.push(window.fold(f64::NEG_INFINITY, f64::max));
            }
        }
    }
    out
}

type Case = ([usize; 4], [usize; 4], (usize, usize), (usize, usize), (usize, usize));
const CASES: [Case; 6] = [
    ([2, 1, 8, 8], [5, 1, 3, 3], (1, 1), (0, 0), (2, 2)),
    ([2, 1, 9, 7], [33, 1, 3, 3], (1, 1), (0, 0), (2, 2)),
    ([3, 2, 7, 9], [3, 2, 2, 3], (1, 2), (1, 1), (3, 2)),
    ([1, 3, 5, 5], [2, 3, 5, 5], (1, 1), (2, 2), (1, 5)),
    ([1, 1, 1, 1], [1, 1, 1, 1], (1, 1), (0, 0), (1, 1)),
    ([1, 8, 6, 6], [17, 8, 3, 3], (1, 1), (0, 0), (2, 2)),
];

#[test]
fn values_and_gradients_agree_with_the_definition() {
    for (input, weight, stride, padding, pool) in CASES {
        for relu in [true, false] {
            let options = ConvOptions { stride, padding, relu };
            let op = op(input, weight, options, pool);
            let inputs = [variable(&input, 1), variable(&weight, 2), variable(&[weight[0]], 3)];
            check_gradients(
                &inputs,
                |t| conv2d_max_pool2d(&t[0], &t[1], Some(&t[2]), options, pool),
                |v| reference(&op, v),
            );
        }
    }
}

#[test]
fn every_level_agrees() {
    for (input, weight, stride, padding, pool) in CASES {
        let op = op(input, weight, ConvOptions { stride, padding, relu: true }, pool);
        let x = values(input.iter().product(), 1);
        let w = values(weight.iter().product(), 2);
        let b = values(weight[0], 3);
        let wide = [&x, &w, &b].map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let expected = reference(&op, &wide);
        let mut first: Option<[Vec<f32>; 3]> = None;
        for level in Level::available() {
            let (out, winners) = op.forward(level, &x, &w, &b);
            assert_close(&out, &expected, 2e-5);
            let grad = values(out.len(), 4);
            let gradients = op.backward(level, [&x, &w, &out, &grad], &winners, [true; 3]);
            let gradients = gradients.map(|g| g.expect("asked for"));
            let Some(first) = &first else {
                first = Some(gradients);
                continue;
            };
            for (gradient, expected) in gradients.iter().zip(first) {
                let expected: Vec<f64> = expected.iter().map(|&v| f64::from(v)).collect();
                assert_close(gradient, &expected, 1e-4);
            }
        }
    }
}

#[test]
fn the_same_as_the_two_ops_even_with_ties() {
    // All weights 0: every place of a window ties, and the first wins in both.
    let x = variable(&[2, 1, 6, 6], 1);
    let weight =
        candle_core::Var::zeros((3, 1, 3, 3), candle_core::DType::F32, x.device()).expect("zeros");
    let bias = candle_core::Var::ones(3, candle_core::DType::F32, x.device()).expect("ones");
    let options = ConvOptions { relu: true, ..ConvOptions::default() };
    let fused = conv2d_max_pool2d(&x, &weight, Some(&bias), options, (2, 2)).expect("it runs");
    let two = conv2d(&x, &weight, Some(&bias), options)
        .and_then(|maps| max_pool2d(&maps, Window::tiles(2)))
        .expect("it runs");
    assert_eq!(flat(&fused), flat(&two));
    let gradient = |out: &Tensor| {
        let gradients = out.sum_all().and_then(|s| s.backward()).expect("gradients");
        gradients.get(&weight).expect("a gradient").flatten_all().expect("values")
    };
    let fused: Vec<f32> = gradient(&fused).to_vec1().expect("values");
    assert_close(&fused, &flat(&gradient(&two)), 1e-5);
}
