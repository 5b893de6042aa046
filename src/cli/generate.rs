//! `--generate`: what is made from the declaration of the options.

use clap::{ArgMatches, ValueEnum};

use super::options::Options;
use super::units;

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Product {
    /// The manual page, for man(1)
    #[cfg(feature = "documents")]
    Man,
    /// Completions for bash
    #[cfg(feature = "documents")]
    CompleteBash,
    /// Completions for zsh
    #[cfg(feature = "documents")]
    CompleteZsh,
    /// Completions for fish
    #[cfg(feature = "documents")]
    CompleteFish,
    /// A .service and a .socket for systemd, from the other options given
    Units,
}

/// Makes it.
pub(super) fn generate(
    product: Product,
    options: &Options,
    matches: &ArgMatches,
) -> Result<Vec<u8>, String> {
    #[cfg(feature = "documents")]
    use {
        super::{completions::completions, manual},
        clap_complete::shells::{Bash, Fish, Zsh},
    };
    Ok(match product {
        #[cfg(feature = "documents")]
        Product::Man => manual::page().map_err(|e| e.to_string())?,
        #[cfg(feature = "documents")]
        Product::CompleteBash => completions(Bash),
        #[cfg(feature = "documents")]
        Product::CompleteZsh => completions(Zsh),
        #[cfg(feature = "documents")]
        Product::CompleteFish => completions(Fish),
        Product::Units => units::units(options, matches)?.into_bytes(),
    })
}
