//! Spans of time as people write them: `5`, `0.2`, `300ms`, `2s`, `5m`, `1h`.

use std::fmt;
use std::time::Duration;

/// Longer than any server runs; keeps sums of times far from overflow.
const LONGEST: f64 = 1e9;

/// Reads a span: a number of seconds, fractions allowed, or a number with the unit `ms`, `s`, `m`
/// or `h`. It must lie between 0 and a billion seconds.
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
    // Only digits and dots are left: no sign, no exponent, no "inf".
    let seconds = number.parse::<f64>().map_err(|_| BAD.to_owned())? * scale;
    if seconds > LONGEST {
        return Err(format!("longer than {LONGEST} seconds"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

const BAD: &str =
    "not a time (a number of seconds, 0 or more, or one with a unit: 300ms, 2s, 5m, 1h)";

/// Prints a span as a number of seconds, as short as it goes: `5`, `0.2`.
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
    fn numbers_fractions_and_units() {
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
    fn what_is_no_span_is_refused() {
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
    fn printed_short() {
        for (millis, text) in [(5000, "5"), (200, "0.2"), (1500, "1.5"), (0, "0")] {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
