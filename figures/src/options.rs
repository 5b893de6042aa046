//! The command line.

use std::env;
use std::ffi::OsString;
use std::path::{self, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Compares start_server with the Perl one and with a bare bind+listen+fork+exec.

  --quick               few rounds, less than 30 s
  --only PART           this part alone; repeatable: start, ports, load, control-clients, reloads, draining
  --output DIRECTORY    write a page with tables and pictures there
  --markdown            print the tables as Markdown
  --ours PATH           the start_server to measure, instead of the one just built
  --static PATH         the same release without libraries (packaging/build static), for the part start
  --start-server PATH   another one to compare with; repeatable
  --help                this text
";

/// What was asked for.
pub(crate) struct Options {
    /// Few rounds.
    pub(crate) quick: bool,
    /// The parts to measure; all if empty.
    only: Vec<String>,
    /// Where to write the page.
    pub(crate) output: Option<PathBuf>,
    /// Markdown instead of plain text.
    pub(crate) markdown: bool,
    /// The binary this repository is about.
    pub(crate) ours: PathBuf,
    /// The same as a static program.
    pub(crate) without_libraries: Option<PathBuf>,
    /// More binaries to compare with.
    pub(crate) others: Vec<PathBuf>,
}

impl Options {
    /// Whether this part is to be measured.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == part)
    }

    /// The most time the whole run may take; it is ended by force after that.
    pub(crate) fn time_limit(&self) -> Duration {
        Duration::from_secs(if self.quick { 180 } else { 1200 })
    }
}

/// Reads the arguments. `parts` are the words that `--only` takes.
///
/// # Errors
/// The exit status, if there is nothing to do or the arguments are wrong.
pub(crate) fn parse(
    mut arguments: impl Iterator<Item = OsString>,
    parts: &[&str],
) -> Result<Options, ExitCode> {
    let mut options = Options {
        quick: false,
        only: Vec::new(),
        output: None,
        markdown: false,
        ours: built(),
        without_libraries: None,
        others: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (&*text, None),
        };
        match (name, &joined) {
            ("--quick", None) => options.quick = true,
            ("--markdown", None) => options.markdown = true,
            ("--help" | "-h", None) => {
                print!("{HELP}");
                return Err(ExitCode::SUCCESS);
            }
            ("--only", _) => match joined.or_else(|| arguments.next()) {
                Some(part) if parts.iter().any(|known| part == *known) => {
                    options.only.push(part.to_string_lossy().into_owned());
                }
                _ => return Err(refuse(&format!("--only: one of {}", parts.join(", ")))),
            },
            ("--output", _) => match joined.or_else(|| arguments.next()) {
                Some(path) => options.output = Some(path.into()),
                None => return Err(refuse("--output: a directory is missing")),
            },
            ("--ours" | "--static" | "--start-server", _) => {
                let Some(path) = joined.or_else(|| arguments.next()) else {
                    return Err(refuse(&format!("{name}: a path is missing")));
                };
                // Absolute, since a bare name would be looked for in PATH.
                let path = path::absolute(&path).unwrap_or_else(|_| PathBuf::from(path));
                if !path.is_file() {
                    return Err(refuse(&format!("{name}={}: no such file", path.display())));
                }
                match name {
                    "--ours" => options.ours = path,
                    "--static" => options.without_libraries = Some(path),
                    _ if options.others.contains(&path) => {}
                    _ => options.others.push(path),
                }
            }
            _ => {
                return Err(refuse(&format!(
                    "{text}: unknown option; --help lists them"
                )));
            }
        }
    }
    if !options.ours.is_file() {
        let path = options.ours.display();
        return Err(refuse(&format!(
            "{path}: no such file; `figures/run` builds it, --ours=PATH names another one"
        )));
    }
    Ok(options)
}

/// The `start_server` that cargo has built in the same profile.
pub(crate) fn built() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.with_file_name("start_server")
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("figures: {reason}");
    ExitCode::from(2)
}
