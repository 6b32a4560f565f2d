//! A hash that is the same in every program, whatever it was built with.

/// FNV-1a.
pub(crate) fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The same, folded to 32 bits.
pub(crate) fn fnv32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let hash = fnv(bytes);
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_one() {
        assert_eq!(fnv(*b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(*b"foobar"), 0x8594_4171_f739_67e8);
    }
}
