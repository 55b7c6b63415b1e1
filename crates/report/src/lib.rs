//! Reports: metrics, tables and plots, made from recorded values only.
//!
//! A [`Report`] is a folder: `report.json`, and one SVG for each plot. The drawings in
//! [`draw`] know nothing of networks, data sets or the store: they turn numbers and names into
//! a picture that stands on its own, in light and in dark.

pub mod cell;
pub mod draw;
pub mod error;
pub mod number;
pub mod report;

pub use cell::Cell;
pub use error::ReportError;
pub use number::format_number;
pub use report::{PlotFile, REPORT_FILE, REPORT_VERSION, Report, Table};
