//! `--generate=complete-bash`, `complete-zsh`, `complete-fish`.

use clap::CommandFactory;
use clap_complete::Generator;

use super::options::Options;

/// The completions for one shell. Linking three generators instead of all that clap_complete has saves
/// 14 kB.
pub(super) fn completions(shell: impl Generator) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "start_server", &mut text);
    // clap_complete offers hidden options, too: in bash as one word of many, otherwise on a line of its own.
    let text = String::from_utf8_lossy(&text).replace(" --preflight", "");
    let lines = text.split_inclusive('\n');
    let shown = lines.filter(|line| !line.contains("preflight"));
    shown.collect::<String>().into_bytes()
}
