//! How things look: styles, tables, numbers for people, plots, and the views made of them.
//! Nothing here asks the store; views are given what they show.

pub mod columns;
pub mod csv;
pub mod failure;
pub mod groups;
pub mod human;
pub mod place;
pub mod plan_view;
pub mod plot;
pub mod run_view;
pub mod schema_fields;
pub mod style;
pub mod table;
pub mod ui;
pub mod usage;

pub use style::{Paint, Style};
pub use table::{Cell, Table};
pub use ui::{Ui, terminal_width};
