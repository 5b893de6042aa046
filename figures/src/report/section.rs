//! A part of the report.

use super::table::Table;

/// Something that was measured, and how: text in Markdown, tables, pictures.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// How it was taken.
    pub(crate) about: String,
    pub(crate) plots: Vec<Plot>,
    pub(crate) tables: Vec<Table>,
    /// Sentences below the tables.
    pub(crate) notes: Vec<String>,
}

/// A picture.
pub(crate) struct Plot {
    /// Name of its file, without a directory.
    pub(crate) file: &'static str,
    /// The same in words, for who cannot see it.
    pub(crate) alt: String,
    pub(crate) svg: String,
}

impl Section {
    /// With a title and a text; lines are joined.
    pub(crate) fn new(title: &'static str, about: &str) -> Self {
        Self {
            title,
            about: about.to_owned(),
            plots: Vec::new(),
            tables: Vec::new(),
            notes: Vec::new(),
        }
    }
}
