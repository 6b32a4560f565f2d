use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::bitmap::ones;
use once_cell::race::OnceBox;

const BITS: usize = u64::BITS as usize;
/// Words in a chunk.
const WORDS: usize = 64;

/// A bitmap of the groups of a segment in which this process has handles. It is private to the process.
///
/// A chunk of the bitmap is allocated when its first bit is set.
#[derive(Debug)]
pub(crate) struct TouchedGroups {
    chunks: Vec<OnceBox<[AtomicU64; WORDS]>>,
}

impl TouchedGroups {
    pub(crate) fn new(groups: usize) -> Self {
        Self { chunks: std::iter::repeat_with(OnceBox::new).take(groups.div_ceil(WORDS * BITS)).collect() }
    }

    pub(crate) fn set(&self, group: usize) {
        let chunk = &self.chunks[group / (WORDS * BITS)];
        let words = chunk.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
        let (word, bit) = (&words[group / BITS % WORDS], 1 << (group % BITS));
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// Returns the groups in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        let chunks = self.chunks.iter().enumerate().filter_map(|(at, chunk)| Some((at * WORDS, chunk.get()?)));
        let words = chunks.flat_map(|(first, words)| (first..).zip(words));
        words.flat_map(|(at, word)| ones(word.load(Acquire)).map(move |bit| at * BITS + bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iter_returns_each_group_once_in_ascending_order() {
        let groups = TouchedGroups::new(100_000);
        for group in [99_999, 0, 64, 63, 4096, 4095, 64] {
            groups.set(group);
        }
        assert!(groups.iter().eq([0, 63, 64, 4095, 4096, 99_999]));
    }
}
