//! Fingerprints of 128 bits. The probability that two different states have the same fingerprint is negligible.

use std::hash::{Hash, Hasher};

/// Adds a value to a fingerprint.
pub(crate) fn mix(before: u128, value: u64) -> u128 {
    let (low, high) = (before as u64, (before >> 64) as u64);
    let low = (low ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let high = (high.rotate_left(29) ^ value).wrapping_mul(0xc2b2_ae3d_27d4_eb4f).wrapping_add(low >> 31);
    let low = low ^ (low >> 32) ^ high.rotate_left(17);
    (u128::from(high ^ (high >> 29)) << 64) | u128::from(low)
}

/// Returns the fingerprint of a word of memory. The fingerprint of the memory is the exclusive or over its words.
pub(crate) fn word(at: usize, value: u64) -> u128 {
    mix(mix(mix(0x5bd1_e995, at as u64), value), 0)
}

/// Returns the fingerprint of a value.
pub(crate) fn of(value: &impl Hash) -> u128 {
    let mut hasher = Mixer(1);
    value.hash(&mut hasher);
    hasher.0
}

struct Mixer(u128);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.0 = mix(self.0, u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.0 = mix(self.0, value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0, value);
    }

    fn write_usize(&mut self, value: usize) {
        self.0 = mix(self.0, value as u64);
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = mix(mix(self.0, value as u64), (value >> 64) as u64);
    }
}
