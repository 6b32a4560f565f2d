use lock_core::{Cause, Condition, Death, Holder};

use super::lock::command_of;

/// The content of a lock file: the latest token, the owner, and the report that the next owner gets.
#[derive(Clone, Copy, Default)]
pub(super) struct Record {
    pub(super) token: u64,
    /// The thread that acquired the lock and has not released it.
    pub(super) owner: Option<ThreadIds>,
    report: Option<Report>,
}

/// A process id and a thread id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadIds {
    pub(super) pid: u32,
    pub(super) tid: u32,
}

/// The death or panic of an owner, after which no owner has marked the lock consistent.
#[derive(Clone, Copy)]
struct Report {
    owner: ThreadIds,
    panicked: bool,
}

impl Record {
    pub(super) const BYTES: usize = 32;

    /// Returns the record after an acquisition. An owner in the record from before is dead.
    pub(super) fn acquired_by(self, owner: ThreadIds) -> Self {
        let report = self.owner.map(|dead| Report { owner: dead, panicked: false }).or(self.report);
        Self { token: self.token + 1, owner: Some(owner), report }
    }

    /// Returns the record after a release by `owner`.
    pub(super) fn released_by(self, owner: ThreadIds, condition: Condition) -> Self {
        let report = match condition {
            Condition::Consistent => None,
            Condition::Panicked => Some(Report { owner, panicked: true }),
            _ => self.report,
        };
        Self { token: self.token, owner: None, report }
    }

    /// Returns the record after the owner has marked the lock consistent.
    pub(super) fn consistent(self) -> Self {
        Self { report: None, ..self }
    }

    /// Returns the report for the owner.
    pub(super) fn death(&self) -> Option<Death> {
        let report = self.report?;
        let cause = if report.panicked { Cause::Panicked } else { Cause::Unknown };
        Some(Death::of(Some(report.owner.holder())).with_cause(cause))
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (report, panicked) = self.report.map_or((None, false), |report| (Some(report.owner), report.panicked));
        let words = [self.token, ThreadIds::to_word(self.owner), ThreadIds::to_word(report), panicked.into()];
        let mut bytes = [0; Self::BYTES];
        for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
            eight.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[8 * at + byte]));
        let report = ThreadIds::from_word(word(2)).map(|owner| Report { owner, panicked: word(3) != 0 });
        Self { token: word(0), owner: ThreadIds::from_word(word(1)), report }
    }
}

impl ThreadIds {
    pub(super) fn holder(self) -> Holder {
        Holder::of_process(self.pid).with_thread(self.tid).with_command(command_of(self.pid))
    }

    fn to_word(ids: Option<Self>) -> u64 {
        ids.map_or(0, |ids| u64::from(ids.pid) | u64::from(ids.tid) << 32)
    }

    fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { pid: word as u32, tid: (word >> 32) as u32 })
    }
}
