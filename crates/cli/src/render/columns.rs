//! Tables with a column for each of several runs, which may be many.

use crate::render::{Cell, Table, Ui};

/// Two spaces stand between columns.
const GAP: usize = 2;

/// A table of rows that begin with a name and go on with a cell for each column; columns that
/// come last are the same for all rows and stay with each part of the table.
///
/// On a terminal that is too narrow for all columns the table is printed in parts, each with the
/// names before it: cells that are broken over lines cannot be compared.
pub struct SideBySide {
    title: String,
    columns: Vec<String>,
    tail: Vec<String>,
    rows: Vec<SideRow>,
}

/// A row: its name, a cell for each run, and what is said of all of them.
pub struct SideRow {
    /// What the row is about.
    pub name: String,
    /// A text for each run.
    pub cells: Vec<SideCell>,
    /// What comes after them.
    pub tail: Vec<SideCell>,
}

/// A cell whose width is known.
pub struct SideCell {
    text: String,
    cell: Cell,
}

impl SideCell {
    /// A cell made by `make` of its text.
    pub fn of(text: String, make: impl FnOnce(String) -> Cell) -> Self {
        Self { cell: make(text.clone()), text }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl SideBySide {
    /// A table called `title` over its names, with these columns and tail columns.
    pub fn new(title: &str, columns: &[String], tail: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.to_vec(),
            tail: tail.iter().map(|title| (*title).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, row: SideRow) {
        self.rows.push(row);
    }

    /// The table, or its parts with a blank line between them.
    pub fn render(self, ui: &Ui) -> String {
        let widest = |title: &str, widths: &mut dyn Iterator<Item = usize>| {
            widths.max().unwrap_or(0).max(title.chars().count()) + GAP
        };
        let name = widest(&self.title, &mut self.rows.iter().map(|row| row.name.chars().count()));
        let column = |place: usize, title: &str| {
            widest(title, &mut self.rows.iter().map(|row| row.cells[place].width()))
        };
        let tail: usize = self
            .tail
            .iter()
            .enumerate()
            .map(|(place, title)| {
                widest(title, &mut self.rows.iter().map(|row| row.tail[place].width()))
            })
            .sum();
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(place, title)| column(place, title)).collect();
        let room =
            ui.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(name + tail));
        let parts = parts(&widths, room);
        let mut rows: Vec<(String, std::vec::IntoIter<SideCell>, Vec<SideCell>)> =
            self.rows.into_iter().map(|row| (row.name, row.cells.into_iter(), row.tail)).collect();
        let mut columns = self.columns.iter();
        let mut texts = Vec::with_capacity(parts.len());
        for (place, size) in parts.iter().enumerate() {
            // What is said of a row as a whole is said once.
            let is_last = place + 1 == parts.len();
            let mut header: Vec<&str> = vec![&self.title];
            header.extend(columns.by_ref().take(*size).map(String::as_str));
            if is_last {
                header.extend(self.tail.iter().map(String::as_str));
            }
            let mut table = Table::new(ui, &header);
            for (name, cells, tail) in &mut rows {
                let mut row = vec![Cell::new(&name)];
                row.extend(cells.by_ref().take(*size).map(|cell| cell.cell));
                if is_last {
                    row.extend(std::mem::take(tail).into_iter().map(|cell| cell.cell));
                }
                table.row(row);
            }
            let whole: Vec<usize> = (1..=*size).collect();
            table.keep_whole(&whole);
            texts.push(table.render());
        }
        texts.join("\n\n")
    }
}

/// How many columns each part has, so that none is wider than `room` unless a column alone is.
fn parts(widths: &[usize], room: usize) -> Vec<usize> {
    let mut parts = vec![0];
    let mut used = 0_usize;
    for width in widths {
        let last = parts.len() - 1;
        if parts[last] > 0 && used.saturating_add(*width) > room {
            parts.push(1);
            used = *width;
        } else {
            parts[last] += 1;
            used = used.saturating_add(*width);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn columns_are_parted_where_they_do_not_fit() {
        assert_eq!(parts(&[10, 10, 10], 100), [3]);
        assert_eq!(parts(&[10, 10, 10], 25), [2, 1]);
        assert_eq!(parts(&[40, 10, 10], 25), [1, 2]);
        assert_eq!(parts(&[], 25), [0]);
    }
}
