//! The report: sections of tables and plots, printed or written as a page.

mod document;
mod figure;
mod section;
mod table;

pub(crate) use document::write;
pub(crate) use figure::{Figure, extreme, median, table as table_of};
pub(crate) use section::{Plot, Section};
pub(crate) use table::Table;
