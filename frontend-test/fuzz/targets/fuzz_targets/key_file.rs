#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crane_fuzz::run("key_file", bytes));
