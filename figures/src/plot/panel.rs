//! Curves over an axis, and several such panels one below the other.

use super::scale::{Scale, Unit};
use super::svg::{Anchor, Svg, WIDTH};

/// Room at the sides of a panel, for the words at its axes.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 40.0;
/// Room above it, for title and legend, and below it.
const ABOVE: f64 = 40.0;
const BELOW: f64 = 26.0;

/// One of the two axes.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) unit: Unit,
}

/// One curve.
pub(crate) struct Line {
    pub(crate) label: String,
    /// Which of the colours.
    pub(crate) colour: usize,
    pub(crate) points: Vec<[f64; 2]>,
    /// Whether each point is a measurement that is to be seen as such.
    pub(crate) dots: bool,
}

/// Curves over one pair of axes.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) height: f64,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    /// Where something happened.
    pub(crate) marks: Vec<f64>,
}

/// The panels, one below the other.
pub(crate) fn stack(title: &str, panels: &[Panel]) -> String {
    let room = |panel: &Panel| ABOVE + panel.height + BELOW;
    let mut svg = Svg::new(panels.iter().map(room).sum());
    let mut top = 0.0;
    for panel in panels {
        panel.draw(&mut svg, top + ABOVE);
        top += room(panel);
    }
    svg.finish(title)
}

impl Panel {
    fn draw(&self, svg: &mut Svg, top: f64) {
        let bottom = top + self.height;
        let right = WIDTH - RIGHT;
        let x = |value| LEFT + self.x.scale.place(value) * (right - LEFT);
        let y = |value| bottom - self.y.scale.place(value) * self.height;

        svg.text([LEFT, top - 14.0], Anchor::Start, "title", &self.title);
        let horizontal = self.y.scale.ticks(self.height / 16.0);
        svg.lines(
            "grid",
            horizontal
                .iter()
                .map(|&tick| [[LEFT, y(tick)], [right, y(tick)]]),
        );
        for tick in horizontal {
            let words = self.y.unit.write(tick);
            svg.text([LEFT - 8.0, y(tick) + 4.0], Anchor::End, "", &words);
        }
        for tick in self.x.scale.ticks(6.0) {
            let words = self.x.unit.write(tick);
            svg.text([x(tick), bottom + 18.0], Anchor::Middle, "", &words);
        }
        if !self.marks.is_empty() {
            svg.lines(
                "mark",
                self.marks
                    .iter()
                    .map(|&mark| [[x(mark), top], [x(mark), bottom]]),
            );
        }
        for line in &self.lines {
            let points = || line.points.iter().map(|&[at, value]| [x(at), y(value)]);
            svg.curve(&format!("line c{}", line.colour), points());
            if line.dots {
                points().for_each(|point| svg.dot(&format!("f{}", line.colour), point));
            }
        }
        self.draw_legend(svg, top - 14.0);
    }

    /// The names of the curves, from the right.
    fn draw_legend(&self, svg: &mut Svg, y: f64) {
        let mut x = WIDTH - RIGHT;
        for line in self.lines.iter().rev() {
            let class = format!("f{}", line.colour);
            svg.text([x, y], Anchor::End, &class, &line.label);
            // How wide letters are is not known here; this is more than most are.
            x -= line.label.chars().count() as f64 * 7.0 + 16.0;
        }
    }
}
