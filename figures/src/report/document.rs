//! The report as files: a Markdown page, and the pictures in it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::section::Section;

/// Name of the page: what a directory shows of itself.
const PAGE: &str = "README.md";

/// Writes everything to a directory, which is made if there is none.
pub(crate) fn write(
    directory: &Path,
    facts: &[String],
    sections: &[Section],
) -> Result<(), String> {
    let wrong = |path: &Path| {
        let path = path.display().to_string();
        move |error| format!("{path}: {error}")
    };
    fs::create_dir_all(directory).map_err(wrong(directory))?;
    for plot in sections.iter().flat_map(|section| &section.plots) {
        let path = directory.join(plot.file);
        fs::write(&path, &plot.svg).map_err(wrong(&path))?;
    }
    let path = directory.join(PAGE);
    fs::write(&path, page(facts, sections)).map_err(wrong(&path))
}

fn page(facts: &[String], sections: &[Section]) -> String {
    let mut text = "# Figures\n\n\
        One run of `figures/run --output docs/figures`, which has written this page and its\n\
        pictures. `figures/src/main.rs` says who is compared and how.\n\n"
        .to_owned();
    for fact in facts {
        let _ = writeln!(text, "- {fact}");
    }
    for section in sections {
        let _ = write!(text, "\n## {}\n\n{}\n", section.title, section.about);
        for plot in &section.plots {
            let _ = write!(text, "\n![{}]({})\n", plot.alt, plot.file);
        }
        for table in &section.tables {
            let _ = write!(text, "\n{}", table.render(true));
        }
        for note in &section.notes {
            let _ = write!(text, "\n{note}\n");
        }
    }
    text
}
