//! What many ports cost.

use super::{Comparison, announce, colour, milliseconds};
use crate::candidate::{Setup, Wait};
use crate::limits;
use crate::plot::{Axis, Line, Panel, Scale, Unit, stack};
use crate::report::{Plot, Section, Table, median};
use crate::running::Serving;

const ABOUT: &str = "\
From exec to the first answer, and from HUP to the first answer of the new worker, with an interval of 0. All\n\
ports are handed to every worker, and one of them is asked. The others start with a raised limit of open files;\n\
ours starts with 1,024 and raises it itself. The law is the line that lies closest to the medians, in proportion.";

const FULL: [u16; 7] = [1, 10, 100, 300, 1_000, 3_000, 10_000];
const QUICK: [u16; 2] = [1, 10_000];

/// Descriptors that are needed for something else.
const SPARE: u64 = 300;

/// The medians of a candidate: milliseconds by number of ports.
struct Curve {
    label: String,
    points: Vec<[f64; 2]>,
}

/// What a point of all curves is made of: samples by candidate.
type Samples = Vec<Vec<f64>>;

pub(super) fn measure(bench: &Comparison) -> Result<Section, String> {
    let mut section = Section::new("By number of ports", ABOUT);
    // What the reaper could not raise it to is beyond the hard limit.
    let allowed = limits::raise(0)?;
    let sizes = bench.quick_or(&QUICK[..], &FULL[..]).iter().copied();
    let (sizes, beyond): (Vec<_>, Vec<_>) =
        sizes.partition(|&size| u64::from(size) + SPARE <= allowed);
    if !beyond.is_empty() {
        section.notes.push(format!(
            "Not with {beyond:?} ports: only {allowed} open files are allowed."
        ));
    }
    let mut cold = bench.curves();
    let mut reload = bench.curves();
    for size in sizes {
        let (starts, reloads) = bench.with_ports(size)?;
        for (curves, samples) in [(&mut cold, starts), (&mut reload, reloads)] {
            for (curve, samples) in curves.iter_mut().zip(samples) {
                if !samples.is_empty() {
                    curve.points.push([f64::from(size), median(&samples)]);
                }
            }
        }
    }
    reload.retain(|curve| !curve.points.is_empty());
    section.plots.push(picture(&cold, &reload));
    section
        .tables
        .push(table(&[("cold start", &cold), ("reload", &reload)]));
    Ok(section)
}

impl Comparison<'_> {
    fn curves(&self) -> Vec<Curve> {
        let curve = |label: &String| Curve {
            label: label.clone(),
            points: Vec::new(),
        };
        self.candidates
            .iter()
            .map(|candidate| curve(&candidate.label))
            .collect()
    }

    /// Starts and reloads, in milliseconds.
    fn with_ports(&self, count: u16) -> Result<(Samples, Samples), String> {
        let (rounds, reloads) = self.quick_or((1, 1), (7, 5));
        announce(&format!("start and reload, {count} ports"), rounds);
        let mut starts = vec![Vec::new(); self.candidates.len()];
        let mut answers = starts.clone();
        for _ in 0..rounds {
            for (index, candidate) in self.candidates.iter().enumerate() {
                let setup = Setup::new(self.ports.block(count)?, Wait::Interval(0));
                let (mut serving, took) = Serving::start(candidate, setup)?;
                starts[index].push(milliseconds(took));
                if serving.reloads() {
                    serving.rest()?;
                    for _ in 0..reloads {
                        answers[index].push(milliseconds(serving.reload()?.answered));
                    }
                }
                serving.stop()?;
            }
        }
        Ok((starts, answers))
    }
}

fn picture(cold: &[Curve], reload: &[Curve]) -> Plot {
    let panel = |title: &str, curves: &[Curve]| {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        Panel {
            title: title.to_owned(),
            height: 190.0,
            x: Axis {
                scale: Scale::around(points().map(|point| point[0])),
                unit: Unit::Count,
            },
            y: Axis {
                scale: Scale::around(points().map(|point| point[1])),
                unit: Unit::Milliseconds,
            },
            lines: curves.iter().map(line).collect(),
            marks: Vec::new(),
        }
    };
    let line = "Cold start and reload by number of ports";
    Plot {
        file: "ports.svg",
        alt: format!("{line}; the table below has the same numbers"),
        svg: stack(
            line,
            &[
                panel("Cold start by number of ports", cold),
                panel("Reload by number of ports", reload),
            ],
        ),
    }
}

fn line(curve: &Curve) -> Line {
    Line {
        label: curve.label.clone(),
        colour: colour(&curve.label),
        points: curve.points.clone(),
        dots: true,
    }
}

fn table(parts: &[(&str, &[Curve])]) -> Table {
    let sizes = parts.iter().flat_map(|(_, curves)| *curves).next();
    let sizes = sizes.map_or(Vec::new(), |curve| {
        curve.points.iter().map(|point| point[0]).collect()
    });
    let mut header = vec!["ms".to_owned(), "candidate".to_owned()];
    header.extend(sizes.iter().map(|&size| Unit::Count.write(size)));
    header.push("law".to_owned());
    let header: Vec<_> = header.iter().map(String::as_str).collect();
    let mut table = Table::new(&header, 2);
    for (part, curves) in parts {
        table.block();
        for (index, curve) in curves.iter().enumerate() {
            let mut row = vec![if index == 0 {
                (*part).to_owned()
            } else {
                String::new()
            }];
            row.push(curve.label.clone());
            row.extend(curve.points.iter().map(|point| format!("{:.2}", point[1])));
            row.push(match law(&curve.points) {
                Some((base, each)) => format!("{base:.1} ms + {:.2} µs each", each * 1e3),
                None => "-".to_owned(),
            });
            table.row(row);
        }
    }
    table
}

/// `a + b × x`, with the least sum of squares of what it is off in proportion; one point makes no law.
fn law(points: &[[f64; 2]]) -> Option<(f64, f64)> {
    // Each weighs 1/y²: a normal equation of two unknowns.
    let sum =
        |of: fn(f64, f64) -> f64| points.iter().map(|&[x, y]| of(x, y) / (y * y)).sum::<f64>();
    let (ones, xs, squares) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|x, _| x * x));
    let (ys, products) = (sum(|_, y| y), sum(|x, y| x * y));
    let determinant = ones * squares - xs * xs;
    let base = (squares * ys - xs * products) / determinant;
    let each = (ones * products - xs * ys) / determinant;
    (points.len() > 1).then_some((base, each))
}
