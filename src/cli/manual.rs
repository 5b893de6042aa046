//! `--generate=man`: the manual page. The options come from their declaration, the rest comes from
//! `manual.roff`.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use super::options::{HEADINGS, Options};

/// The sections after the options.
const REST: &str = include_str!("manual.roff");

/// The page, in roff.
pub(super) fn page() -> io::Result<Vec<u8>> {
    let man = |command| {
        Man::new(command)
            .title("START_SERVER")
            .section("1")
            .manual("User Commands")
    };
    // Not for --help: with a long description, clap distinguishes -h and --help there.
    let described = man(Options::command().long_about(DESCRIPTION));
    let man = man(Options::command());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    // The empty date needs quotes; otherwise the version takes its place.
    let mut page = String::from_utf8_lossy(&page)
        .replacen("START_SERVER 1  ", "START_SERVER 1 \"\" ", 1)
        .into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    described.render_description_section(&mut page)?;
    let mut options = Vec::new();
    man.render_options_section(&mut options)?;
    page.extend(one_section(String::from_utf8_lossy(&options).into_owned()).bytes());
    page.extend(REST.bytes());
    Ok(page)
}

/// clap_mangen makes each heading a section. This makes them subsections of one.
fn one_section(mut options: String) -> String {
    for heading in HEADINGS {
        for quote in ["", "\""] {
            let upper = heading.to_uppercase();
            let (section, part) = (
                format!(".SH {quote}{upper}{quote}\n"),
                format!(".SS \"{heading}\"\n"),
            );
            options = options.replace(&section, &part);
        }
    }
    options
}

const DESCRIPTION: &str = "\
start_server binds sockets and runs a server on them. On SIGHUP it starts a new generation of the \
server on the same sockets. If, and only if, the new generation becomes ready, the old one is told to \
finish its requests and exit. No connection is refused and none is reset.

PROGRAM takes its listening sockets from the environment instead of binding them, and drains on \
SIGTERM: it stops accepting, finishes the requests that it has, and exits.

With --restart, --stop, --status or --upgrade it sends a command to a running supervisor.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_options_are_in_one_section() {
        let page = String::from_utf8(page().expect("written to memory")).expect("text");
        let sections: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".SH "))
            .collect();
        let wanted = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "SIGNALS",
            "ENVIRONMENT",
            "LIMITS",
            "FILES",
            "\"EXIT STATUS\"",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ];
        assert_eq!(sections, wanted);
        let parts: Vec<String> = page
            .lines()
            .filter_map(|line| Some(line.strip_prefix(".SS ")?.replace('"', "")))
            .collect();
        assert!(parts.starts_with(&HEADINGS.map(str::to_owned)), "{parts:?}");
    }
}
