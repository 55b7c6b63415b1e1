//! Drawings as self-contained SVG.
//!
//! Each drawing is a plain struct with a `svg` method. Colours are given by classes in a style
//! sheet inside the file, with a second set for dark screens; a viewer that ignores the second
//! set shows the light one.

pub mod bars;
pub mod canvas;
pub mod grid;
pub mod heat_map;
pub mod layers;
pub mod lines;
pub mod pixels;
pub mod scale;

pub use bars::{Bar, BarChart};
pub use grid::{GridRow, ImageGrid};
pub use heat_map::HeatMap;
pub use layers::{GraphEdge, GraphNode, LayeredGraph};
pub use lines::{Axis, LineChart, LineStyle, Series};
pub use pixels::Pixels;
