#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lock_fuzz::url(bytes));
