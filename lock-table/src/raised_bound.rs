//! The word of the header with a raised bound, see [`super::growth`].

use crate::options::Bound;

/// Encodes a raised bound in a word: the greatest id, and its complement as a check.
pub(crate) fn encode(bound: Bound) -> u64 {
    let greatest = bound.limit() - 1;
    greatest | !greatest << u32::BITS
}

/// Decodes the word of a raised bound. 0 is a table that has not grown.
///
/// Returns `None` if the word is not valid. A raised bound is greater than the one at the creation.
pub(crate) fn decode(word: u64, created: Bound) -> Option<Bound> {
    let (greatest, check) = (word as u32, (word >> u32::BITS) as u32);
    let bound = Bound::of_limit(u64::from(greatest) + 1);
    match word {
        0 => Some(created),
        _ if greatest == !check && bound.limit() > created.limit() => Some(bound),
        _ => None,
    }
}

/// The damage of a table whose word cannot be decoded.
pub(crate) const INVALID: &str = "the raised capacity is not valid";

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::LockId;

    fn bound(limit: u64) -> Bound {
        Bound::of_limit(limit)
    }

    /// Bounds around each power of two.
    fn limits() -> impl Iterator<Item = u64> {
        (0..=32)
            .flat_map(|power| [-1, 0, 1].map(|more| (1_u64 << power).saturating_add_signed(more)))
            .filter(|limit| (1..=LockId::LIMIT).contains(limit))
    }

    #[test]
    fn zero_is_the_bound_of_the_creation() {
        limits().for_each(|created| assert_eq!(decode(0, bound(created)), Some(bound(created))));
    }

    #[test]
    fn a_raised_bound_is_decoded_as_it_was_encoded() {
        for raised in limits() {
            for created in limits() {
                let expected = (created < raised).then(|| bound(raised));
                assert_eq!(decode(encode(bound(raised)), bound(created)), expected, "{created} raised to {raised}");
            }
        }
    }

    #[test]
    fn a_word_with_a_changed_bit_is_refused() {
        for raised in limits().filter(|raised| *raised > 1) {
            for bit in 0..u64::BITS {
                assert_eq!(decode(encode(bound(raised)) ^ 1 << bit, bound(1)), None, "{raised}, bit {bit}");
            }
        }
    }
}
