#![no_main]

// The first byte selects the backend. The last backend is excluded, because its semaphore sets would outlive a crash.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((backend, bytes)) = bytes.split_first() {
        lock_fuzz::sequence(&lock_fuzz::BACKENDS[usize::from(*backend) % 3], bytes);
    }
});
