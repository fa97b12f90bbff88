//! The libFuzzer binary of [`treering_fuzz::frame_operations`]; the target itself is that function.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| treering_fuzz::frame_operations(bytes));
