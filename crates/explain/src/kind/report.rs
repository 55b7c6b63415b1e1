//! The report of an explanation.

use wick_evaluate::Metric;
use wick_report::draw::{Bar, BarChart, GridRow, ImageGrid, Pixels};
use wick_report::{Cell, Report, Table};

use super::config::Method;
use super::explain::{Local, Row};
use super::subject::{ImageShape, Subject};
use crate::importance::Importance;

/// Bars of at most this many columns are drawn.
const BARS: usize = 20;
/// The first rows get a plot of their own.
const ROW_PLOTS: usize = 5;
/// With more players than this, single rows are not tabled: only the summary is.
const WIDE: usize = 200;

/// Composes the report.
pub struct Composer<'a> {
    subject: &'a Subject,
    report: Report,
}

impl<'a> Composer<'a> {
    /// An empty report on `subject`.
    pub fn new(subject: &'a Subject) -> Self {
        let target = &subject.model().info().target.column;
        Self { subject, report: Report::new(format!("What `{target}` is predicted from")) }
    }

    /// Adds a metric.
    pub fn metric(&mut self, name: impl Into<String>, value: f64) {
        self.report.add_metric(name, value);
    }

    /// The finished report.
    pub fn finish(self) -> Report {
        self.report
    }

    fn class(&self, class: usize) -> Option<&str> {
        self.subject.model().info().target.classes.get(class).map(String::as_str)
    }

    /// `class 7 (0.98)`, or the predicted number.
    fn prediction(&self, row: &Row) -> String {
        let value = wick_report::format_number(row.prediction);
        match self.class(row.class) {
            Some(class) => format!("{class} ({value})"),
            None => value,
        }
    }

    /// The rows that were explained, with their values.
    pub fn rows(&mut self, rows: &[Row], shown: impl Fn(usize, &Row) -> String) {
        let names = self.subject.players().names();
        if self.subject.image().is_some() || names.len() > WIDE {
            return;
        }
        let first = ["row", "class", "prediction"].map(str::to_owned);
        let columns = first.into_iter().chain(names.iter().cloned());
        let mut table = Table::new("rows", "The explained rows", columns);
        for row in rows {
            let values = (0..names.len()).map(|player| Cell::from(shown(player, row)));
            let first = [row.place.into(), self.class(row.class).into(), row.prediction.into()];
            table.push(first.into_iter().chain(values));
        }
        self.report.add_table(table);
    }

    /// What a method says of rows: row by row, and on the whole.
    pub fn local(&mut self, method: Method, rows: &[Row], locals: &[Local]) {
        let players = self.subject.players();
        let by_player = self.subject.image().is_none() && players.len() <= WIDE;
        let notes = locals.first().map(|local| local.notes.as_slice()).unwrap_or_default();
        let mut columns: Vec<String> = ["row", "class", "prediction"].map(str::to_owned).to_vec();
        columns.extend(notes.iter().map(|(name, _)| (*name).to_owned()));
        if by_player {
            columns.extend(players.names().iter().cloned());
        }
        let title = format!("{}, row by row", method.title());
        let mut table = Table::new(method.name(), title, columns);
        for (row, local) in rows.iter().zip(locals) {
            let mut cells =
                vec![row.place.into(), self.class(row.class).into(), row.prediction.into()];
            cells.extend(local.notes.iter().map(|(_, value)| Cell::from(*value)));
            if by_player {
                cells.extend(local.attributions.iter().map(|value| Cell::from(*value)));
            }
            table.push(cells);
        }
        self.report.add_table(table);
        if self.subject.image().is_none() {
            self.summary(method, locals);
            self.row_plots(method, rows, locals);
        }
    }

    fn summary(&mut self, method: Method, locals: &[Local]) {
        let count = locals.len().max(1) as f64;
        let mean = |player: usize, value: fn(f64) -> f64| {
            locals.iter().map(|local| value(local.attributions[player])).sum::<f64>() / count
        };
        let names = self.subject.players().names();
        let mut all: Vec<(String, f64, f64)> = (0..names.len())
            .map(|player| (names[player].clone(), mean(player, f64::abs), mean(player, |v| v)))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let name = format!("{}_importance", method.name());
        let title = format!("{}, mean over the rows", method.title());
        let mut table = Table::new(name.as_str(), title.as_str(), ["column", "mean size", "mean"]);
        for (column, size, value) in &all {
            table.push([column.as_str().into(), (*size).into(), (*value).into()]);
        }
        self.report.add_table(table);
        let chart = BarChart {
            title: title.clone(),
            label: "mean size of the attribution".to_owned(),
            bars: all
                .into_iter()
                .filter(|(_, size, _)| *size != 0.0)
                .map(|(column, size, _)| Bar::new(column, size))
                .collect(),
        };
        self.report.add_plot(name, title, chart.largest(BARS).svg());
    }

    fn row_plots(&mut self, method: Method, rows: &[Row], locals: &[Local]) {
        for (row, local) in rows.iter().zip(locals).take(ROW_PLOTS) {
            let names = self.subject.players().names().iter();
            let title = format!("{}, row {}: {}", method.title(), row.place, self.prediction(row));
            let chart = BarChart {
                title: title.clone(),
                label: "attribution".to_owned(),
                // LIME gives most columns exactly nothing.
                bars: names
                    .zip(&local.attributions)
                    .filter(|(_, value)| **value != 0.0)
                    .map(|(name, value)| Bar::new(name, *value))
                    .collect(),
            };
            let name = format!("{}_row_{}", method.name(), row.place);
            self.report.add_plot(name, title, chart.largest(BARS).svg());
        }
    }

    /// Permutation importance.
    pub fn importance(&mut self, metric: Metric, value: f64, importances: &[Importance]) {
        let names = self.subject.players().names();
        let mut all: Vec<(&String, &Importance)> = names.iter().zip(importances).collect();
        all.sort_by(|a, b| b.1.mean.total_cmp(&a.1.mean));
        let title = format!(
            "Permutation importance: {metric} lost of {}",
            wick_report::format_number(value)
        );
        let name = Method::PermutationImportance.name();
        let mut table = Table::new(name, title.as_str(), ["column", "importance", "deviation"]);
        for (column, importance) in &all {
            table.push([
                column.as_str().into(),
                importance.mean.into(),
                importance.deviation.into(),
            ]);
        }
        self.report.add_table(table);
        let bars = all
            .into_iter()
            .map(|(column, importance)| Bar {
                name: column.clone(),
                value: importance.mean,
                spread: Some(importance.deviation),
            })
            .collect();
        let chart = BarChart { title: title.clone(), label: format!("{metric} lost"), bars };
        self.report.add_plot(name, title, chart.largest(BARS).svg());
    }

    /// Images beside what each method makes of them.
    pub fn images(&mut self, image: ImageShape, rows: &[Row], methods: &[(Method, Vec<Local>)]) {
        if methods.is_empty() {
            return;
        }
        let owners = self.subject.players().owners();
        let grid_rows = rows
            .iter()
            .enumerate()
            .map(|(place, row)| {
                let picture = picture(image, &row.values);
                let overlays = methods.iter().map(|(_, locals)| {
                    let local = &locals[place];
                    let spread = || owners.iter().map(|owner| local.attributions[*owner]).collect();
                    let columns: Vec<f64> = local.by_column.clone().unwrap_or_else(spread);
                    picture.overlaid(&by_pixel(image, &columns))
                });
                let images = [picture.clone()].into_iter().chain(overlays).collect();
                let label = vec![format!("row {}", row.place), self.prediction(row)];
                GridRow { label, images }
            })
            .collect();
        let mut headings = vec!["image".to_owned()];
        headings.extend(methods.iter().map(|(method, _)| method.title().to_owned()));
        let title = "Which pixels speak for (blue) and against (red) the class".to_owned();
        let grid = ImageGrid { title: title.clone(), headings, rows: grid_rows };
        self.report.add_plot("attributions", title, grid.svg());
    }
}

/// An image to look at, from values with the channels first. Where values go beyond 0 to 1 they
/// are brought into that range.
fn picture(image: ImageShape, values: &[f32]) -> Pixels {
    let ImageShape { height, width, channels } = image;
    let low = values.iter().copied().fold(0.0, f32::min);
    let high = values.iter().copied().fold(1.0, f32::max);
    let shown = |value: f32| (value - low) / (high - low);
    let plane = height * width;
    if channels == 3 {
        let interleaved: Vec<f32> = (0..plane)
            .flat_map(|pixel| [0, 1, 2].map(|channel| shown(values[channel * plane + pixel])))
            .collect();
        Pixels::rgb(width, height, &interleaved)
    } else {
        let grey: Vec<f32> = values[..plane].iter().map(|value| shown(*value)).collect();
        Pixels::grey(width, height, &grey)
    }
}

/// The sum over the channels of each pixel.
fn by_pixel(image: ImageShape, columns: &[f64]) -> Vec<f64> {
    let plane = image.height * image.width;
    (0..plane)
        .map(|pixel| columns[pixel..].iter().step_by(plane).take(image.channels).sum())
        .collect()
}
