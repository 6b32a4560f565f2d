//! The effects of notes on the state.

use super::State;
use crate::bounds::name;
use crate::note::{Note, Phase};
use crate::oracle::Id;

impl State {
    pub(crate) fn note(&mut self, number: usize, note: Note) {
        let (oracle, thread) = (&mut self.oracle, &mut self.threads[number]);
        match note {
            Note::Enter { .. } | Note::Leave { .. } => unreachable!("these are executed without a step"),
            Note::TimedOut { lock } => {
                (thread.stage.locks[lock], thread.woken, thread.armed) = (Phase::Outside, false, false);
            }
            Note::Marked { lock } => {
                thread.stage.reported[lock] = false;
                oracle.mark(lock);
            }
            Note::Allocated { id } => {
                thread.stage.allocating = false;
                if let Id::Of(other) = oracle.ids[id] {
                    oracle.wrong(format!("it allocates an id that {} has", name(other)));
                }
                oracle.ids[id] = Id::Of(number);
            }
            Note::Freeing { id } => {
                if std::mem::replace(&mut oracle.ids[id], Id::BeingFreedBy(number)) != Id::Of(number) {
                    oracle.wrong("another thread has allocated its id".to_owned());
                }
            }
            Note::Freed { id } => {
                if oracle.ids[id] == Id::BeingFreedBy(number) {
                    oracle.ids[id] = Id::Free;
                }
            }
            Note::Claimed => {
                if let Some(other) = oracle.claimant.replace(number) {
                    oracle.wrong(format!("it acquires a claim that {} has", name(other)));
                }
            }
            Note::ReleasingClaim => {
                if oracle.claimant.take() != Some(number) {
                    oracle.wrong("another thread has acquired its claim".to_owned());
                }
            }
            Note::Wrong(what) => oracle.wrong(what.to_owned()),
        }
    }
}
