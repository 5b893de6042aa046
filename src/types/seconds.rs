//! Durations as they are written in options: `5`, `0.2`, `300ms`, `2s`, `5m`, `1h`.

use std::fmt;
use std::time::Duration;

/// The longest duration, in seconds: 31 years. Sums of times cannot overflow.
const LONGEST: f64 = 1e9;

/// Parses a duration: a number of seconds, or a number with the unit `ms`, `s`, `m` or `h`. Fractions are
/// allowed.
///
/// # Errors
/// The text is not a duration, or it is longer than a billion seconds. A sentence fragment with the reason.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(BAD.to_owned()),
    };
    // `number` has only digits and dots, so it has no sign and no exponent, and is not "inf".
    let seconds = number.parse::<f64>().map_err(|_| BAD.to_owned())? * scale;
    if seconds > LONGEST {
        return Err(format!("longer than {LONGEST} seconds"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

const BAD: &str =
    "not a time (a number of seconds, 0 or more, or one with a unit: 300ms, 2s, 5m, 1h)";

/// Formats a duration as a number of seconds, as short as possible: `5`, `0.2`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 {
            write!(f, "{}", self.0.as_secs())
        } else {
            write!(f, "{}", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_a_number_or_fraction_with_or_without_a_unit() {
        let cases = [
            ("0", 0),
            ("1", 1000),
            ("0.2", 200),
            (".5", 500),
            ("300ms", 300),
            ("2s", 2000),
            ("1.5 s", 1500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            (" 7 ", 7000),
        ];
        for (text, millis) in cases {
            assert_eq!(
                parse_seconds(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn text_that_is_not_a_duration_is_refused() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1e3",
            "inf",
            "nan",
            "1.2.3",
            "5 days",
            "9999999999999",
            "0x10",
        ] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_is_formatted_as_seconds_without_superfluous_digits() {
        for (millis, text) in [(5000, "5"), (200, "0.2"), (1500, "1.5"), (0, "0")] {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
