//! Reads what others wrote, none of it trusted: tables, IDX, images. Sizes are bounded before
//! memory is taken, and every error names the file and the place in it.

pub mod csv;
pub mod files;
pub mod idx;
pub mod images;
pub mod table;
