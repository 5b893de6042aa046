//! Fuzz target `values`: signals and durations, see [`crate::fuzzing`]; and a number parser for all targets.

use std::time::Duration;

use super::{Seconds, Signal, parse_seconds};

/// A signal or duration is the same after writing and parsing it again.
pub fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(duration) = parse_seconds(text) {
        assert!(
            duration <= Duration::from_secs(1_000_000_000),
            "{duration:?}"
        );
        let written = Seconds(duration).to_string();
        assert_eq!(parse_seconds(&written), Ok(duration), "{text:?}: {written}");
        assert!(!text.contains(['-', '+']), "{text:?} has a sign");
    }
    if let Ok(whole) = text.parse::<u32>() {
        let is_valid = !text.starts_with('+') && whole <= 1_000_000_000;
        let expected = is_valid.then(|| Duration::from_secs(whole.into()));
        assert_eq!(parse_seconds(text).ok(), expected, "{text:?}");
    }
    let millis = text
        .strip_suffix("ms")
        .filter(|text| !text.starts_with('+'));
    if let Some(Ok(millis)) = millis.map(str::parse::<u16>) {
        let expected = Duration::from_millis(millis.into());
        assert_eq!(parse_seconds(text), Ok(expected), "{text:?}");
    }
    if let Ok(signal) = text.parse::<Signal>() {
        assert_eq!(Signal::from_number(signal.number()), Some(signal));
        let written = signal.to_string();
        assert_eq!(written.parse(), Ok(signal), "{text:?}: {written}");
    }
}

/// Parses a decimal number with an optional sign, as `str::parse` does. `None` if it is malformed, or
/// does not fit 128 bits.
pub(crate) fn integer(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_i128, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })?;
    Some(if negative { -number } else { number })
}
