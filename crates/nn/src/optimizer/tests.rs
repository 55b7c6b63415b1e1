use candle_core::{DType, Device};

use super::*;
use crate::ops::check::{assert_close, flat, values};

const RULES: [Rule; 9] = [
    Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
    Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.1 },
    Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.01 },
    Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
    Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 },
    Rule::Adam { beta1: 0.8, beta2: 0.99, epsilon: 1e-3, weight_decay: 0.1 },
    Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 },
    Rule::RmsProp { decay: 0.99, epsilon: 1e-8, momentum: 0.0, weight_decay: 0.01 },
    Rule::RmsProp { decay: 0.9, epsilon: 1e-3, momentum: 0.9, weight_decay: 0.0 },
];

/// One value, step by step in `f64`, written down from the algorithms in PyTorch's documentation.
struct Reference {
    rule: Rule,
    t: i32,
    p: f64,
    a: f64,
    b: f64,
}

impl Reference {
    fn step(&mut self, mut g: f64, lr: f64) {
        self.t += 1;
        match self.rule {
            Rule::Sgd { momentum, nesterov, weight_decay } => {
                g += weight_decay * self.p;
                if momentum != 0.0 {
                    self.b = if self.t > 1 { momentum * self.b + g } else { g };
                    g = if nesterov { g + momentum * self.b } else { self.b };
                }
                self.p -= lr * g;
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay } => {
                g += weight_decay * self.p;
                self.adam(g, lr, beta1, beta2, epsilon);
            }
            Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
                self.p -= lr * weight_decay * self.p;
                self.adam(g, lr, beta1, beta2, epsilon);
            }
            Rule::RmsProp { decay, epsilon, momentum, weight_decay } => {
                g += weight_decay * self.p;
                self.a = decay * self.a + (1.0 - decay) * g * g;
                let direction = g / (self.a.sqrt() + epsilon);
                self.b = momentum * self.b + direction;
                self.p -= lr * if momentum > 0.0 { self.b } else { direction };
            }
        }
    }

    fn adam(&mut self, g: f64, lr: f64, beta1: f64, beta2: f64, epsilon: f64) {
        self.a = beta1 * self.a + (1.0 - beta1) * g;
        self.b = beta2 * self.b + (1.0 - beta2) * g * g;
        let first = self.a / (1.0 - beta1.powi(self.t));
        let second = self.b / (1.0 - beta2.powi(self.t));
        self.p -= lr * first / (second.sqrt() + epsilon);
    }
}

/// Gradients of the variables: those of `Σ gradient · variable`.
fn gradients(vars: &[(&Var, Vec<f32>)]) -> GradStore {
    let mut sum = Tensor::zeros((), vars[0].0.dtype(), &Device::Cpu).expect("zero");
    for (var, values) in vars {
        let factor = Tensor::from_slice(values, var.shape(), &Device::Cpu)
            .and_then(|t| t.to_dtype(var.dtype()))
            .expect("a gradient");
        let term = var.mul(&factor).and_then(|t| t.sum_all()).expect("a sum");
        sum = sum.add(&term).expect("a sum");
    }
    sum.backward().expect("gradients")
}

fn variable(count: usize, seed: u64, dtype: DType) -> Var {
    let tensor = Tensor::from_vec(values(count, seed), count, &Device::Cpu)
        .and_then(|t| t.to_dtype(dtype))
        .expect("values");
    Var::from_tensor(&tensor).expect("a variable")
}

#[test]
fn steps_agree_with_the_published_algorithms() {
    for rule in RULES {
        // In f32 the kernel runs, in f64 candle's ops; 37 leaves a partial vector.
        for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-6)] {
            let var = variable(37, 1, dtype);
            let mut references: Vec<Reference> = flat(&var)
                .into_iter()
                .map(|p| Reference { rule, t: 0, p, a: 0.0, b: 0.0 })
                .collect();
            let mut optimizer =
                Optimizer::new(rule, None, [("w".to_owned(), var.clone())]).expect("an optimizer");
            for step in 0..12 {
                let g = values(37, 10 + step);
                let lr = if step < 6 { 0.1 } else { 0.02 };
                optimizer.step(&gradients(&[(&var, g.clone())]), lr).expect("a step");
                for (reference, &g) in references.iter_mut().zip(&g) {
                    reference.step(f64::from(g), lr);
                }
                let actual: Vec<f32> = flat(&var).into_iter().map(|v| v as f32).collect();
                let expected: Vec<f64> = references.iter().map(|r| r.p).collect();
                assert_close(&actual, &expected, tolerance);
            }
        }
    }
}

#[test]
fn the_first_step_of_adam_is_the_learning_rate() {
    // g / (|g| + epsilon): known in closed form.
    let var = Var::new(&[1.0_f32, 1.0], &Device::Cpu).expect("a variable");
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimizer =
        Optimizer::new(rule, None, [("w".to_owned(), var.clone())]).expect("an optimizer");
    optimizer.step(&gradients(&[(&var, vec![3.0, -0.5])]), 0.01).expect("a step");
    assert_close(&[flat(&var)[0] as f32, flat(&var)[1] as f32], &[0.99, 1.01], 1e-6);
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() {
    for rule in RULES {
        let var = variable(100, 1, DType::F32);
        let names = |var: &Var| [("layer.weight".to_owned(), var.clone())];
        let mut optimizer = Optimizer::new(rule, None, names(&var)).expect("an optimizer");
        for step in 0..3 {
            let g = values(100, 10 + step);
            optimizer.step(&gradients(&[(&var, g)]), 0.1).expect("a step");
        }
        let state = optimizer.state().expect("a state");
        let copy = Var::from_tensor(&var.as_detached_tensor().copy().expect("a copy"))
            .expect("a variable");
        let mut resumed = Optimizer::new(rule, None, names(&copy)).expect("an optimizer");
        resumed.restore(&state).expect("it fits");
        for step in 3..6 {
            let g = values(100, 10 + step);
            optimizer.step(&gradients(&[(&var, g.clone())]), 0.1).expect("a step");
            resumed.step(&gradients(&[(&copy, g)]), 0.1).expect("a step");
        }
        assert_eq!(flat(&var), flat(&copy), "{rule:?}");
    }
}

#[test]
fn the_state_of_another_model_or_rule_is_refused() {
    let adam = RULES[4];
    let optimizer = |rule, count: usize, name: &str| {
        let var = variable(count, 1, DType::F32);
        Optimizer::new(rule, None, [(name.to_owned(), var)]).expect("an optimizer")
    };
    let state = optimizer(adam, 3, "w").state().expect("a state");
    assert!(optimizer(adam, 3, "w").restore(&state).is_ok());
    assert!(optimizer(adam, 4, "w").restore(&state).is_err());
    assert!(optimizer(adam, 3, "v").restore(&state).is_err());
    assert!(optimizer(RULES[0], 3, "w").restore(&state).is_err());
    let less = optimizer(RULES[0], 3, "w").state().expect("a state");
    assert!(optimizer(adam, 3, "w").restore(&less).is_err());
}

#[test]
fn clipping_holds_gradients_down() {
    let rule = Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let run = |clipping| {
        let (a, b) = (Var::new(&[0.0_f32, 0.0], &Device::Cpu), Var::new(&[0.0_f32], &Device::Cpu));
        let (a, b) = (a.expect("a variable"), b.expect("a variable"));
        let named = [("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())];
        let mut optimizer = Optimizer::new(rule, Some(clipping), named).expect("an optimizer");
        let gradients = gradients(&[(&a, vec![3.0, -4.0]), (&b, vec![12.0])]);
        let report = optimizer.step(&gradients, 1.0).expect("a step");
        let all: Vec<f32> = flat(&a).into_iter().chain(flat(&b)).map(|v| v as f32).collect();
        (report.gradient_norm, all)
    };
    let (norm, moved) = run(Clipping::Norm(1.3));
    assert_eq!(norm, Some(13.0));
    assert_close(&moved, &[-0.3, 0.4, -1.2], 1e-6);
    let (_, moved) = run(Clipping::Norm(20.0));
    assert_close(&moved, &[-3.0, 4.0, -12.0], 1e-7);
    let (norm, moved) = run(Clipping::Value(3.5));
    assert_eq!(norm, None);
    assert_close(&moved, &[-3.0, 3.5, -3.5], 1e-7);
}

#[test]
fn a_parameter_without_a_gradient_stays() {
    let (a, b) = (variable(3, 1, DType::F32), variable(3, 2, DType::F32));
    let before = flat(&b);
    let named = [("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())];
    let mut optimizer = Optimizer::new(RULES[6], None, named).expect("an optimizer");
    optimizer.step(&gradients(&[(&a, vec![1.0; 3])]), 0.1).expect("a step");
    assert_eq!(flat(&b), before);
}

#[test]
fn settings_out_of_range_are_refused() {
    let none: [(String, Var); 0] = [];
    for rule in [
        Rule::Sgd { momentum: 1.0, nesterov: false, weight_decay: 0.0 },
        Rule::Sgd { momentum: 0.0, nesterov: true, weight_decay: 0.0 },
        Rule::Adam { beta1: 0.9, beta2: 1.0, epsilon: 1e-8, weight_decay: 0.0 },
        Rule::RmsProp { decay: 0.9, epsilon: f64::NAN, momentum: 0.0, weight_decay: 0.0 },
    ] {
        assert!(Optimizer::new(rule, None, none.clone()).is_err());
    }
    assert!(Optimizer::new(RULES[0], Some(Clipping::Norm(0.0)), none).is_err());
}

#[test]
fn training_is_the_same_on_any_number_of_threads() {
    use crate::ops::{
        Activation, ConvOptions, DropoutKey, Init, Window, avg_pool2d, conv2d, conv2d_max_pool2d,
        dense, dropout, softmax_cross_entropy,
    };
    let train = || -> Result<Vec<Vec<f64>>> {
        let shapes: [(&str, &[usize]); 5] = [
            ("a", &[20, 1, 3, 3]),
            ("a.bias", &[20]),
            ("b", &[24, 20, 3, 3]),
            ("c", &[600, 216]),
            ("d", &[10, 600]),
        ];
        let mut vars = BTreeMap::new();
        for (name, shape) in shapes {
            let first = Init::Uniform { bound: 0.1 }.draw(3, name, shape, &Device::Cpu)?;
            vars.insert(name.to_owned(), Var::from_tensor(&first)?);
        }
        let mut optimizer = Optimizer::new(
            RULES[6],
            Some(Clipping::Norm(0.5)),
            vars.iter().map(|(name, var)| (name.clone(), var.clone())),
        )?;
        let x = Init::Uniform { bound: 1.0 }.draw(3, "x", (70, 1, 22, 22), &Device::Cpu)?;
        let labels: Vec<u32> = (0..70).map(|i| i % 10).collect();
        let labels = Tensor::from_vec(labels, 70, &Device::Cpu)?;
        let relu = ConvOptions { relu: true, ..ConvOptions::default() };
        for step in 0..3 {
            let y = conv2d_max_pool2d(&x, &vars["a"], Some(&vars["a.bias"]), relu, (2, 2))?;
            let y = conv2d(&y, &vars["b"], None, ConvOptions { padding: (1, 1), ..relu })?;
            let y = avg_pool2d(&y, Window::tiles(3))?;
            let y = dense(&y, &vars["c"], None, Activation::Relu)?;
            let y = dropout(&y, 0.3, DropoutKey { seed: 1, step, layer: 0 })?;
            let y = dense(&y, &vars["d"], None, Activation::None)?;
            let loss = softmax_cross_entropy(&y, &labels, None, 0.1)?;
            optimizer.step(&loss.backward()?, 0.01)?;
        }
        Ok(vars.values().map(|var| flat(var)).collect())
    };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(train).expect("it trains")
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(3));
}
