//! A step of a sequence, decoded from four bytes.

use std::collections::BTreeSet;
use std::time::Duration;

use lock_core::Deadline;

/// The kind of waiting of an acquisition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Try,
    Now,
    Zero,
    Short,
    /// Without a deadline. The sequence uses `Zero` instead if the lock is held.
    Never,
}

impl Wait {
    pub(crate) fn deadline(self) -> Option<Deadline> {
        match self {
            Self::Try => None,
            Self::Now => Some(Deadline::Now),
            Self::Zero => Some(Deadline::after(Duration::ZERO)),
            Self::Short => Some(Deadline::after(Duration::from_micros(500))),
            Self::Never => Some(Deadline::Never),
        }
    }
}

/// An operation. `id` is at most the capacity, which is out of range. `handle` is an index modulo the number of handles.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Allocate { label: String },
    AllocateTemporary { label: String },
    AllocateExact { id: u32, label: String },
    Named { name: String },
    Retrieve { id: u32 },
    Forget { handle: usize },
    Free { id: u32 },
    FreeHandle { handle: usize },
    FreeAll,
    Reconcile { ids: BTreeSet<u32> },
    Acquire { thread: usize, handle: usize, wait: Wait },
    Release { thread: usize, id: u32, by_drop: bool },
    Die { thread: usize },
    Reopen { release: bool },
    Reclaim,
    Grow { capacity: u32 },
    OpenWrongly,
}

impl Step {
    pub(crate) fn decode([what, a, b, c]: [u8; 4], capacity: u32) -> Self {
        let id = u32::from(a) % (capacity + 1);
        let handle = usize::from(a);
        let thread = usize::from(b % 2);
        match what % 32 {
            0..2 => Self::Allocate { label: label(a) },
            2 => Self::AllocateTemporary { label: label(a) },
            // Few different names, so that many are found.
            3 => Self::Named { name: label(a % 16) },
            4..6 => Self::AllocateExact { id, label: label(b) },
            6..9 => Self::Retrieve { id },
            9 => Self::Forget { handle },
            10..12 => Self::Free { id },
            12..14 => Self::FreeHandle { handle },
            14 => Self::FreeAll,
            15 => {
                Self::Reconcile { ids: (0..=capacity).filter(|id| [a, b][*id as usize / 8 % 2] >> (id % 8) & 1 == 1).collect() }
            }
            16..24 => {
                let waits = [Wait::Try, Wait::Now, Wait::Zero, Wait::Short, Wait::Never];
                Self::Acquire { thread, handle, wait: waits[usize::from(c) % waits.len()] }
            }
            24..28 => Self::Release { thread, id, by_drop: c % 2 == 0 },
            28 => Self::Die { thread },
            29 => Self::Reopen { release: c % 2 == 0 },
            30 if c % 4 == 0 => Self::Reclaim,
            // At most 64, so that all ids are in one group.
            30 => Self::Grow { capacity: (capacity + u32::from(a % 8)).saturating_sub(2).min(64) },
            _ => Self::OpenWrongly,
        }
    }
}

/// Returns a label: empty, short, of the maximum length, or invalid.
fn label(choice: u8) -> String {
    match choice % 8 {
        0 | 1 => String::new(),
        2 => "é".repeat(32),
        3 => "x".repeat(65),
        4 => "two\nlines".to_owned(),
        _ => format!("label {choice}"),
    }
}
