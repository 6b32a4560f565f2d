//! What is known of an allocation: kept beside the bitmap, in words.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::env;
use crate::env::{AtomicU64, fence};
use crate::layout::{COMMAND_WORDS, RECORD_WORDS};
use crate::owner::Owner;
use lock_core::{Allocation, Generation, Holder, Label, LockId};

const AT_CLAIM: usize = 0;
const AT_GENERATION: usize = 1;
/// Seconds since the epoch in the high 40 bits, the process id of the allocator in the others.
const AT_SINCE: usize = 2;
/// Whose death the next owner of the lock is told, see [`super::Slot::take_note`]. The owner of the lock changes it, and not the claimant.
const AT_DEATH: usize = 3;
const AT_COMMAND: Range<usize> = 4..4 + COMMAND_WORDS;
const AT_LABEL: Range<usize> = AT_COMMAND.end..RECORD_WORDS;

const PID_BITS: u32 = 24;

/// The record of one id. Whoever changes more of it than the claim has the claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a>(&'a [AtomicU64]);

impl<'a> Record<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// Claims the id for a change, against all who would change it too. A claim of a dead process counts for nothing.
    pub(crate) fn claim(self, me: Owner, is_dead: impl Fn(Owner) -> bool) -> bool {
        me.claim(&self.0[AT_CLAIM], is_dead)
    }

    pub(crate) fn unclaim(self) {
        self.0[AT_CLAIM].store(0, Release);
    }

    /// Writes down a new allocation, before it is published.
    pub(crate) fn write(self, label: &Label, command: &str) {
        // As in a sequence lock, the word is odd while the rest is being written, and a killed writer leaves it odd.
        let sequence = self.0[AT_GENERATION].load(Relaxed);
        // In a damaged store it may be the greatest number, and begins again.
        let writing = sequence.wrapping_add(1) | 1;
        self.0[AT_GENERATION].store(writing, Relaxed);
        fence(Release);
        self.0[AT_SINCE].store((env::unix_time() << PID_BITS) | u64::from(env::process_id()), Relaxed);
        write_text(&self.0[AT_COMMAND], command);
        write_text(&self.0[AT_LABEL], label.as_str());
        self.0[AT_GENERATION].store(writing.wrapping_add(1), Release);
    }

    /// The present allocation, or the one that is being written down.
    pub(crate) fn generation(self) -> Generation {
        Self::generation_of(self.generation_word())
    }

    /// The word that says so.
    pub(crate) fn generation_word(self) -> &'a AtomicU64 {
        &self.0[AT_GENERATION]
    }

    /// The word that says whose death the next owner is told.
    pub(crate) fn death_word(self) -> &'a AtomicU64 {
        &self.0[AT_DEATH]
    }

    pub(crate) fn generation_of(word: &AtomicU64) -> Generation {
        Generation::new(word.load(Acquire).div_ceil(2))
    }

    /// What is written down; `None` when that changed meanwhile.
    pub(crate) fn read(self, id: LockId) -> Option<Allocation> {
        let sequence = self.0[AT_GENERATION].load(Acquire);
        if sequence % 2 == 1 {
            return None;
        }
        let mut allocation = Allocation::new(id);
        allocation.generation = Some(Generation::new(sequence / 2));
        allocation.label = Label::new(read_text(&self.0[AT_LABEL])).unwrap_or_default();
        let since = self.0[AT_SINCE].load(Relaxed);
        let pid = (since & ((1 << PID_BITS) - 1)) as u32;
        allocation.allocator = Some(Holder::of_process(pid).with_command(read_text(&self.0[AT_COMMAND])));
        allocation.since = Some(since >> PID_BITS);
        fence(Acquire);
        (self.0[AT_GENERATION].load(Relaxed) == sequence).then_some(allocation)
    }
}

/// Writes a text, cut to what fits, and zeros behind it.
pub(crate) fn write_text(words: &[AtomicU64], text: &str) {
    let mut end = text.len().min(words.len() * 8);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (eights, rest) = text.as_bytes()[..end].as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let zeros = std::iter::repeat([0; 8]);
    for (word, eight) in words.iter().zip(eights.iter().copied().chain([last]).chain(zeros)) {
        word.store(u64::from_le_bytes(eight), Relaxed);
    }
}

/// Reads what [`write_text`] wrote.
pub(crate) fn read_text(words: &[AtomicU64]) -> String {
    let mut bytes = Vec::with_capacity(size_of_val(words));
    for word in words {
        let eight = word.load(Relaxed).to_le_bytes();
        bytes.extend_from_slice(&eight);
        if eight.contains(&0) {
            break;
        }
    }
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
