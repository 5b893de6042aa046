//! What the fuzz targets in `fuzz/` call, each with whatever bytes come along. There is nothing of it
//! in the program: cargo fuzz builds with `--cfg fuzzing`.
//!
//! A target says more than "no panic": it reads the same bytes a second time, in a simpler way, and
//! compares; or writes what it has read and reads that.
//!
//! The inputs that are worth keeping are in `fuzz/corpus/`, and go through the same functions in every
//! `cargo test`, without a fuzzer.

pub use crate::control::fuzz::call;
pub use crate::control::server::fuzz::connection;
pub use crate::files::fuzz::files;
pub use crate::sockets::fuzz::{inherited, specs};
pub use crate::supervisor::upgrade::fuzz::state;
pub use crate::types::fuzz::units;
pub use crate::worker::environment::fuzz::envdir;
pub use crate::worker::notify::fuzz::notification;

/// A number in decimal digits with a sign, as `str::parse` takes it; none: it is none, or is beyond
/// anybody's reach.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    type Target = fn(&[u8]);

    /// The targets of this crate; those of the other one are in `worker/src/fuzzing.rs`.
    const TARGETS: [(&str, Target); 9] = [
        ("call", super::call),
        ("connection", super::connection),
        ("envdir", super::envdir),
        ("files", super::files),
        ("inherited", super::inherited),
        ("notification", super::notification),
        ("specs", super::specs),
        ("state", super::state),
        ("units", super::units),
    ];

    /// As they are; and those made by hand cut short after every byte, too, for what is half there is
    /// the commonest garbage.
    #[test]
    fn the_kept_inputs() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        if !fuzz.exists() {
            return; // the published package has no corpus
        }
        let corpus = fuzz.join("corpus");
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(corpus.join(name)).expect(name);
            let mut count = 0;
            for input in inputs.map(|input| input.unwrap().path()) {
                println!("{}", input.display()); // seen if it fails
                let bytes = fs::read(&input).unwrap();
                target(&bytes);
                let by_hand = input.file_name().unwrap().len() < 40; // else a digest
                let ends = 0..if by_hand { bytes.len() } else { 0 };
                ends.for_each(|end| target(&bytes[..end]));
                count += 1;
            }
            assert!(count > 0, "{name}: there is nothing to try");
        }
    }
}
