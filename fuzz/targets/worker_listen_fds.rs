#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| server_starter_worker::fuzzing::worker_listen_fds(data));
