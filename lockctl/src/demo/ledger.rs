//! The files that the demo's processes count in, and a protocol by which the count is exact whatever is killed.
//!
//! A section adds 1 to the number in `counter`: a plain read, then a plain write, so that two sections at once lose one. Whoever
//! does so has written down before what it is about to do (the *intent*: who, which section of theirs, and what the counter was), and
//! afterwards puts the section on its own account and takes the intent back. Each step is one small `pwrite`, which a kill does not
//! tear. If the owner dies, the next one finds the intent and finishes the section. So the accounts together say how often somebody
//! was inside, and the counter must say the same.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the accounts begin in the file `ledger`; the intent is at 0.
const ACCOUNTS: u64 = 64;

#[derive(Debug)]
pub(super) struct Ledger {
    counter: File,
    ledger: File,
}

/// A section that is under way: the account it goes on, that account's new state, and the counter before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Intent {
    account: u64,
    sections: u64,
    counter: u64,
}

impl Ledger {
    /// New files in a directory.
    pub(super) fn create(dir: &Path, accounts: u64) -> io::Result<Self> {
        let ledger = Self::with(dir, OpenOptions::new().read(true).write(true).create_new(true))?;
        ledger.counter.write_all_at(&[0; 8], 0)?;
        ledger.ledger.write_all_at(&vec![0; (ACCOUNTS + 8 * accounts) as usize], 0)?;
        Ok(ledger)
    }

    /// The files in that directory.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Self::with(dir, OpenOptions::new().read(true).write(true))
    }

    fn with(dir: &Path, options: &OpenOptions) -> io::Result<Self> {
        Ok(Self { counter: options.open(dir.join("counter"))?, ledger: options.open(dir.join("ledger"))? })
    }

    /// Finishes the section that somebody left under way; says whether there was one. Called under the lock.
    pub(super) fn finish(&self) -> io::Result<bool> {
        let Some(intent) = self.intent()? else { return Ok(false) };
        write(&self.counter, 0, intent.counter + 1)?;
        self.close(intent)?;
        Ok(true)
    }

    /// Goes through a section, calling `step` with 0, 1, … between its steps; says whether nobody else was in. Called under the
    /// lock.
    pub(super) fn section(&self, account: u64, mut step: impl FnMut(u32)) -> io::Result<bool> {
        step(0);
        let sections = read(&self.ledger, ACCOUNTS + 8 * account)? + 1;
        let counter = read(&self.counter, 0)?;
        let intent = Intent { account, sections, counter };
        self.intend(intent)?;
        step(1);
        write(&self.counter, 0, counter + 1)?;
        step(2);
        let alone = self.intent()? == Some(intent);
        self.close(intent)?;
        step(3);
        Ok(alone)
    }

    /// How often somebody was inside, by the accounts, and what the counter says.
    pub(super) fn expected_and_found(&self, accounts: u64) -> io::Result<(u64, u64)> {
        let sections = (0..accounts).map(|account| read(&self.ledger, ACCOUNTS + 8 * account)).sum::<io::Result<u64>>()?;
        Ok((sections, read(&self.counter, 0)?))
    }

    fn intent(&self) -> io::Result<Option<Intent>> {
        let mut bytes = [0; 32];
        self.ledger.read_exact_at(&mut bytes, 0)?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * at + i]));
        Ok((word(0) == 1).then(|| Intent { account: word(1), sections: word(2), counter: word(3) }))
    }

    fn intend(&self, intent: Intent) -> io::Result<()> {
        let mut bytes = [0; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip([1, intent.account, intent.sections, intent.counter]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        self.ledger.write_all_at(&bytes, 0)
    }

    fn close(&self, intent: Intent) -> io::Result<()> {
        write(&self.ledger, ACCOUNTS + 8 * intent.account, intent.sections)?;
        write(&self.ledger, 0, 0)
    }
}

fn read(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

fn write(file: &File, at: u64, value: u64) -> io::Result<()> {
    file.write_all_at(&value.to_le_bytes(), at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_section_that_ends_at_any_step_is_counted_once_or_not_at_all() {
        for last in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let ledger = Ledger::create(dir.path(), 2).unwrap();
            assert!(ledger.section(0, |_| {}).unwrap());
            let cut = catch_unwind(AssertUnwindSafe(|| ledger.section(1, |step| assert_ne!(step, last))));
            assert!(cut.is_err(), "the section is cut at step {last}");
            assert_eq!(ledger.finish().unwrap(), last == 1 || last == 2);
            assert!(!ledger.finish().unwrap(), "what is finished is finished");
            let sections = if last == 0 { 1 } else { 2 };
            assert_eq!(ledger.expected_and_found(2).unwrap(), (sections, sections));
        }
    }

    #[test]
    fn two_in_a_section_at_once_are_noticed_and_lose_a_count() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(dir.path(), 2).unwrap();
        let alone = ledger.section(0, |step| {
            if step == 1 {
                ledger.section(1, |_| {}).unwrap();
            }
        });
        assert!(!alone.unwrap());
        assert_eq!(ledger.expected_and_found(2).unwrap(), (2, 1));
    }
}
