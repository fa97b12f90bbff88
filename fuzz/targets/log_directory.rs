//! The libFuzzer binary of [`treering_fuzz::log_directory`]; the target itself is that function.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| treering_fuzz::log_directory(bytes));
