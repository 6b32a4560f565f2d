//! The counter of the demo, and a log by which the count is exact after any kill.
//!
//! A section increments the number in `counter` by a plain read and a plain write, so two concurrent sections lose an increment.
//! Before that, the worker writes an *intent* to the log: its account, the number of its section, and the value of the counter.
//! Afterwards it adds the section to its account and clears the intent. Each step is one small `pwrite`, which a kill does not
//! split. If the owner dies, the next owner finds the intent and finishes the section. So the sum of the accounts is the number of
//! sections, and the counter must have the same value.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Offset of the accounts in the file `log`. The intent is at 0.
const ACCOUNTS: u64 = 64;

#[derive(Debug)]
pub(super) struct AuditLog {
    counter: File,
    log: File,
}

/// An unfinished section: its account, the account's new value, and the counter before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Intent {
    account: u64,
    sections: u64,
    counter: u64,
}

impl AuditLog {
    /// Creates the files in a directory.
    pub(super) fn create(dir: &Path, accounts: u64) -> io::Result<Self> {
        let log = Self::with(dir, OpenOptions::new().read(true).write(true).create_new(true))?;
        log.counter.write_all_at(&[0; 8], 0)?;
        log.log.write_all_at(&vec![0; (ACCOUNTS + 8 * accounts) as usize], 0)?;
        Ok(log)
    }

    /// Opens the files in a directory.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Self::with(dir, OpenOptions::new().read(true).write(true))
    }

    fn with(dir: &Path, options: &OpenOptions) -> io::Result<Self> {
        Ok(Self { counter: options.open(dir.join("counter"))?, log: options.open(dir.join("log"))? })
    }

    /// Finishes an unfinished section. Returns whether there was one. Called under the lock.
    pub(super) fn finish(&self) -> io::Result<bool> {
        let Some(intent) = self.intent()? else { return Ok(false) };
        write(&self.counter, 0, intent.counter + 1)?;
        self.close(intent)?;
        Ok(true)
    }

    /// Runs a section, and calls `step` with 0, 1, … between its steps. Returns whether no other section ran meanwhile. Called under
    /// the lock.
    pub(super) fn section(&self, account: u64, mut step: impl FnMut(u32)) -> io::Result<bool> {
        step(0);
        let sections = read(&self.log, ACCOUNTS + 8 * account)? + 1;
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

    /// Returns the sum of the accounts, and the value of the counter.
    pub(super) fn expected_and_found(&self, accounts: u64) -> io::Result<(u64, u64)> {
        let sections = (0..accounts).map(|account| read(&self.log, ACCOUNTS + 8 * account)).sum::<io::Result<u64>>()?;
        Ok((sections, read(&self.counter, 0)?))
    }

    fn intent(&self) -> io::Result<Option<Intent>> {
        let mut bytes = [0; 32];
        self.log.read_exact_at(&mut bytes, 0)?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * at + i]));
        Ok((word(0) == 1).then(|| Intent { account: word(1), sections: word(2), counter: word(3) }))
    }

    fn intend(&self, intent: Intent) -> io::Result<()> {
        let mut bytes = [0; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip([1, intent.account, intent.sections, intent.counter]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        self.log.write_all_at(&bytes, 0)
    }

    fn close(&self, intent: Intent) -> io::Result<()> {
        write(&self.log, ACCOUNTS + 8 * intent.account, intent.sections)?;
        write(&self.log, 0, 0)
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
    fn an_interrupted_section_is_counted_once_or_not_at_all() {
        for last in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let log = AuditLog::create(dir.path(), 2).unwrap();
            assert!(log.section(0, |_| {}).unwrap());
            let cut = catch_unwind(AssertUnwindSafe(|| log.section(1, |step| assert_ne!(step, last))));
            assert!(cut.is_err(), "the section is cut at step {last}");
            assert_eq!(log.finish().unwrap(), last == 1 || last == 2);
            assert!(!log.finish().unwrap(), "there is no second section to finish");
            let sections = if last == 0 { 1 } else { 2 };
            assert_eq!(log.expected_and_found(2).unwrap(), (sections, sections));
        }
    }

    #[test]
    fn concurrent_sections_are_detected_and_lose_an_increment() {
        let dir = tempfile::tempdir().unwrap();
        let log = AuditLog::create(dir.path(), 2).unwrap();
        let alone = log.section(0, |step| {
            if step == 1 {
                log.section(1, |_| {}).unwrap();
            }
        });
        assert!(!alone.unwrap());
        assert_eq!(log.expected_and_found(2).unwrap(), (2, 1));
    }
}
