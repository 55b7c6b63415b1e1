//! Plain tables: a header, columns two spaces apart, no lines.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Width};

use crate::render::{Paint, Ui};

/// To how many columns text is wrapped at the least. On a terminal too narrow for that the lines
/// run over its edge: better than words in pieces of a few letters.
const LEAST_WRAPPED: u16 = 24;

/// A table under construction.
pub struct Table {
    inner: comfy_table::Table,
    /// How wide the text of each column is.
    widths: Vec<usize>,
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
        Self { text: text.to_string(), paint: Paint::Plain, right: false }
    }

    /// Painted text.
    pub fn painted(paint: Paint, text: impl ToString) -> Self {
        Self { text: text.to_string(), paint, right: false }
    }

    /// A number: to the right.
    pub fn number(text: impl ToString) -> Self {
        Self { text: text.to_string(), paint: Paint::Plain, right: true }
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
        Self { inner, widths: vec![0; header.len()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        self.widths.resize(self.widths.len().max(cells.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.text.chars().count());
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
        for (column, width) in self.inner.column_iter_mut().zip(self.widths) {
            column.set_padding((0, 2));
            if column.constraint().is_none() && width > usize::from(LEAST_WRAPPED) {
                let least = ColumnConstraint::LowerBoundary(Width::Fixed(LEAST_WRAPPED));
                column.set_constraint(least);
            }
        }
        let lines: Vec<String> =
            self.inner.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    /// The table as text, every line moved to the right.
    pub fn render_indented(self, spaces: usize) -> String {
        let indent = " ".repeat(spaces);
        let lines: Vec<String> =
            self.render().lines().map(|line| format!("{indent}{line}")).collect();
        lines.join("\n")
    }
}
