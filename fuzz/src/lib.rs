//! Defines a fuzz target by the function that it calls.

pub use libfuzzer_sys;
pub use server_starter::fuzzing::cases;

/// Defines the fuzz target of a program in `targets/`: it calls the function once for each case of
/// the input.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::cases(data).for_each($function);
        });
    };
}
