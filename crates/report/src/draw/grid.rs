//! Images in rows and columns: an image, and what each method makes of it.

use super::canvas::{Anchor, Canvas, FONT, MARGIN, TITLE_FONT, cut, text_width};
use super::pixels::Pixels;

/// A row of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridRow {
    /// What is written before the row, line by line.
    pub label: Vec<String>,
    /// The images.
    pub images: Vec<Pixels>,
}

/// Images in rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageGrid {
    /// The title.
    pub title: String,
    /// What is written over the columns.
    pub headings: Vec<String>,
    /// The rows.
    pub rows: Vec<GridRow>,
}

const SIDE: f64 = 112.0;
const GAP: f64 = 12.0;
const LABEL: usize = 28;

impl ImageGrid {
    /// The drawing.
    pub fn svg(&self) -> String {
        let columns = self
            .rows
            .iter()
            .map(|row| row.images.len())
            .chain([self.headings.len()])
            .max()
            .unwrap_or(0);
        let labels = self
            .rows
            .iter()
            .flat_map(|row| &row.label)
            .map(|line| text_width(&cut(line, LABEL), FONT))
            .fold(0.0, f64::max);
        let left = MARGIN + if labels > 0.0 { labels + GAP } else { 0.0 };
        let top = MARGIN + TITLE_FONT + 14.0 + FONT + 8.0;
        let width = (left + columns as f64 * (SIDE + GAP))
            .max(MARGIN + text_width(&self.title, TITLE_FONT) + 20.0)
            + MARGIN;
        let mut canvas = Canvas::new(width, top + self.rows.len() as f64 * (SIDE + GAP) + MARGIN);

        canvas.text("title", (MARGIN, MARGIN + TITLE_FONT), Anchor::Start, &self.title);
        for (column, heading) in self.headings.iter().enumerate() {
            let x = left + column as f64 * (SIDE + GAP) + SIDE / 2.0;
            canvas.text("quiet", (x, top - 8.0), Anchor::Middle, &cut(heading, 20));
        }
        for (place, row) in self.rows.iter().enumerate() {
            let y = top + place as f64 * (SIDE + GAP);
            for (line, text) in row.label.iter().enumerate() {
                let class = if line == 0 { "" } else { "quiet" };
                let y = y + FONT + line as f64 * (FONT + 4.0);
                canvas.text(class, (MARGIN, y), Anchor::Start, &cut(text, LABEL));
            }
            for (column, image) in row.images.iter().enumerate() {
                let x = left + column as f64 * (SIDE + GAP);
                // The longer side fills the tile; the image keeps its proportions.
                let longer = image.width().max(image.height()).max(1) as f64;
                let size =
                    (image.width() as f64 / longer * SIDE, image.height() as f64 / longer * SIDE);
                let at = (x + (SIDE - size.0) / 2.0, y + (SIDE - size.1) / 2.0);
                canvas.image(at, size, &image.data_uri());
                canvas.rectangle("frame", at, size, 1.0, "");
            }
        }
        canvas.finish(&self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_in_the_grid() {
        let grid = ImageGrid {
            title: "Attributions".to_owned(),
            headings: vec!["image".to_owned(), "saliency".to_owned()],
            rows: vec![
                GridRow {
                    label: vec!["row 3".to_owned(), "class 7, p 0.98".to_owned()],
                    images: vec![Pixels::grey(4, 2, &[0.5; 8]), Pixels::grey(4, 2, &[0.1; 8])],
                },
                GridRow { label: Vec::new(), images: Vec::new() },
            ],
        };
        let svg = grid.svg();
        assert_eq!(svg.matches("data:image/png;base64,").count(), 2, "{svg}");
    }
}
