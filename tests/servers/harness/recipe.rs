//! Recipes, read from docs/recipes.md.

use std::path::Path;

/// A section of docs/recipes.md.
#[derive(Default)]
pub(crate) struct Recipe {
    /// The files: blocks with a name after the language.
    pub(crate) files: Vec<(String, String)>,
    /// The commands to run before.
    pub(crate) before: Vec<String>,
    /// The command of the supervisor, `start_server … -- …`.
    pub(crate) command: String,
}

impl Recipe {
    /// The section with this heading.
    #[track_caller]
    pub(crate) fn of(name: &'static str) -> Self {
        let text = std::fs::read_to_string(file("docs/recipes.md")).unwrap();
        let heading = format!("## {name}");
        let section = text.split_once(&format!("\n{heading}\n"));
        let section = section.unwrap_or_else(|| panic!("docs/recipes.md has no {heading:?}"));
        let section = section.1.split("\n## ").next().unwrap();

        let mut recipe = Self {
            files: Vec::new(),
            before: Vec::new(),
            command: String::new(),
        };
        for block in section.split("\n```").skip(1).step_by(2) {
            let (info, content) = block.split_once('\n').unwrap();
            let content = format!("{content}\n");
            match info.split_once(' ') {
                Some((_, name)) => recipe.files.push((name.to_owned(), content)),
                None if content.starts_with("start_server ") && recipe.command.is_empty() => {
                    recipe.command = content.replace("\\\n", " ").trim().to_owned();
                }
                None if info == "sh" => recipe.before.push(content),
                None => {}
            }
        }
        assert!(
            !recipe.command.is_empty() && recipe.command.contains(" -- "),
            "{heading:?} of docs/recipes.md has no block with a start_server command"
        );
        recipe
    }

    /// The command of the server.
    pub(crate) fn server(&self) -> &str {
        self.command.split_once(" -- ").unwrap().1
    }

    /// The signal to an old generation.
    pub(crate) fn signal(&self) -> nix::sys::signal::Signal {
        let mut words = self.command.split_whitespace();
        let name = words.find_map(|word| word.strip_prefix("--signal-on-hup="));
        format!("SIG{}", name.unwrap_or("TERM")).parse().unwrap()
    }
}

/// A file of this package.
pub(crate) fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
