//! A matrix as shaded cells: the confusion matrix above all.

use super::canvas::{Anchor, Canvas, FONT, MARGIN, TITLE_FONT, cut, escape, text_width};
use crate::number::format_number;

/// A matrix as shaded cells.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// The title.
    pub title: String,
    /// What the rows are: `actual`.
    pub row_label: String,
    /// What the columns are: `predicted`.
    pub column_label: String,
    /// The names of the rows.
    pub rows: Vec<String>,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The values, row by row.
    pub values: Vec<Vec<f64>>,
    /// Shade each cell by its share of its row's sum, rather than of the largest value: with
    /// classes of unequal size the rare ones stay visible.
    pub by_row: bool,
}

const NAME: usize = 18;
/// In more columns than this there is no room for numbers; the cells keep them as tool tips.
const NUMBERED: usize = 24;

impl HeatMap {
    /// The drawing.
    pub fn svg(&self) -> String {
        let columns = self.columns.len().max(1) as f64;
        let rows = self.rows.len().max(1) as f64;
        let numbered = self.columns.len().max(self.rows.len()) <= NUMBERED;
        let widest_number = self
            .values
            .iter()
            .flatten()
            .map(|value| text_width(&format_number(*value), FONT))
            .fold(0.0, f64::max);
        let side = if numbered {
            (480.0 / columns.max(rows)).clamp(28.0, 72.0).max(widest_number + 10.0)
        } else {
            (600.0 / columns.max(rows)).clamp(3.0, 22.0)
        };
        let high = side.min(48.0);

        let names = |names: &[String]| {
            names.iter().map(|name| text_width(&cut(name, NAME), FONT)).fold(0.0, f64::max)
        };
        let row_names = names(&self.rows);
        let column_names = names(&self.columns);
        // Names that are wider than their column are turned.
        let turned = column_names > side - 4.0;
        let header = if turned { column_names + 10.0 } else { FONT + 8.0 };

        let left = MARGIN + FONT + 12.0 + row_names + 8.0;
        let top = MARGIN + TITLE_FONT + 16.0 + FONT + 6.0 + header;
        let size = (columns * side, rows * high);
        let width =
            (left + size.0).max(MARGIN + text_width(&self.title, TITLE_FONT) + 20.0) + MARGIN;
        let mut canvas = Canvas::new(width, top + size.1 + MARGIN);

        canvas.text("title", (MARGIN, MARGIN + TITLE_FONT), Anchor::Start, &self.title);
        let label = (left + size.0 / 2.0, MARGIN + TITLE_FONT + 16.0 + FONT);
        canvas.text("quiet", label, Anchor::Middle, &self.column_label);
        let label = (MARGIN + FONT, top + size.1 / 2.0);
        canvas.turned_text("quiet", label, -90, Anchor::Middle, &self.row_label);

        // Where cells are smaller than text, only some names are written.
        let every = |side: f64| ((FONT + 2.0) / side).ceil().max(1.0) as usize;
        for (place, name) in self.columns.iter().enumerate().step_by(every(side)) {
            let name = cut(name, NAME);
            let x = left + (place as f64 + 0.5) * side;
            if turned {
                canvas.turned_text("", (x + 4.0, top - 8.0), -90, Anchor::Start, &name);
            } else {
                canvas.text("", (x, top - 8.0), Anchor::Middle, &name);
            }
        }
        for (place, name) in self.rows.iter().enumerate().step_by(every(high)) {
            let y = top + (place as f64 + 0.5) * high + 4.0;
            canvas.text("", (left - 8.0, y), Anchor::End, &cut(name, NAME));
        }

        let largest = self.values.iter().flatten().copied().fold(0.0, f64::max);
        for (row, values) in self.values.iter().enumerate() {
            let whole: f64 = if self.by_row { values.iter().sum() } else { largest };
            for (column, value) in values.iter().enumerate() {
                let share = if whole > 0.0 { (value / whole).clamp(0.0, 1.0) } else { 0.0 };
                let share = if share.is_nan() { 0.0 } else { share };
                let (x, y) = (left + column as f64 * side, top + row as f64 * high);
                // The tip of an error cell must be told from an empty one, hence the floor.
                let shade = if *value > 0.0 { 0.08 + 0.92 * share } else { 0.03 };
                let tip = format!(
                    "<title>{} / {}: {}</title>",
                    escape(self.rows.get(row).map_or("", String::as_str)),
                    escape(self.columns.get(column).map_or("", String::as_str)),
                    format_number(*value)
                );
                let gap = if numbered { 1.0 } else { 0.0 };
                canvas.rectangle("heat", (x, y), (side - gap, high - gap), shade, &tip);
                if numbered && *value != 0.0 {
                    let class = if shade > 0.55 { "inverse" } else { "" };
                    let middle = (x + side / 2.0, y + high / 2.0 + 4.0);
                    canvas.text(class, middle, Anchor::Middle, &format_number(*value));
                }
            }
        }
        canvas.finish(&self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(classes: usize) -> HeatMap {
        let names: Vec<_> = (0..classes).map(|class| format!("<{class}>")).collect();
        HeatMap {
            title: "Confusion".to_owned(),
            row_label: "actual".to_owned(),
            column_label: "predicted".to_owned(),
            rows: names.clone(),
            columns: names,
            values: (0..classes)
                .map(|row| (0..classes).map(|column| f64::from(u8::from(row == column))).collect())
                .collect(),
            by_row: true,
        }
    }

    #[test]
    fn a_matrix_of_any_size_is_drawn() {
        for classes in [0, 1, 2, 10, 200] {
            let svg = map(classes).svg();
            assert_eq!(svg.matches("class=\"heat\"").count(), classes * classes);
            assert!(!svg.contains("<0>") && !svg.contains("NaN"), "{svg}");
        }
    }
}
