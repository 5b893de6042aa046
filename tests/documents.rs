//! The documents name existing files and tests.
//!
//! Checked are, in code spans of prose: paths (`src/sys`, `docs/recipes.md`), names of files (`deny.toml`,
//! `scenarios.rs`) and names of tests (`races::log_file_is_not_reopened_through_a_link`); and links to files.
//! Fenced blocks and spans with a placeholder (`tests/*/main.rs`, `fuzz/corpus/TARGET`) are skipped.

#![allow(clippy::unwrap_used)] // in tests a panic is the report

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories of the repository that documents name.
const DIRECTORIES: [&str; 10] = [
    ".ci",
    "figures",
    "docs",
    "examples",
    "fuzz",
    "packaging",
    "src",
    "systemd",
    "tests",
    "worker",
];

/// Spans that look like the name of a test and are none.
const OTHER_NAMES: [&str; 1] = ["sd_listen_fds_with_names"];

#[test]
fn files_and_tests_that_documents_name_exist() {
    let repository = Repository::read();
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        let stale = repository.stale_names(&document, &text).join("\n");
        assert!(stale.is_empty(), "{}:\n{stale}", document.display());
    }
}

#[test]
fn stale_names_are_reported() {
    let text =
        "`src/none.rs`, `packaging/none deb`, `none.rs`, `documents::none`, `lib.rs`, `tests/`,
        `documents::stale_names_are_reported`, `a_test_that_is_gone`, [a link](docs/none.md#part),
        [another](docs/recipes.md#rust), `docs/NONE.md`, `docs/NAME/x`, `http::none()`, `None`
        ```\n`src/none.rs`\n```";
    let expected = [
        "`src/none.rs`: no such file or directory",
        "`packaging/none deb`: no such file or directory",
        "`none.rs`: no file has this name",
        "`documents::none`: no such test",
        "`a_test_that_is_gone`: no such test",
        "`docs/NONE.md`: no such file or directory",
        "(docs/none.md): no such file",
    ];
    let stale = Repository::read().stale_names(Path::new("README.md"), text);
    assert_eq!(stale, expected);
}

/// The documents at the top of the repository and in `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "RELEASING.md",
    ]
    .map(PathBuf::from)
    .to_vec();
    let docs = files_below(Path::new("docs"));
    documents.extend(docs.into_iter().filter(|path| has_extension(path, "md")));
    documents
}

struct Repository {
    file_names: BTreeSet<String>,
    /// Each source file with its text.
    sources: Vec<(PathBuf, String)>,
}

impl Repository {
    fn read() -> Self {
        let mut files: Vec<PathBuf> = fs::read_dir(root())
            .unwrap()
            .map(|entry| PathBuf::from(entry.unwrap().file_name()))
            .filter(|path| root().join(path).is_file())
            .collect();
        files.extend(
            DIRECTORIES
                .iter()
                .flat_map(|directory| files_below(Path::new(directory))),
        );
        let file_names = files.iter().map(|path| file_name(path)).collect();
        let sources = files.iter().filter(|path| has_extension(path, "rs"));
        let sources = sources
            .map(|path| (path.clone(), fs::read_to_string(root().join(path)).unwrap()))
            .collect();
        Self {
            file_names,
            sources,
        }
    }

    /// One line for each name in the text of a document that does not exist.
    fn stale_names(&self, document: &Path, text: &str) -> Vec<String> {
        let prose = without_blocks(text);
        assert!(
            prose.matches('`').count() % 2 == 0,
            "{}: a code span has no end",
            document.display()
        );
        let spans = code_spans(&prose).into_iter();
        let missing = spans.filter_map(|span| Some(format!("`{span}`: {}", self.missing(span)?)));
        let directory = root().join(document.parent().unwrap());
        let broken = links(&prose).into_iter();
        let broken = broken.filter(|link| !directory.join(link).exists());
        missing
            .chain(broken.map(|link| format!("({link}): no such file")))
            .collect()
    }

    /// What a span names that does not exist. `None` if it exists, or the span names no file and no test.
    fn missing(&self, span: &str) -> Option<&'static str> {
        let word = span.split_whitespace().next()?;
        if is_path(word) {
            let exists = root().join(word.trim_end_matches('/')).exists();
            return (!exists).then_some("no such file or directory");
        }
        if is_file_name(span) {
            return (!self.file_names.contains(span)).then_some("no file has this name");
        }
        if is_test_path(span) || is_test_name(span) {
            return (!self.has_test(span)).then_some("no such test");
        }
        None
    }

    /// Whether a source file has a function of this name. With modules before the name, one of them must
    /// be the file or its directory.
    fn has_test(&self, path: &str) -> bool {
        let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
        let function = format!("fn {name}(");
        let is_module = |part: &str| modules.split("::").any(|module| module == part);
        self.sources.iter().any(|(file, text)| {
            let in_module = modules.is_empty()
                || file.iter().any(|part| {
                    let part = part.to_str().unwrap();
                    is_module(part.strip_suffix(".rs").unwrap_or(part))
                });
            in_module && text.contains(&function)
        })
    }
}

fn is_path(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "./_-@".contains(c);
    let is_placeholder =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase());
    let directory = word.split('/').next().unwrap_or_default();
    word.contains('/')
        && DIRECTORIES.contains(&directory)
        && word.chars().all(is_plain)
        && !word.split('/').any(is_placeholder)
}

/// A name with an extension of this repository's own files.
fn is_file_name(span: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = Path::new(span);
    span.chars().all(is_plain)
        && !span.starts_with('.')
        && ["rs", "toml", "md"]
            .iter()
            .any(|extension| has_extension(name, extension))
}

/// `module::name`, in lower case.
fn is_test_path(span: &str) -> bool {
    span.contains("::") && span.split("::").all(is_snake_case)
}

/// A name of at least four words.
fn is_test_name(span: &str) -> bool {
    is_snake_case(span) && span.matches('_').count() >= 3 && !OTHER_NAMES.contains(&span)
}

fn is_snake_case(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_plain)
}

/// The text without its fenced blocks.
fn without_blocks(text: &str) -> String {
    let mut in_block = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    };
    text.lines().filter(is_prose).collect::<Vec<_>>().join("\n")
}

fn code_spans(prose: &str) -> Vec<&str> {
    prose.split('`').skip(1).step_by(2).collect()
}

/// The targets of links to files, without their anchors.
fn links(prose: &str) -> Vec<&str> {
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let skipped = ["target", "corpus", "found", "artifacts", "out"];
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = directory.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true if skipped.contains(&file_name(&path).as_str()) => {}
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().into()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
