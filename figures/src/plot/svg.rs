//! The drawing itself: elements, and the styles that they are drawn in, by day and by night.

use std::fmt::{Display, Write};

/// Width of all pictures.
pub(crate) const WIDTH: f64 = 820.0;

/// Colours of what is compared, `c0` first; strokes and fills. Each is legible on both backgrounds.
const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}
.title{font-size:14px;font-weight:600;fill:#1f2328}
.bg{fill:#fff}
.grid{stroke:#d8dee4;fill:none}
.mark{stroke:#8c959f;stroke-opacity:.45;stroke-dasharray:2 2;fill:none}
.line{fill:none;stroke-width:1.5;stroke-linejoin:round}
.c0{stroke:#0969da}.c1{stroke:#bc4c00}.c2{stroke:#57606a}.c3{stroke:#1a7f37}
.f0{fill:#0969da}.f1{fill:#bc4c00}.f2{fill:#57606a}.f3{fill:#1a7f37}
.range{stroke:#1f2328;stroke-opacity:.6;fill:none}
@media (prefers-color-scheme:dark){
text{fill:#9198a1}
.title{fill:#f0f6fc}
.bg{fill:#0d1117}
.grid{stroke:#30363d}
.mark{stroke:#9198a1}
.c0{stroke:#58a6ff}.c1{stroke:#f0883e}.c2{stroke:#9198a1}.c3{stroke:#3fb950}
.f0{fill:#58a6ff}.f1{fill:#f0883e}.f2{fill:#9198a1}.f3{fill:#3fb950}
.range{stroke:#f0f6fc}
}
";

/// Which end of a text is where it is put.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture being drawn. Coordinates grow to the right and downwards.
pub(crate) struct Svg {
    height: f64,
    body: String,
}

impl Svg {
    /// An empty picture, [`WIDTH`] wide.
    pub(crate) fn new(height: f64) -> Self {
        Self {
            height,
            body: String::new(),
        }
    }

    /// Words.
    pub(crate) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, class: &str, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let class = attribute("class", class);
        let (x, y, words) = (short(x), short(y), escaped(words));
        let _ = writeln!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\"{anchor}{class}>{words}</text>"
        );
    }

    /// Straight lines, in one element: each from one point to another.
    pub(crate) fn lines(&mut self, class: &str, lines: impl IntoIterator<Item = [[f64; 2]; 2]>) {
        let mut path = String::new();
        for [from, to] in lines {
            let _ = write!(path, "M{}L{}", point(from), point(to));
        }
        self.path(class, &path);
    }

    /// A curve through these points.
    pub(crate) fn curve(&mut self, class: &str, points: impl IntoIterator<Item = [f64; 2]>) {
        let points: Vec<_> = points.into_iter().map(point).collect();
        self.path(class, &format!("M{}", points.join(" ")));
    }

    fn path(&mut self, class: &str, path: &str) {
        let class = attribute("class", class);
        let _ = writeln!(self.body, "<path{class} d=\"{path}\"/>");
    }

    /// A dot.
    pub(crate) fn dot(&mut self, class: &str, [x, y]: [f64; 2]) {
        let class = attribute("class", class);
        let (x, y) = (short(x), short(y));
        let _ = writeln!(self.body, "<circle{class} cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
    }

    /// A filled rectangle, from its upper left corner on.
    pub(crate) fn rectangle(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
        let class = attribute("class", class);
        let (x, y, width, height) = (short(x), short(y), short(width), short(height));
        let _ = writeln!(
            self.body,
            "<rect{class} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
    }

    /// The file.
    pub(crate) fn finish(self, title: &str) -> String {
        let (width, height, title) = (short(WIDTH), short(self.height), escaped(title));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n\
             <rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn attribute(name: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else {
        format!(" {name}=\"{value}\"")
    }
}

fn point([x, y]: [f64; 2]) -> String {
    format!("{} {}", short(x), short(y))
}

/// A tenth of a pixel is enough.
fn short(number: f64) -> impl Display {
    (number * 10.0).round() / 10.0
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
