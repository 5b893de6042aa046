//! The functions that the fuzz targets in `fuzz/` call. They are compiled for tests and with
//! `--cfg fuzzing`, which cargo fuzz sets, and are no part of the program.
//!
//! A target checks more than the absence of panics. It parses the same bytes a second time, with
//! simpler code, and compares the results; or it writes what it has parsed and parses that again.
//!
//! `cargo test` calls the same functions with every input of `fuzz/corpus/`, without a fuzzer.

pub use crate::control::fuzz::call;
pub use crate::control::server::fuzz::connection;
pub use crate::files::fuzz::files;
pub use crate::sockets::fuzz::{inherited, specs};
pub use crate::supervisor::upgrade::fuzz::state;
pub use crate::takeover::fuzz::takeover;
pub use crate::types::fuzz::values;
pub use crate::worker::environment::fuzz::envdir;
pub use crate::worker::notify::fuzz::notification;

/// The cases of an input: the bytes between ASCII record separators. A target is called once for each.
/// An input of several cases keeps the corpus small.
pub fn cases(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == 0x1e)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    type Target = fn(&[u8]);

    /// The targets of this crate. `worker/src/fuzzing.rs` has those of the worker crate.
    const TARGETS: [(&str, Target); 10] = [
        ("call", super::call),
        ("connection", super::connection),
        ("envdir", super::envdir),
        ("files", super::files),
        ("inherited", super::inherited),
        ("notification", super::notification),
        ("specs", super::specs),
        ("state", super::state),
        ("takeover", super::takeover),
        ("values", super::values),
    ];

    /// Handwritten inputs are also cut after every byte: truncated input is the most common error.
    #[test]
    fn targets_accept_every_input_of_the_corpus() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        if !fuzz.exists() {
            return; // the published package has no corpus
        }
        let corpus = fuzz.join("corpus");
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(corpus.join(name)).expect(name);
            let mut count = 0;
            for input in inputs.map(|input| input.unwrap().path()) {
                println!("{}", input.display()); // shown if the test fails
                let bytes = fs::read(&input).unwrap();
                super::cases(&bytes).for_each(target);
                let is_handwritten = input.file_name().unwrap().len() < 40; // else a digest
                let ends = 0..if is_handwritten { bytes.len() } else { 0 };
                ends.for_each(|end| target(&bytes[..end]));
                count += 1;
            }
            assert!(count > 0, "{name}: the corpus is empty");
        }
    }
}
