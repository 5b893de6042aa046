//! `--generate=complete-bash`, `complete-zsh`, `complete-fish`.

use clap::CommandFactory;
use clap_complete::Generator;

use super::options::Options;

/// The completions for one shell. Naming the three generators, and not all that clap_complete has,
/// saves 14 kB.
pub(super) fn completions(shell: impl Generator) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "start_server", &mut text);
    text
}
