//! The transitions of the table in `../state.rs`: what is done on each, and which phase follows.
//!
//! A transition returns the phase that follows; it neither knows nor sets the phase at present. What
//! changes no phase returns nothing. The modules are layers: each calls only those above it here.

mod timeouts;

mod start;
mod stop;

mod deaths;
mod finish;

mod attempt;
