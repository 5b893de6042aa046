//! Defines a fuzz target by the function that it calls.

pub use libfuzzer_sys;
pub use server_starter::fuzzing::cases;

/// Defines the fuzz target of a program in `targets/`: it calls the function once for each case of
/// the input. Each case gets memory of its own, so that the address sanitizer sees where it ends.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            for case in $crate::cases(data) {
                $function(&case.to_vec());
            }
        });
    };
}
