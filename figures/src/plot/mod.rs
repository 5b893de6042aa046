//! Pictures in SVG, written by hand: about 400 lines.
//!
//! A plotting library would not be shorter here. The pictures follow the reader's light or dark theme, for which
//! each element needs a CSS class: plotters writes fixed colours into its elements, and poloto, which has
//! classes, has neither logarithmic axes nor bars nor panels that share one.

mod bars;
mod panel;
mod scale;
mod svg;

pub(crate) use bars::{Bar, bars};
pub(crate) use panel::{Axis, Line, Panel, stack};
pub(crate) use scale::{Scale, Unit};
