//! A step of a sequence, from four bytes.

use std::collections::BTreeSet;
use std::time::Duration;

use lock_core::Deadline;

/// How one waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Try,
    Now,
    Zero,
    Short,
    /// For ever, where that is not long.
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

/// `id` may be one beyond the capacity; `handle` is one of those that are there, counted around.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Allocate { label: String },
    AllocateExact { id: u32, label: String },
    Retrieve { id: u32 },
    Forget { handle: usize },
    Free { id: u32 },
    FreeHandle { handle: usize },
    FreeAll,
    Reconcile { ids: BTreeSet<u32> },
    Take { who: usize, handle: usize, wait: Wait },
    Give { who: usize, id: u32, by_drop: bool },
    Die { who: usize },
    Reopen { release: bool },
    OpenWrongly,
}

impl Step {
    pub(crate) fn decode([what, a, b, c]: [u8; 4], capacity: u32) -> Self {
        let id = u32::from(a) % (capacity + 1);
        let handle = usize::from(a);
        let who = usize::from(b % 2);
        match what % 32 {
            0..4 => Self::Allocate { label: label(a) },
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
                Self::Take { who, handle, wait: waits[usize::from(c) % waits.len()] }
            }
            24..28 => Self::Give { who, id, by_drop: c % 2 == 0 },
            28 => Self::Die { who },
            29 | 30 => Self::Reopen { release: c % 2 == 0 },
            _ => Self::OpenWrongly,
        }
    }
}

/// Empty ones, some that fit, the longest, and some that are refused.
fn label(choice: u8) -> String {
    match choice % 8 {
        0 | 1 => String::new(),
        2 => "é".repeat(32),
        3 => "x".repeat(65),
        4 => "two\nlines".to_owned(),
        _ => format!("label {choice}"),
    }
}
