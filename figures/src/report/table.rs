//! A table: aligned columns, as plain text or as Markdown.

use std::fmt::Write;

/// Rows of cells, under a header.
pub(crate) struct Table {
    header: Vec<String>,
    /// So many columns are words, set flush left; the others are numbers, flush right.
    words: usize,
    /// Rows that belong together.
    blocks: Vec<Vec<Vec<String>>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(header: &[&str], words: usize) -> Self {
        let header = header.iter().map(|&cell| cell.to_owned()).collect();
        Self {
            header,
            words,
            blocks: Vec::new(),
        }
    }

    /// Adds a row to the last block.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        if self.blocks.is_empty() {
            self.block();
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(cells.into_iter().collect());
        }
    }

    /// What follows is another block.
    pub(crate) fn block(&mut self) {
        self.blocks.push(Vec::new());
    }

    /// The text.
    pub(crate) fn render(&self, markdown: bool) -> String {
        let mut widths: Vec<_> = self
            .header
            .iter()
            .map(|cell| cell.chars().count())
            .collect();
        for row in self.blocks.iter().flatten() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        self.push_row(&mut text, &self.header, &widths, markdown);
        if markdown {
            let rules = widths.iter().enumerate().map(|(column, &width)| {
                if column < self.words {
                    "-".repeat(width)
                } else {
                    "-".repeat(width - 1) + ":"
                }
            });
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
        for block in &self.blocks {
            if !markdown && self.blocks.len() > 1 {
                text.push('\n');
            }
            for row in block {
                self.push_row(&mut text, row, &widths, markdown);
            }
        }
        text
    }

    fn push_row(&self, text: &mut String, row: &[String], widths: &[usize], markdown: bool) {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| {
            if column < self.words {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let cells: Vec<_> = cells.collect();
        let line = if markdown {
            format!("| {} |", cells.join(" | "))
        } else {
            cells.join("  ")
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
