//! The report and its form on disk.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::error::ReportError;
use crate::number::AnyFloat;

/// The file of a report's metrics and tables.
pub const REPORT_FILE: &str = "report.json";

/// The version of [`Report`] on disk.
pub const REPORT_VERSION: u32 = 1;

/// Metrics, tables and plots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// What it is about.
    pub title: String,
    /// Metrics by name, in the order in which they are shown.
    #[serde(with = "any_floats")]
    pub metrics: IndexMap<String, f64>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Plots, each a file beside `report.json`.
    pub plots: Vec<PlotFile>,
    /// The plots' text by file, until it is written.
    #[serde(skip)]
    drawings: IndexMap<String, String>,
}

/// A plot of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlotFile {
    /// A name for programs: `confusion_matrix`.
    pub name: String,
    /// A title for people.
    pub title: String,
    /// The file beside `report.json`.
    pub file: String,
}

/// A table of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// A name for programs: `classes`.
    pub name: String,
    /// A title for people.
    pub title: String,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// Rows, each as wide as the columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new<C: Into<String>>(
        name: impl Into<String>,
        title: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. What is missing at its end is empty; what is too much is dropped.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = row.into_iter().collect();
        row.resize(self.columns.len(), Cell::Empty);
        self.rows.push(row);
    }
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            version: REPORT_VERSION,
            title: title.into(),
            metrics: IndexMap::new(),
            tables: Vec::new(),
            plots: Vec::new(),
            drawings: IndexMap::new(),
        }
    }

    /// Adds a metric, or gives it a new value.
    pub fn add_metric(&mut self, name: impl Into<String>, value: f64) {
        self.metrics.insert(name.into(), value);
    }

    /// Adds a table.
    pub fn add_table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds a plot: `svg` becomes the file `NAME.svg` when the report is written.
    pub fn add_plot(&mut self, name: impl Into<String>, title: impl Into<String>, svg: String) {
        let name = name.into();
        let file = format!("{}.svg", file_stem(&name));
        self.drawings.insert(file.clone(), svg);
        self.plots.push(PlotFile { name, title: title.into(), file });
    }

    /// The table called `name`.
    pub fn find_table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Writes the report into `folder`, which is made if need be. Of a report that was read,
    /// only the plots added since are written: the others lie where it was read.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        let at = |path: PathBuf| move |source| ReportError::Io { path, source };
        fs::create_dir_all(folder).map_err(at(folder.to_owned()))?;
        for (file, svg) in &self.drawings {
            let path = folder.join(file);
            fs::write(&path, svg).map_err(at(path.clone()))?;
        }
        let path = folder.join(REPORT_FILE);
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|source| ReportError::Format { path: path.clone(), source })?;
        json.push(b'\n');
        fs::write(&path, json).map_err(at(path.clone()))
    }

    /// Reads the report in `folder`.
    ///
    /// # Errors
    /// If there is none, or it is of a later version.
    pub fn read(folder: &Path) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let path = folder.join(REPORT_FILE);
        let json =
            fs::read(&path).map_err(|source| ReportError::Io { path: path.clone(), source })?;
        let format = |source| ReportError::Format { path: path.clone(), source };
        // The version is looked at first: a later format may differ in everything else.
        let Version { version } = serde_json::from_slice(&json).map_err(format)?;
        if version > REPORT_VERSION {
            return Err(ReportError::Version { path, version, supported: REPORT_VERSION });
        }
        serde_json::from_slice(&json).map_err(format)
    }
}

/// A file name of letters, digits, `-`, `_` and `.` only, whatever the plot is called.
fn file_stem(name: &str) -> String {
    let stem: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    if stem.is_empty() || stem.starts_with('.') { format!("plot{stem}") } else { stem }
}

mod any_floats {
    use super::{AnyFloat, IndexMap};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        metrics: &IndexMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(metrics.iter().map(|(name, value)| (name, AnyFloat(*value))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<IndexMap<String, f64>, D::Error> {
        let metrics = IndexMap::<String, AnyFloat>::deserialize(deserializer)?;
        Ok(metrics.into_iter().map(|(name, value)| (name, value.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut report = Report::new("Test");
        report.add_metric("z", 0.5);
        report.add_metric("a", f64::INFINITY);
        let mut table = Table::new("classes", "Per class", ["class", "rows", "recall"]);
        table.push(["cat <&>".into(), 3_usize.into(), 0.25.into()]);
        table.push(["dog".into()]);
        report.add_table(table);
        report.add_plot("../up", "A plot", "<svg/>".to_owned());
        report.write(folder.path()).expect("written");

        let back = Report::read(folder.path()).expect("read");
        assert_eq!(back.metrics, report.metrics);
        assert_eq!(back.metrics.keys().collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(back.tables, report.tables);
        assert_eq!(back.tables[0].rows[1].len(), 3);
        assert_eq!(back.plots[0].file, "plot.._up.svg");
        let svg = std::fs::read_to_string(folder.path().join("plot.._up.svg")).expect("the plot");
        assert_eq!(svg, "<svg/>");
    }

    #[test]
    fn a_later_version_is_refused_whatever_else_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(REPORT_FILE), r#"{"version": 9, "pages": []}"#)
            .expect("written");
        let error = Report::read(folder.path()).expect_err("a later version");
        assert!(matches!(error, ReportError::Version { version: 9, .. }), "{error}");
    }
}
