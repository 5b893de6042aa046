//! Types of option values, and parsers for those that clap does not have.

use std::ffi::OsStr;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use server_starter::command::parse_seconds;
use server_starter::{LogFileSpec, PathSpec};

/// What `--generate` can print.
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
    /// A .service and a .socket unit for systemd, made from the other options
    Units,
}

/// Parses a value that is one of these words. Completions offer the words, too.
pub(super) fn one_of<T>(words: &'static [&str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: ToString> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse().map_err(|e: T::Err| e.to_string()))
}

pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not permission bits (an octal number up to 0777)".to_owned())
}

/// Parses a time that must not be 0.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    match parse_seconds(text) {
        Ok(Duration::ZERO) => Err("must be more than 0".to_owned()),
        span => span.map_err(|e| e.to_string()),
    }
}

/// Defines a parser for values that need not be UTF-8.
macro_rules! os_str_parser {
    ($parser:ident, $value:ty, $parse:expr) => {
        #[derive(Clone)]
        pub(super) struct $parser;

        impl clap::builder::TypedValueParser for $parser {
            type Value = $value;

            fn parse_ref(
                &self,
                command: &clap::Command,
                arg: Option<&clap::Arg>,
                value: &OsStr,
            ) -> Result<$value, clap::Error> {
                let parse: fn(&OsStr) -> Result<$value, String> = $parse;
                parse(value).map_err(|reason| {
                    let name = arg.map(ToString::to_string).unwrap_or_default();
                    let value = value.to_string_lossy();
                    let message = format!("invalid value '{value}' for '{name}': {reason}");
                    command.clone().error(ErrorKind::ValueValidation, message)
                })
            }
        }
    };
}

os_str_parser!(PathParser, PathSpec, PathSpec::new);
os_str_parser!(LogParser, LogFileSpec, LogFileSpec::parse);
