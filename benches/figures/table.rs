//! Samples, and the table they end in.

use std::fmt::Write;

/// One thing measured: samples for each contender, in the order they first came.
pub(crate) struct Figure {
    title: String,
    decimals: usize,
    rows: Vec<(String, Vec<f64>)>,
}

impl Figure {
    /// Nothing measured yet; `unit` may be empty.
    pub(crate) fn new(title: &str, unit: &str, decimals: usize) -> Self {
        let title = if unit.is_empty() {
            title.to_owned()
        } else {
            format!("{title} ({unit})")
        };
        Self {
            title,
            decimals,
            rows: Vec::new(),
        }
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, contender: &str, sample: f64) {
        match self.rows.iter_mut().find(|(label, _)| label == contender) {
            Some((_, samples)) => samples.push(sample),
            None => self.rows.push((contender.to_owned(), vec![sample])),
        }
    }

    /// The samples, by contender.
    pub(crate) fn rows(&self) -> &[(String, Vec<f64>)] {
        &self.rows
    }

    fn cells(&self) -> Vec<[String; COLUMNS.len()]> {
        let median_of = |wanted: &str| {
            self.rows
                .iter()
                .find(|(label, _)| label == wanted)
                .map(|(_, samples)| median(samples))
        };
        let ratio = |middle: f64, wanted: &str| match median_of(wanted) {
            Some(base) if base > 0.0 => format!("{:.2}", middle / base),
            _ => "-".to_owned(),
        };
        let number = |value: f64| format!("{value:.*}", self.decimals);
        let rows = self
            .rows
            .iter()
            .enumerate()
            .map(|(index, (label, samples))| {
                let (least, middle, most) = (
                    extreme(samples, f64::min),
                    median(samples),
                    extreme(samples, f64::max),
                );
                [
                    if index == 0 {
                        self.title.clone()
                    } else {
                        String::new()
                    },
                    label.clone(),
                    samples.len().to_string(),
                    number(least),
                    number(middle),
                    number(most),
                    ratio(middle, "floor"),
                    ratio(middle, "Perl"),
                ]
            });
        rows.collect()
    }
}

const COLUMNS: [&str; 8] = [
    "figure",
    "contender",
    "n",
    "min",
    "median",
    "max",
    "/ floor",
    "/ Perl",
];

/// Columns of words are set flush left, those of numbers flush right.
const WORDS: usize = 2;

/// The middle sample, or the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn extreme(samples: &[f64], pick: fn(f64, f64) -> f64) -> f64 {
    samples.iter().copied().reduce(pick).unwrap_or(f64::NAN)
}

/// The table: aligned columns, as plain text or as Markdown.
pub(crate) fn render(figures: &[Figure], markdown: bool) -> String {
    let header = COLUMNS.map(str::to_owned);
    let blocks: Vec<_> = figures
        .iter()
        .map(Figure::cells)
        .filter(|cells| !cells.is_empty())
        .collect();
    let mut widths = COLUMNS.map(str::len);
    for row in blocks.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    push_row(&mut text, &header, &widths, markdown);
    if markdown {
        let rules = widths.iter().enumerate().map(|(column, &width)| {
            if column < WORDS {
                "-".repeat(width)
            } else {
                "-".repeat(width - 1) + ":"
            }
        });
        let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
    }
    for block in blocks {
        if !markdown {
            text.push('\n');
        }
        for row in block {
            push_row(&mut text, &row, &widths, markdown);
        }
    }
    text
}

fn push_row(
    text: &mut String,
    row: &[String; COLUMNS.len()],
    widths: &[usize; COLUMNS.len()],
    markdown: bool,
) {
    let cells = row.iter().zip(widths).enumerate();
    let cells = cells.map(|(column, (cell, &width))| {
        if column < WORDS {
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
