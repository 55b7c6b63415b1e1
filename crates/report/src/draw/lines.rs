//! Lines over two axes: learning curves, ROC, precision and recall, calibration.

use super::canvas::{Anchor, Canvas, FONT, MARGIN, SERIES_COLOURS, TITLE_FONT, cut, text_width};
use super::scale::Range;

/// An axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// From where to where; by default as far as the points reach.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// An axis that reaches as far as the points.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), range: None }
    }

    /// An axis from 0 to 1.
    pub fn unit(label: impl Into<String>) -> Self {
        Self { label: label.into(), range: Some((0.0, 1.0)) }
    }
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineStyle {
    /// A line.
    #[default]
    Solid,
    /// A dashed line.
    Dashed,
    /// A line with a dot at each point.
    Dotted,
    /// A thin grey dashed line to compare with, such as chance.
    Guide,
}

/// A named line. A point that is not finite interrupts it.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points `(x, y)`, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub style: LineStyle,
}

impl Series {
    /// A solid line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, style: LineStyle::Solid }
    }

    /// The same points in another style.
    #[must_use]
    pub fn style(mut self, style: LineStyle) -> Self {
        self.style = style;
        self
    }
}

/// Lines over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// The title.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

const PLOT_WIDTH: f64 = 520.0;
const PLOT_HEIGHT: f64 = 320.0;
const LEGEND_NAME: usize = 32;
/// More lines than this get no legend of their own; it would be longer than the plot.
const LEGEND_LINES: usize = 16;

impl LineChart {
    /// The drawing.
    pub fn svg(&self) -> String {
        let x_range = range(&self.x, self.points().map(|point| point.0));
        let y_range = range(&self.y, self.points().map(|point| point.1));
        let y_ticks = y_range.ticks(6);
        let tick_width = y_ticks
            .iter()
            .map(|(_, label)| text_width(label, FONT))
            .fold(text_width("0.0", FONT), f64::max);

        let left = MARGIN + FONT + 10.0 + tick_width + 8.0;
        let top = MARGIN + TITLE_FONT + 14.0;
        let x_ticks = x_range.ticks(8);
        // The last number below the axis reaches beyond it by half its width.
        let beyond = x_ticks.last().map_or(0.0, |(_, label)| text_width(label, FONT) / 2.0);
        let legend = self.legend_width();
        let width = left + PLOT_WIDTH + legend.max(beyond) + MARGIN;
        let height = top + PLOT_HEIGHT + 22.0 + FONT + 8.0 + MARGIN;
        let mut canvas = Canvas::new(width, height);
        let place = |x: f64, y: f64| {
            (left + x_range.share(x) * PLOT_WIDTH, top + (1.0 - y_range.share(y)) * PLOT_HEIGHT)
        };

        canvas.text("title", (left, MARGIN + TITLE_FONT), Anchor::Start, &self.title);
        for (value, label) in &y_ticks {
            let (_, y) = place(x_range.low, *value);
            canvas.line("grid", (left, y), (left + PLOT_WIDTH, y));
            canvas.text("quiet", (left - 8.0, y + 4.0), Anchor::End, label);
        }
        let bottom = top + PLOT_HEIGHT;
        for (value, label) in &x_ticks {
            let (x, _) = place(*value, y_range.low);
            canvas.line("axis", (x, bottom), (x, bottom + 4.0));
            canvas.text("quiet", (x, bottom + 4.0 + FONT + 2.0), Anchor::Middle, label);
        }
        canvas.line("axis", (left, bottom), (left + PLOT_WIDTH, bottom));
        canvas.text(
            "quiet",
            (left + PLOT_WIDTH / 2.0, bottom + 22.0 + FONT + 4.0),
            Anchor::Middle,
            &self.x.label,
        );
        canvas.turned_text(
            "quiet",
            (MARGIN + FONT, top + PLOT_HEIGHT / 2.0),
            -90,
            Anchor::Middle,
            &self.y.label,
        );

        let mut colour = 0;
        for (row, series) in self.series.iter().enumerate() {
            let guide = series.style == LineStyle::Guide;
            let class = match series.style {
                LineStyle::Guide => "guide".to_owned(),
                LineStyle::Dashed => format!("curve dashed s{}", colour % SERIES_COLOURS),
                LineStyle::Solid | LineStyle::Dotted => {
                    // Where colours come round again, dashes tell the lines apart.
                    let dashed = if (colour / SERIES_COLOURS) % 2 == 1 { "dashed " } else { "" };
                    format!("curve {dashed}s{}", colour % SERIES_COLOURS)
                }
            };
            let dot = format!("f{}", colour % SERIES_COLOURS);
            for piece in pieces(&series.points, place) {
                if piece.len() > 1 {
                    canvas.path(&class, &piece);
                }
                // A lone point would be invisible as a line.
                if series.style == LineStyle::Dotted || piece.len() == 1 {
                    for point in &piece {
                        canvas.circle(&dot, *point, 3.0);
                    }
                }
            }
            if legend > 0.0 && row < LEGEND_LINES {
                let x = left + PLOT_WIDTH + 18.0;
                let y = top + 8.0 + row as f64 * 20.0;
                canvas.line(&class, (x, y), (x + 20.0, y));
                canvas.text(
                    "",
                    (x + 28.0, y + 4.0),
                    Anchor::Start,
                    &cut(&series.name, LEGEND_NAME),
                );
            }
            colour += usize::from(!guide);
        }
        if legend > 0.0 && self.series.len() > LEGEND_LINES {
            let more = format!("and {} more", self.series.len() - LEGEND_LINES);
            let y = top + 12.0 + LEGEND_LINES as f64 * 20.0;
            canvas.text("quiet", (left + PLOT_WIDTH + 46.0, y), Anchor::Start, &more);
        }
        canvas.finish(&self.title)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.series
            .iter()
            .flat_map(|series| series.points.iter().copied())
            .filter(|point| point.0.is_finite() && point.1.is_finite())
    }

    fn legend_width(&self) -> f64 {
        if self.series.len() < 2 {
            return 0.0;
        }
        let widest = self
            .series
            .iter()
            .take(LEGEND_LINES)
            .map(|series| text_width(&cut(&series.name, LEGEND_NAME), FONT))
            .fold(0.0, f64::max);
        46.0 + widest
    }
}

fn range(axis: &Axis, values: impl Iterator<Item = f64>) -> Range {
    match axis.range {
        Some((low, high)) if high > low => Range { low, high },
        _ => Range::of(values),
    }
}

/// The points on the canvas, in pieces without gaps. Where many fall on one column of pixels,
/// its first, lowest, highest and last stand for all: no difference is seen, and a curve of a
/// million points stays a small file.
fn pieces(points: &[(f64, f64)], place: impl Fn(f64, f64) -> (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    points
        .split(|point| !point.0.is_finite() || !point.1.is_finite())
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let places: Vec<_> = piece.iter().map(|point| place(point.0, point.1)).collect();
            let mut kept = Vec::new();
            for column in places.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
                if column.len() <= 4 {
                    kept.extend_from_slice(column);
                    continue;
                }
                let by_height = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
                let mut chosen = vec![0, column.len() - 1];
                chosen.extend((0..column.len()).min_by(by_height));
                chosen.extend((0..column.len()).max_by(by_height));
                chosen.sort_unstable();
                chosen.dedup();
                kept.extend(chosen.into_iter().map(|place| column[place]));
            }
            kept
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> LineChart {
        LineChart {
            title: "Loss & <more>".to_owned(),
            x: Axis::new("epoch"),
            y: Axis::new("loss"),
            series: vec![Series::new("train", points)],
        }
    }

    #[test]
    fn odd_points_do_not_break_a_chart() {
        for points in [
            vec![],
            vec![(0.0, 1.0)],
            vec![(0.0, f64::NAN), (1.0, f64::INFINITY)],
            vec![(0.0, 2.0), (1.0, f64::NAN), (2.0, 2.0)],
        ] {
            let svg = chart(points).svg();
            assert!(svg.contains("Loss &amp; &lt;more&gt;"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_million_points_stay_a_small_file() {
        let points = (0..1_000_000).map(|x| (x as f64, (x as f64 * 0.01).sin())).collect();
        let svg = chart(points).svg();
        assert!(svg.len() < 100_000, "{} bytes", svg.len());
    }

    #[test]
    fn no_two_of_ten_lines_look_alike() {
        let mut chart = chart(vec![]);
        let points = vec![(0.0, 0.0), (1.0, 1.0)];
        chart.series = (0..10).map(|n| Series::new(n.to_string(), points.clone())).collect();
        let svg = chart.svg();
        let looks: Vec<&str> =
            svg.split("<path class=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let distinct: std::collections::HashSet<_> = looks.iter().collect();
        assert_eq!((looks.len(), distinct.len()), (10, 10), "{looks:?}");
    }

    #[test]
    fn a_legend_comes_with_the_second_line() {
        let mut chart = chart(vec![(0.0, 1.0), (1.0, 0.5)]);
        assert!(!chart.svg().contains(">train<"));
        chart
            .series
            .push(Series::new("validation", vec![(0.0, 1.0), (1.0, 0.7)]).style(LineStyle::Dashed));
        let svg = chart.svg();
        assert!(svg.contains(">train<") && svg.contains(">validation<"), "{svg}");
    }
}
