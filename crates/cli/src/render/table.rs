//! Plain tables: a header, columns two spaces apart, no lines.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement};

use crate::render::{Paint, Ui, human};

/// To how many columns text is wrapped at the least. On a terminal too narrow for that the lines
/// run over its edge: better than words in pieces of a few letters.
const LEAST_WRAPPED: u16 = 24;

/// The room between two columns.
const GAP: u16 = 2;

/// How wide a column is.
#[derive(Debug, Default, Clone, Copy)]
struct Width {
    /// Its longest text.
    text: usize,
    /// Its longest word, which nothing parts but too narrow a terminal.
    word: usize,
}

impl Width {
    fn of(text: &str) -> Self {
        let word = text.split_whitespace().map(|word| word.chars().count()).max();
        Self { text: text.chars().count(), word: word.unwrap_or_default() }
    }

    fn max(self, other: Self) -> Self {
        Self { text: self.text.max(other.text), word: self.word.max(other.word) }
    }

    /// The least that it may be narrowed to, with the room beside it.
    fn least(self, gap: u16) -> u16 {
        let wrapped = usize::from(LEAST_WRAPPED);
        let least = if self.text > wrapped { wrapped } else { self.word };
        u16::try_from(least).unwrap_or(LEAST_WRAPPED) + gap
    }
}

/// A table under construction.
pub struct Table {
    inner: comfy_table::Table,
    /// How wide each column is.
    widths: Vec<Width>,
}

/// A cell with its look.
pub struct Cell {
    text: String,
    paint: Paint,
    right: bool,
}

impl Cell {
    /// Text as it is.
    pub fn new(text: impl ToString) -> Self {
        Self::painted(Paint::Plain, text)
    }

    /// Painted text.
    pub fn painted(paint: Paint, text: impl ToString) -> Self {
        Self { text: human::harmless(&text.to_string()), paint, right: false }
    }

    /// A number: to the right.
    pub fn number(text: impl ToString) -> Self {
        Self { right: true, ..Self::new(text) }
    }

    /// How much memory it takes, about.
    pub fn weight(&self) -> usize {
        size_of::<comfy_table::Cell>() + self.text.len()
    }

    fn into_inner(self) -> comfy_table::Cell {
        let cell = comfy_table::Cell::new(self.text);
        let cell = if self.right { cell.set_alignment(CellAlignment::Right) } else { cell };
        match self.paint {
            Paint::Plain => cell,
            Paint::Strong => cell.add_attribute(Attribute::Bold),
            Paint::Faint => cell.add_attribute(Attribute::Dim),
            Paint::Good => cell.fg(Color::DarkGreen),
            Paint::Calm => cell.fg(Color::DarkBlue),
            Paint::Warning => cell.fg(Color::DarkYellow),
            Paint::Bad => cell.fg(Color::DarkRed),
            Paint::Command => cell.fg(Color::DarkCyan),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::new(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::new(text)
    }
}

impl Table {
    /// A table with these columns. On a terminal it keeps to its width; elsewhere nothing is
    /// ever wrapped, so that a line stays a row.
    pub fn new(ui: &Ui, header: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        if ui.out.has_colors() {
            inner.enforce_styling();
        } else {
            inner.force_no_tty();
        }
        match ui.width {
            Some(width) => {
                inner.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => inner.set_content_arrangement(ContentArrangement::Disabled),
        };
        if !header.is_empty() {
            inner.set_header(
                header.iter().map(|title| Cell::painted(Paint::Faint, title).into_inner()),
            );
        }
        Self { inner, widths: header.iter().map(|title| Width::of(title)).collect() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        self.widths.resize(self.widths.len().max(cells.len()), Width::default());
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = width.max(Width::of(&cell.text));
        }
        self.inner.add_row(cells.into_iter().map(Cell::into_inner));
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Never wraps these columns.
    pub fn keep_whole(&mut self, columns: &[usize]) {
        for &column in columns {
            if let Some(column) = self.inner.column_mut(column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }

    /// The table as text, without a line break at its end.
    pub fn render(mut self) -> String {
        let last = self.widths.len().saturating_sub(1);
        for (place, (column, width)) in self.inner.column_iter_mut().zip(self.widths).enumerate() {
            let gap = if place == last { 0 } else { GAP };
            column.set_padding((0, gap));
            if column.constraint().is_none() {
                let least = comfy_table::Width::Fixed(width.least(gap));
                column.set_constraint(ColumnConstraint::LowerBoundary(least));
            }
        }
        let lines: Vec<String> =
            self.inner.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    /// The table as text, every line moved to the right.
    pub fn render_indented(mut self, spaces: usize) -> String {
        if let (Some(width), Ok(indent)) = (self.inner.width(), u16::try_from(spaces)) {
            self.inner.set_width(width.saturating_sub(indent));
        }
        let indent = " ".repeat(spaces);
        let lines: Vec<String> =
            self.render().lines().map(|line| format!("{indent}{line}")).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_narrow_terminal_parts_no_word_of_a_short_column() {
        let typed = Cli::try_parse_from(["wick", "runs"]).expect("arguments");
        let mut ui = Ui::new(&typed.global);
        ui.width = Some(60);
        let mut table = Table::new(&ui, &["run", "experiment", "stages", "metrics"]);
        table.row([
            Cell::new("d4n2cg5dxt0r"),
            Cell::new("penguins"),
            Cell::new("7 of 7, 3 cached"),
            Cell::new("evaluate.accuracy 0.8175  evaluate.f1 0.7176"),
        ]);
        table.keep_whole(&[0]);
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        for whole in ["experiment", "penguins", "cached", "evaluate.accuracy", "evaluate.f1"] {
            assert!(text.contains(whole), "{whole} is in pieces:\n{text}");
        }
    }
}
