//! Bars side by side, on an axis of powers of ten.

use super::scale::{Scale, Unit};
use super::svg::{Anchor, Svg, WIDTH};

/// Room for names, and for what stands behind the longest bar.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 90.0;
const ABOVE: f64 = 58.0;
const BELOW: f64 = 30.0;
const ROW: f64 = 34.0;
const THICKNESS: f64 = 18.0;

/// One bar.
pub(crate) struct Bar {
    pub(crate) label: String,
    /// Which of the colours.
    pub(crate) colour: usize,
    pub(crate) least: f64,
    /// How long it is.
    pub(crate) value: f64,
    pub(crate) most: f64,
}

/// The bars, one below the other, each with the range from the least to the most.
pub(crate) fn bars(title: &str, unit: Unit, bars: &[Bar]) -> String {
    let bottom = ABOVE + bars.len() as f64 * ROW;
    let mut svg = Svg::new(bottom + BELOW);
    let scale = Scale::around(bars.iter().flat_map(|bar| [bar.least / 2.0, bar.most]));
    let x = |value| LEFT + scale.place(value) * (WIDTH - RIGHT - LEFT);

    svg.text([16.0, 24.0], Anchor::Start, "title", title);
    let words = "median and range, logarithmic";
    svg.text([16.0, 42.0], Anchor::Start, "", words);
    let ticks = scale.ticks(6.0);
    svg.lines(
        "grid",
        ticks
            .iter()
            .map(|&tick| [[x(tick), ABOVE], [x(tick), bottom]]),
    );
    for tick in ticks {
        svg.text(
            [x(tick), bottom + 18.0],
            Anchor::Middle,
            "",
            &unit.write(tick),
        );
    }
    for (row, bar) in bars.iter().enumerate() {
        let middle = ABOVE + (row as f64 + 0.5) * ROW;
        svg.text([LEFT - 10.0, middle + 4.0], Anchor::End, "", &bar.label);
        let size = [x(bar.value) - LEFT, THICKNESS];
        let corner = [LEFT, middle - THICKNESS / 2.0];
        svg.rectangle(&format!("f{}", bar.colour), corner, size);
        svg.lines("range", [[[x(bar.least), middle], [x(bar.most), middle]]]);
        let behind = [x(bar.most) + 8.0, middle + 4.0];
        svg.text(behind, Anchor::Start, "", &unit.write(bar.value));
    }
    svg.finish(title)
}
