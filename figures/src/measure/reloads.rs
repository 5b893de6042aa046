//! Whether the ten thousandth reload costs what the first did.

use super::{Comparison, announce, colour, megabytes, milliseconds};
use crate::candidate::{Setup, Wait};
use crate::plot::{Axis, Line, Panel, Scale, Unit, stack};
use crate::proc;
use crate::report::{Plot, Section, Table, median};
use crate::running::Serving;

const ABOUT: &str = "\
One reload after the other, with an interval of 0: the next HUP as soon as the old worker has gone and the new one\n\
has answered. Each point of the curves is the median of a hundredth of them.";

/// Points of a curve.
const POINTS: usize = 100;

/// How a candidate was after so many reloads.
struct Point {
    reloads: usize,
    /// The median of the last ones, in milliseconds.
    took: f64,
    /// `VmRSS` in MB.
    memory: f64,
    descriptors: u64,
    /// Processor time of the supervisor for each of the last ones, in milliseconds.
    worked: f64,
}

/// All of a candidate.
struct Course {
    label: String,
    points: Vec<Point>,
}

pub(super) fn measure(bench: &Comparison) -> Result<Section, String> {
    let mut section = Section::new("Many reloads", ABOUT);
    let each = bench.quick_or(2, 100);
    let mut courses = Vec::new();
    for (index, candidate) in bench.reloading() {
        announce(&format!("reloads of {}", candidate.label), each * POINTS);
        let setup = Setup::new(bench.ports.of(index), Wait::Interval(0));
        let (mut serving, _) = Serving::start(candidate, setup)?;
        serving.rest()?;
        let mut course = Course {
            label: candidate.label.clone(),
            points: Vec::new(),
        };
        match course.run(&mut serving, each) {
            Ok(()) => serving.rest()?,
            Err(reason) if candidate.is_ours() => return Err(reason),
            // Perl's may lose a HUP.
            Err(reason) => section.notes.push(format!(
                "{} did not get through: after {} reloads and fewer than {each} more: {}.",
                candidate.label,
                course.points.last().map_or(0, |point| point.reloads),
                reason.lines().next().unwrap_or_default(),
            )),
        }
        serving.stop()?;
        courses.push(course);
    }
    section.plots.push(picture(&courses));
    section.tables.push(table(&courses));
    Ok(section)
}

impl Course {
    fn run(&mut self, serving: &mut Serving, each: usize) -> Result<(), String> {
        for point in 1..=POINTS {
            let before = proc::processor_time(serving.pid())?;
            let mut times = Vec::new();
            for _ in 0..each {
                times.push(milliseconds(serving.reload_at_once()?.answered));
            }
            let worked = proc::processor_time(serving.pid())? - before;
            self.points.push(Point {
                reloads: point * each,
                took: median(&times),
                memory: megabytes(proc::rss(serving.pid())?),
                descriptors: proc::descriptors(serving.pid())?,
                worked: worked * 1e3 / each as f64,
            });
        }
        Ok(())
    }
}

fn picture(courses: &[Course]) -> Plot {
    let last = courses.iter().flat_map(|course| course.points.last());
    let last = last.map(|point| point.reloads).max().unwrap_or(1);
    let panel = |title: &str, unit, value: fn(&Point) -> f64| {
        let values = courses.iter().flat_map(|course| &course.points).map(value);
        Panel {
            title: title.to_owned(),
            height: 120.0,
            x: Axis {
                scale: Scale::Linear {
                    from: 0.0,
                    to: last as f64,
                },
                unit: Unit::Count,
            },
            y: Axis {
                scale: Scale::up_to(values),
                unit,
            },
            lines: courses
                .iter()
                .map(|course| Line {
                    label: course.label.clone(),
                    colour: colour(&course.label),
                    points: course
                        .points
                        .iter()
                        .map(|point| [point.reloads as f64, value(point)])
                        .collect(),
                    dots: false,
                })
                .collect(),
            marks: Vec::new(),
        }
    };
    let title = "Time and memory over many reloads";
    Plot {
        file: "reloads.svg",
        alt: format!("{title}; the table below has some of the numbers"),
        svg: stack(
            title,
            &[
                panel("Time for a reload", Unit::Milliseconds, |point| point.took),
                panel(
                    "Memory of the supervisor, VmRSS",
                    Unit::Megabytes,
                    |point| point.memory,
                ),
            ],
        ),
    }
}

fn table(courses: &[Course]) -> Table {
    let header = [
        "candidate",
        "reloads",
        "each, ms",
        "supervisor's processor time, ms",
        "VmRSS, MB",
        "descriptors",
    ];
    let mut table = Table::new(&header, 1);
    for course in courses {
        table.block();
        // The first one, and the end of each quarter.
        let shown = [1, POINTS / 4, POINTS / 2, POINTS * 3 / 4, POINTS];
        for point in shown
            .iter()
            .filter_map(|&number| course.points.get(number - 1))
        {
            table.row([
                course.label.clone(),
                Unit::Count.write(point.reloads as f64),
                format!("{:.2}", point.took),
                format!("{:.2}", point.worked),
                format!("{:.2}", point.memory),
                point.descriptors.to_string(),
            ]);
        }
    }
    table
}
