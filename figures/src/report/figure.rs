//! Samples of one thing, side by side.

use super::table::Table;

/// One thing measured: samples for each candidate, in the order they first came.
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
    pub(crate) fn add(&mut self, candidate: &str, sample: f64) {
        match self.rows.iter_mut().find(|(label, _)| label == candidate) {
            Some((_, samples)) => samples.push(sample),
            None => self.rows.push((candidate.to_owned(), vec![sample])),
        }
    }

    /// The samples, by candidate.
    pub(crate) fn rows(&self) -> &[(String, Vec<f64>)] {
        &self.rows
    }

    fn median_of(&self, wanted: &str) -> Option<f64> {
        let (_, samples) = self.rows.iter().find(|(label, _)| label == wanted)?;
        Some(median(samples))
    }

    /// Adds its rows to a [`table`].
    fn push(&self, table: &mut Table) {
        let ratio = |middle: f64, wanted: &str| match self.median_of(wanted) {
            Some(base) if base > 0.0 => format!("{:.2}", middle / base),
            _ => "-".to_owned(),
        };
        let number = |value: f64| format!("{value:.*}", self.decimals);
        table.block();
        for (index, (label, samples)) in self.rows.iter().enumerate() {
            let middle = median(samples);
            let title = if index == 0 { &*self.title } else { "" };
            table.row([
                title.to_owned(),
                label.clone(),
                samples.len().to_string(),
                number(extreme(samples, f64::min)),
                number(middle),
                number(extreme(samples, f64::max)),
                ratio(middle, "floor"),
                ratio(middle, "Perl"),
            ]);
        }
    }
}

/// The figures, one below the other.
pub(crate) fn table(figures: &[Figure]) -> Table {
    let columns = [
        "figure",
        "candidate",
        "n",
        "min",
        "median",
        "max",
        "/ floor",
        "/ Perl",
    ];
    let mut table = Table::new(&columns, 2);
    for figure in figures.iter().filter(|figure| !figure.rows.is_empty()) {
        figure.push(&mut table);
    }
    table
}

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

/// The least or the greatest sample.
pub(crate) fn extreme(samples: &[f64], pick: fn(f64, f64) -> f64) -> f64 {
    samples.iter().copied().reduce(pick).unwrap_or(f64::NAN)
}
