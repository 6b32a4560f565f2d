//! The record of an id: its allocation and the latest death of an owner of its lock.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::env;
use crate::env::{AtomicU64, fence};
use crate::layout::{COMMAND_WORDS, RECORD_WORDS};
use crate::owner::Owner;
use lock_core::{Allocation, Generation, Holder, Label, LockId};

const AT_CLAIM: usize = 0;
const AT_GENERATION: usize = 1;
/// The time of the allocation, in seconds since 1970, in the high 34 bits; its tag ([`NO_NAME`], [`TEMPORARY`] or that of its name) in
/// the next 8 bits; the process id of the allocator in the low 22 bits.
const AT_SINCE: usize = 2;
/// The owner whose death is reported to the next owner, see [`super::Slot::record_death`]. Only the owner of the lock writes it.
const AT_DEATH: usize = 3;
/// The [`Birth`] of the allocator.
const AT_BIRTH: usize = 4;
const AT_COMMAND: Range<usize> = 5..5 + COMMAND_WORDS;
const AT_LABEL: Range<usize> = AT_COMMAND.end..RECORD_WORDS;

/// The tag of an allocation that has no name and lasts until it is freed.
pub(crate) const NO_NAME: u8 = 0;
/// The tag of an allocation that lasts as long as its allocator, see [`super::reclaiming`]. No name has it.
pub(crate) const TEMPORARY: u8 = u8::MAX;

const PID_BITS: u32 = 22;
const PID: u64 = (1 << PID_BITS) - 1;
const SINCE_SHIFT: u32 = PID_BITS + u8::BITS;

/// The start time and the PID namespace of a process in one word. With the process id they identify the process.
///
/// The start time is in the high 36 bits. The low 28 bits are the inode of the namespace minus [`Birth::LOWEST_NAMESPACE`]. 0 is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Birth(u64);

impl Birth {
    /// Below the inodes of all PID namespaces: the first one has 0xeffffffc, and the kernel counts the others from 0xf0000000 on.
    const LOWEST_NAMESPACE: u64 = 0xefff_fff0;
    const NAMESPACE_BITS: u32 = 28;

    /// Encodes a start time in clock ticks since boot, and the inode of a PID namespace. Either may be 0 if it is unknown.
    pub(crate) fn new(start_time: u64, namespace: u64) -> Self {
        let offset = namespace.wrapping_sub(Self::LOWEST_NAMESPACE);
        let fits =
            start_time != 0 && start_time >> (u64::BITS - Self::NAMESPACE_BITS) == 0 && offset >> Self::NAMESPACE_BITS == 0;
        Self(if fits { (start_time << Self::NAMESPACE_BITS) | offset } else { 0 })
    }

    /// Returns the start time and the namespace, if they are known.
    pub(crate) fn decode(self) -> Option<(u64, u64)> {
        let start_time = self.0 >> Self::NAMESPACE_BITS;
        let offset = self.0 & ((1 << Self::NAMESPACE_BITS) - 1);
        (start_time != 0).then_some((start_time, Self::LOWEST_NAMESPACE + offset))
    }
}

/// The words of a record.
pub(crate) type RecordWords = [AtomicU64; RECORD_WORDS];

/// The record was written while it was read.
#[derive(Debug)]
pub(crate) struct WrittenMeanwhile;

/// What the allocations of a call have in common: the process, its birth and command, and the time, as they are stored.
#[derive(Debug)]
pub(crate) struct Allocator {
    since_and_pid: u64,
    birth: Birth,
    command: [u64; COMMAND_WORDS],
}

impl Allocator {
    /// The calling process with this birth and command, now.
    pub(crate) fn new(birth: Birth, command: &str) -> Self {
        let mut words = encode_text(command, COMMAND_WORDS);
        Self {
            since_and_pid: (env::unix_time() << SINCE_SHIFT) | (u64::from(env::process_id()) & PID),
            birth,
            command: std::array::from_fn(|_| words.next().unwrap_or(0)),
        }
    }
}

/// The record of an id. Only the claimant writes its words, except for the claim and the death.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a>(&'a RecordWords);

impl<'a> Record<'a> {
    pub(crate) fn new(words: &'a RecordWords) -> Self {
        Self(words)
    }

    /// Claims the right to change the record.
    ///
    /// Returns false if a live thread has the claim. The claim of a dead thread is replaced.
    pub(crate) fn claim(self, me: Owner, is_dead: impl Fn(Owner) -> bool) -> bool {
        me.claim(&self.0[AT_CLAIM], is_dead)
    }

    pub(crate) fn unclaim(self) {
        self.0[AT_CLAIM].store(0, Release);
    }

    /// Writes a new allocation, and returns its generation. The caller publishes it afterwards.
    ///
    /// `tag` is the tag of the name, [`NO_NAME`] or [`TEMPORARY`].
    pub(crate) fn write(self, label: &Label, tag: u8, allocator: &Allocator) -> Generation {
        // A sequence lock: the word is odd while the record is being written. It stays odd when the writer is killed.
        let sequence = self.0[AT_GENERATION].load(Relaxed);
        // Wraps around, because a damaged store may have the largest number.
        let writing = sequence.wrapping_add(1) | 1;
        self.0[AT_GENERATION].store(writing, Relaxed);
        fence(Release);
        self.0[AT_SINCE].store(allocator.since_and_pid | (u64::from(tag) << PID_BITS), Relaxed);
        self.0[AT_BIRTH].store(allocator.birth.0, Relaxed);
        for (word, eight) in self.0[AT_COMMAND].iter().zip(allocator.command) {
            word.store(eight, Relaxed);
        }
        write_text(&self.0[AT_LABEL], label.as_str());
        self.0[AT_GENERATION].store(writing.wrapping_add(1), Release);
        Generation::new(writing.wrapping_add(1) / 2)
    }

    /// Returns the tag of the allocation.
    pub(crate) fn tag(self) -> u8 {
        (self.0[AT_SINCE].load(Relaxed) >> PID_BITS) as u8
    }

    /// Returns the process id and the birth of the allocator.
    ///
    /// They belong together if the caller has the claim of the record.
    pub(crate) fn allocator(self) -> (u32, Birth) {
        ((self.0[AT_SINCE].load(Relaxed) & PID) as u32, Birth(self.0[AT_BIRTH].load(Relaxed)))
    }

    /// Returns the generation if the id is allocated with this label and this tag.
    ///
    /// `is_allocated` returns the bit of the id. The bit is read between two reads of the generation. If the generation is the same, the
    /// bit belongs to the allocation in the record.
    ///
    /// # Errors
    /// When the record was written during the read.
    pub(crate) fn find(
        self,
        label: &[u64],
        tag: u8,
        is_allocated: impl FnOnce() -> bool,
    ) -> Result<Option<Generation>, WrittenMeanwhile> {
        let sequence = self.0[AT_GENERATION].load(Acquire);
        if sequence % 2 == 1 {
            return Err(WrittenMeanwhile);
        }
        let mut words = self.0[AT_LABEL].iter().zip(label);
        let is_equal = self.tag() == tag && words.all(|(word, expected)| word.load(Relaxed) == *expected);
        let is_found = is_equal && is_allocated();
        fence(Acquire);
        let is_same = self.0[AT_GENERATION].load(Relaxed) == sequence;
        if is_same { Ok(is_found.then(|| Generation::new(sequence / 2))) } else { Err(WrittenMeanwhile) }
    }

    /// Returns the current generation, or the next one while it is being written.
    pub(crate) fn generation(self) -> Generation {
        Generation::new(self.0[AT_GENERATION].load(Acquire).div_ceil(2))
    }

    /// Returns the word that contains the generation.
    #[cfg(test)]
    pub(crate) fn generation_word(self) -> &'a AtomicU64 {
        &self.0[AT_GENERATION]
    }

    /// Returns the word that contains the recorded death.
    pub(crate) fn death_word(self) -> &'a AtomicU64 {
        &self.0[AT_DEATH]
    }

    /// Reads the allocation. Returns `None` when the record was written during the read.
    pub(crate) fn read(self, id: LockId) -> Option<Allocation> {
        let sequence = self.0[AT_GENERATION].load(Acquire);
        if sequence % 2 == 1 {
            return None;
        }
        let mut allocation = Allocation::new(id);
        allocation.generation = Some(Generation::new(sequence / 2));
        allocation.label = Label::new(read_text(&self.0[AT_LABEL])).unwrap_or_default();
        let since = self.0[AT_SINCE].load(Relaxed);
        let pid = (since & PID) as u32;
        let tag = (since >> PID_BITS) as u8;
        allocation.is_named = tag != NO_NAME && tag != TEMPORARY;
        allocation.is_temporary = tag == TEMPORARY;
        let mut allocator = Holder::of_process(pid).with_command(read_text(&self.0[AT_COMMAND]));
        if let Some((start_time, namespace)) = Birth(self.0[AT_BIRTH].load(Relaxed)).decode() {
            (allocator.start_time, allocator.pid_namespace) = (Some(start_time), Some(namespace));
        }
        allocation.allocator = Some(allocator);
        allocation.since = Some(since >> SINCE_SHIFT);
        fence(Acquire);
        (self.0[AT_GENERATION].load(Relaxed) == sequence).then_some(allocation)
    }
}

/// Writes a text and zeros. The text is truncated at a character boundary to the size of the words.
pub(crate) fn write_text(words: &[AtomicU64], text: &str) {
    let (eights, rest) = truncate(text, words.len()).as_bytes().as_chunks::<8>();
    let mut words = words.iter();
    for (eight, word) in eights.iter().zip(words.by_ref()) {
        word.store(u64::from_le_bytes(*eight), Relaxed);
    }
    if !rest.is_empty()
        && let Some(word) = words.next()
    {
        word.store(last_word(rest), Relaxed);
    }
    words.for_each(|word| word.store(0, Relaxed));
}

/// Returns the words of a text, and zeros without end. The text is truncated at a character boundary to this number of words.
pub(crate) fn encode_text(text: &str, words: usize) -> impl Iterator<Item = u64> {
    let (eights, rest) = truncate(text, words).as_bytes().as_chunks::<8>();
    eights.iter().copied().map(u64::from_le_bytes).chain([last_word(rest)]).chain(std::iter::repeat(0))
}

/// Returns the start of a text, up to the last character that ends within this number of words.
fn truncate(text: &str, words: usize) -> &str {
    let mut end = text.len().min(words * 8);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the word of at most eight bytes, followed by zeros.
fn last_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Reads a text that [`write_text`] has written.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birth_keeps_each_start_time_and_namespace_or_neither() {
        let (first, last) = (0xefff_fffc, 0xffff_ffef);
        for (start, namespace) in [(1, first), (1 << 20, 0xf000_0000), ((1 << 36) - 1, last)] {
            assert_eq!(Birth::new(start, namespace).decode(), Some((start, namespace)));
        }
        for (start, namespace) in [(0, first), (1, 0), (1 << 36, first), (1, 4), (1, last + 1), (1, u64::MAX)] {
            assert_eq!(Birth::new(start, namespace).decode(), None, "{start} {namespace:#x}");
        }
    }
}
