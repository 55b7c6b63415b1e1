//! Horizontal bars: importances and attributions, signed, with their spread.

use super::canvas::{Anchor, Canvas, FONT, MARGIN, TITLE_FONT, cut, escape, text_width};
use super::scale::Range;
use crate::number::format_number;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// How long it is; a negative value points to the left.
    pub value: f64,
    /// How far the value spreads to both sides.
    pub spread: Option<f64>,
}

impl Bar {
    /// A bar without a spread.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, spread: None }
    }
}

/// Horizontal bars, the first at the top.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    /// The title.
    pub title: String,
    /// What the bars measure.
    pub label: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

const PLOT_WIDTH: f64 = 420.0;
const ROW: f64 = 22.0;
const NAME: usize = 36;

impl BarChart {
    /// The `limit` bars with the largest absolute values, largest first.
    #[must_use]
    pub fn largest(mut self, limit: usize) -> Self {
        self.bars.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
        self.bars.truncate(limit);
        self
    }

    /// The drawing.
    pub fn svg(&self) -> String {
        let ends = self.bars.iter().flat_map(|bar| {
            let spread = bar.spread.unwrap_or(0.0);
            [bar.value - spread, bar.value + spread]
        });
        let range = Range::of(ends.chain([0.0])).rounded(6);
        let names =
            self.bars.iter().map(|bar| text_width(&cut(&bar.name, NAME), FONT)).fold(0.0, f64::max);
        let numbers = self
            .bars
            .iter()
            .map(|bar| text_width(&format_number(bar.value), FONT))
            .fold(0.0, f64::max);

        let left = MARGIN + names + 10.0;
        let top = MARGIN + TITLE_FONT + 14.0;
        let bottom = top + self.bars.len() as f64 * ROW + 4.0;
        let width = (left + PLOT_WIDTH + 10.0 + numbers)
            .max(MARGIN + text_width(&self.title, TITLE_FONT) + 20.0)
            + MARGIN;
        let mut canvas = Canvas::new(width, bottom + 22.0 + FONT + 8.0 + MARGIN);
        let place = |value: f64| left + range.share(value) * PLOT_WIDTH;

        canvas.text("title", (MARGIN, MARGIN + TITLE_FONT), Anchor::Start, &self.title);
        for (value, label) in range.ticks(6) {
            let x = place(value);
            canvas.line("grid", (x, top), (x, bottom));
            canvas.text("quiet", (x, bottom + FONT + 4.0), Anchor::Middle, &label);
        }
        let label = (left + PLOT_WIDTH / 2.0, bottom + 22.0 + FONT + 2.0);
        canvas.text("quiet", label, Anchor::Middle, &self.label);

        let zero = place(0.0);
        for (row, bar) in self.bars.iter().enumerate() {
            let y = top + row as f64 * ROW;
            let middle = y + ROW / 2.0;
            canvas.text("", (left - 8.0, middle + 4.0), Anchor::End, &cut(&bar.name, NAME));
            canvas.text(
                "quiet",
                (left + PLOT_WIDTH + 8.0, middle + 4.0),
                Anchor::Start,
                &format_number(bar.value),
            );
            if !bar.value.is_finite() {
                continue;
            }
            let end = place(bar.value);
            let tip = format!("<title>{}: {}</title>", escape(&bar.name), format_number(bar.value));
            let class = if bar.value < 0.0 { "negative" } else { "positive" };
            let size = ((end - zero).abs().max(0.5), ROW - 7.0);
            canvas.rectangle(class, (zero.min(end), y + 3.5), size, 1.0, &tip);
            if let Some(spread) = bar.spread.filter(|spread| spread.is_finite() && *spread > 0.0) {
                let (low, high) = (place(bar.value - spread), place(bar.value + spread));
                canvas.line("error", (low, middle), (high, middle));
                for end in [low, high] {
                    canvas.line("error", (end, middle - 3.0), (end, middle + 3.0));
                }
            }
        }
        canvas.line("axis", (zero, top), (zero, bottom));
        canvas.finish(&self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_bars_come_first_whatever_their_sign() {
        let chart = BarChart {
            title: "Importance".to_owned(),
            label: "mean |φ|".to_owned(),
            bars: vec![Bar::new("a", 0.1), Bar::new("b", -3.0), Bar::new("c", 2.0)],
        };
        let names: Vec<_> = chart.largest(2).bars.into_iter().map(|bar| bar.name).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn odd_values_do_not_break_bars() {
        let bars = vec![
            Bar::new("<a>", f64::NAN),
            Bar { spread: Some(f64::INFINITY), ..Bar::new("b", -1.0) },
            Bar { spread: Some(0.5), ..Bar::new("c", 0.0) },
        ];
        for bars in [vec![], bars] {
            let chart = BarChart { title: String::new(), label: String::new(), bars };
            let svg = chart.svg();
            assert!(
                !svg.contains("\"NaN") && !svg.contains("inf") && !svg.contains("<a>"),
                "{svg}"
            );
        }
    }
}
