//! What shape each layer gives, and which weights it needs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layer::{Conv2d, LayerSpec, Padding, Pair, Pool2d};

/// The shape of one sample between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleShape {
    /// A list of numbers.
    Flat {
        /// How many.
        width: usize,
    },
    /// An image. Tensors hold it channel by channel, as `[channels, height, width]`.
    Image {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Values at each place.
        channels: usize,
    },
}

impl SampleShape {
    /// The dimensions of a tensor that holds one sample, without the batch.
    pub fn dims(&self) -> Vec<usize> {
        match *self {
            SampleShape::Flat { width } => vec![width],
            SampleShape::Image { height, width, channels } => vec![channels, height, width],
        }
    }

    /// How many numbers a sample has.
    pub fn elements(&self) -> usize {
        self.dims().into_iter().fold(1, usize::saturating_mul)
    }
}

/// As users write it: `784 numbers`, `images of 28 × 28 × 1`.
impl fmt::Display for SampleShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SampleShape::Flat { width: 1 } => f.write_str("1 number"),
            SampleShape::Flat { width } => write!(f, "{width} numbers"),
            SampleShape::Image { height, width, channels } => {
                write!(f, "images of {height} × {width} × {channels}")
            }
        }
    }
}

/// A weight that a layer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightShape {
    /// Its name in the weights file: `conv2d_1.weight`.
    pub name: String,
    /// Its shape: `[outputs, inputs]` for `dense`, `[filters, channels, rows, columns]` for
    /// `conv2d`, `[outputs]` for a bias.
    pub dims: Vec<usize>,
}

impl WeightShape {
    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.dims.iter().copied().fold(1, usize::saturating_mul)
    }
}

/// A layer in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerShape {
    /// Its name: what it is and the how many-th of that, `dense_2`.
    pub name: String,
    /// What it takes.
    pub input: SampleShape,
    /// What it gives.
    pub output: SampleShape,
    /// Its weights; empty for a layer that learns nothing.
    pub weights: Vec<WeightShape>,
}

/// A layer that does not fit the shape before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Which layer, from 0.
    pub layer: usize,
    /// The key of the layer at fault, if it is one.
    pub key: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {} of the model: {}; {}", self.layer + 1, self.message, self.help)
    }
}

/// The shapes of `layers` on samples of shape `input`.
///
/// # Errors
/// The first layer that does not fit; what follows it cannot be known.
pub fn shapes(layers: &[LayerSpec], input: SampleShape) -> Result<Vec<LayerShape>, Misfit> {
    let mut shape = input;
    let mut shaped: Vec<LayerShape> = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let count = layers[..=index].iter().filter(|other| other.name() == layer.name()).count();
        let name = format!("{}_{count}", layer.name());
        let misfit = |(key, message, help)| Misfit { layer: index, key, message, help };
        let (output, weights) = fit(layer, shape, index == 0).map_err(misfit)?;
        let weights = weights
            .into_iter()
            .map(|(suffix, dims)| WeightShape { name: format!("{name}.{suffix}"), dims })
            .collect();
        shaped.push(LayerShape { name, input: shape, output, weights });
        shape = output;
    }
    Ok(shaped)
}

type Fitted = (SampleShape, Vec<(&'static str, Vec<usize>)>);
type Fault = (Option<&'static str>, String, String);

fn fit(layer: &LayerSpec, input: SampleShape, first: bool) -> Result<Fitted, Fault> {
    let before = if first { "the features are" } else { "the layer before it gives" };
    match layer {
        LayerSpec::Dense(dense) => {
            let SampleShape::Flat { width } = input else {
                return Err((
                    None,
                    format!("`dense` takes a list of numbers, but {before} {input}"),
                    "put `flatten` before it".to_owned(),
                ));
            };
            if dense.units == 0 {
                return Err((
                    Some("units"),
                    "`dense` has no units".to_owned(),
                    "give it at least 1".to_owned(),
                ));
            }
            let weights = vec![("weight", vec![dense.units, width]), ("bias", vec![dense.units])];
            Ok((SampleShape::Flat { width: dense.units }, weights))
        }
        LayerSpec::Conv2d(conv) => fit_conv2d(conv, image("conv2d", input, before)?),
        LayerSpec::MaxPool2d(pool) => fit_pool(pool, image("max_pool2d", input, before)?),
        LayerSpec::AvgPool2d(pool) => fit_pool(pool, image("avg_pool2d", input, before)?),
        LayerSpec::Flatten => Ok((SampleShape::Flat { width: input.elements() }, Vec::new())),
        LayerSpec::Dropout(dropout) => {
            if (0.0..1.0).contains(&dropout.rate) {
                Ok((input, Vec::new()))
            } else {
                Err((
                    None,
                    format!("`dropout` of {} is not a share of the values", dropout.rate),
                    "write a number from 0 to just under 1, for example `dropout: 0.3`".to_owned(),
                ))
            }
        }
        LayerSpec::Activation(_) => Ok((input, Vec::new())),
    }
}

/// Height, width, channels of what must be an image.
fn image(layer: &str, input: SampleShape, before: &str) -> Result<(usize, usize, usize), Fault> {
    match input {
        SampleShape::Image { height, width, channels } => Ok((height, width, channels)),
        SampleShape::Flat { .. } => Err((
            None,
            format!("`{layer}` takes images, but {before} {input}"),
            format!(
                "put `{layer}` before `flatten` and `dense`, and give it an image: \
                 `features: {{pixels: {{type: image, shape: [28, 28, 1]}}}}`"
            ),
        )),
    }
}

/// The zeros that `conv` puts on every side.
///
/// # Errors
/// If `same` cannot be had.
pub fn padding_of(conv: &Conv2d) -> Result<Pair, &'static str> {
    match conv.padding {
        Padding::Valid => Ok(Pair::square(0)),
        Padding::Zeros(zeros) => Ok(Pair::square(zeros)),
        Padding::Same if conv.stride != Pair::square(1) => Err("`same` needs a stride of 1"),
        Padding::Same
            if conv.kernel.rows.is_multiple_of(2) || conv.kernel.columns.is_multiple_of(2) =>
        {
            Err("`same` needs an odd kernel")
        }
        Padding::Same => Ok(Pair { rows: conv.kernel.rows / 2, columns: conv.kernel.columns / 2 }),
    }
}

fn fit_conv2d(conv: &Conv2d, image: (usize, usize, usize)) -> Result<Fitted, Fault> {
    let (height, width, channels) = image;
    if conv.filters == 0 {
        return Err((
            Some("filters"),
            "`conv2d` has no filters".to_owned(),
            "give it at least 1".to_owned(),
        ));
    }
    let padding = padding_of(conv).map_err(|why| {
        let help = "give the number of zeros instead, for example `padding: 1`";
        (Some("padding"), why.to_owned(), help.to_owned())
    })?;
    let (rows, columns) = windows((height, width), conv.kernel, conv.stride, padding)?;
    let output = SampleShape::Image { height: rows, width: columns, channels: conv.filters };
    let kernel = vec![conv.filters, channels, conv.kernel.rows, conv.kernel.columns];
    Ok((output, vec![("weight", kernel), ("bias", vec![conv.filters])]))
}

fn fit_pool(pool: &Pool2d, image: (usize, usize, usize)) -> Result<Fitted, Fault> {
    let (height, width, channels) = image;
    let (rows, columns) = windows((height, width), pool.kernel, pool.step(), Pair::square(0))?;
    Ok((SampleShape::Image { height: rows, width: columns, channels }, Vec::new()))
}

/// How many places a window has: ⌊(size + 2·padding − kernel) / stride⌋ + 1 along each side.
fn windows(
    size: (usize, usize),
    kernel: Pair,
    stride: Pair,
    padding: Pair,
) -> Result<(usize, usize), Fault> {
    if kernel.rows == 0 || kernel.columns == 0 {
        return Err((
            Some("kernel"),
            "a kernel of 0 sees nothing".to_owned(),
            "make it at least 1".to_owned(),
        ));
    }
    if stride.rows == 0 || stride.columns == 0 {
        return Err((
            Some("stride"),
            "with a stride of 0 the window never moves".to_owned(),
            "make it at least 1".to_owned(),
        ));
    }
    let along = |size: usize, kernel: usize, stride: usize, padding: usize| {
        let size = size.saturating_add(padding.saturating_mul(2));
        size.checked_sub(kernel).map(|room| room / stride + 1)
    };
    match (
        along(size.0, kernel.rows, stride.rows, padding.rows),
        along(size.1, kernel.columns, stride.columns, padding.columns),
    ) {
        (Some(rows), Some(columns)) => Ok((rows, columns)),
        _ => Err((
            Some("kernel"),
            format!(
                "a kernel of {} × {} is larger than the image before it, {} × {}",
                kernel.rows, kernel.columns, size.0, size.1
            ),
            "make the kernel smaller, or pool less before it".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(json: &str) -> Vec<LayerSpec> {
        serde_json::from_str(json).expect("layers")
    }

    const DIGIT: SampleShape = SampleShape::Image { height: 28, width: 28, channels: 1 };

    #[test]
    fn shapes_and_weights_follow_the_layers() {
        let layers = layers(
            r#"[{"conv2d": {"filters": 32, "kernel": 3}}, {"max_pool2d": 2}, "flatten",
                {"dense": {"units": 64, "activation": "relu"}}, {"dropout": 0.5}, {"dense": 10}]"#,
        );
        let shaped = shapes(&layers, DIGIT).expect("they fit");
        let shown: Vec<String> =
            shaped.iter().map(|layer| format!("{}: {}", layer.name, layer.output)).collect();
        assert_eq!(
            shown,
            [
                "conv2d_1: images of 26 × 26 × 32",
                "max_pool2d_1: images of 13 × 13 × 32",
                "flatten_1: 5408 numbers",
                "dense_1: 64 numbers",
                "dropout_1: 64 numbers",
                "dense_2: 10 numbers",
            ]
        );
        let weights: Vec<_> = shaped.iter().flat_map(|layer| &layer.weights).collect();
        assert_eq!(weights[0].dims, [32, 1, 3, 3]);
        assert_eq!(weights[4].name, "dense_2.weight");
        assert_eq!(weights[4].dims, [10, 64]);
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named_with_the_mend() {
        #[track_caller]
        fn check(json: &str, input: SampleShape, layer: usize, message: &str, help: &str) {
            let misfit = shapes(&layers(json), input).expect_err("it does not fit");
            assert_eq!(misfit.layer, layer);
            assert!(misfit.message.contains(message), "{}", misfit.message);
            assert!(misfit.help.contains(help), "{}", misfit.help);
        }
        let flat = SampleShape::Flat { width: 30 };
        check(r#"[{"dense": 10}]"#, DIGIT, 0, "the features are images of 28 × 28 × 1", "flatten");
        check(
            r#"[{"max_pool2d": 2}, {"dense": 10}]"#,
            DIGIT,
            1,
            "the layer before it gives images of 14 × 14 × 1",
            "put `flatten` before it",
        );
        check(
            r#"[{"dense": 4}, {"conv2d": {"filters": 2, "kernel": 3}}]"#,
            flat,
            1,
            "takes images",
            "before `flatten`",
        );
        check(r#"[{"max_pool2d": 29}]"#, DIGIT, 0, "larger than the image", "smaller");
        check(
            r#"[{"conv2d": {"filters": 2, "kernel": 2, "padding": "same"}}]"#,
            DIGIT,
            0,
            "odd",
            "padding: 1",
        );
        check(r#"[{"dropout": 1.0}]"#, flat, 0, "not a share", "0.3");
        check(
            r#"[{"conv2d": {"filters": 2, "kernel": 3, "stride": 0}}]"#,
            DIGIT,
            0,
            "never moves",
            "1",
        );
    }

    #[test]
    fn same_keeps_the_size() {
        let shaped = shapes(
            &layers(r#"[{"conv2d": {"filters": 4, "kernel": [3, 5], "padding": "same"}}]"#),
            DIGIT,
        )
        .expect("it fits");
        assert_eq!(shaped[0].output, SampleShape::Image { height: 28, width: 28, channels: 4 });
    }
}
