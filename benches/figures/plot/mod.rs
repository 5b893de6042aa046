//! Pictures: a writer for the little of SVG that they need.

mod bars;
mod panel;
mod scale;
mod svg;

pub(crate) use bars::{Bar, bars};
pub(crate) use panel::{Axis, Line, Panel, stack};
pub(crate) use scale::{Scale, Unit};
