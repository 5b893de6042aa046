//! `--generate`: documents and units made from the declaration of the options.

use clap::ArgMatches;

use super::options::Options;
use super::unit_files;
use super::values::Product;

/// Returns the document that was asked for.
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
        Product::Units => unit_files::units(options, matches)?.into_bytes(),
    })
}
