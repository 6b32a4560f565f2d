//! Commands to close the descriptors of a peer, and to open its own files under their numbers.

use std::os::fd::RawFd;

use lock_core::{Error, Result};

use super::own_file::OwnFile;
use super::worker::Worker;
use crate::protocol::Fields;
use crate::sys;

impl Worker {
    pub(super) fn close_or_reuse(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            // Spares the socket to the suite, and the standard descriptors.
            ("close_everything", []) => done("close_range", sys::close_all_but(&self.peer.link_fds())),
            ("close_on_exec", []) => done("close_range", sys::close_all_on_exec()),
            ("close_standard", []) => {
                for number in 0..3 {
                    let _ = nix::unistd::close(number);
                }
                Ok(Fields::new())
            }
            // Stands for `println!` and `eprintln!`.
            ("write_standard", []) => {
                for number in 1..3 {
                    let _ = sys::write_to(number, b"a line of the program's own\n");
                }
                Ok(Fields::new())
            }
            ("open_own_files", [directory, until]) => self.open_own_files(directory, number(until)),
            ("duplicate_over", [path, numbers @ ..]) => self.duplicate_over(path, numbers),
            ("own_files", []) => Ok(match self.own_files.iter().find_map(OwnFile::damage) {
                Some(damage) => Fields::new().with("damage", damage),
                None => Fields::new(),
            }),
            _ => return None,
        })
    }

    /// Opens files until every number up to `until` is open.
    fn open_own_files(&mut self, directory: &str, until: RawFd) -> Result<Fields> {
        let mut opened = 0;
        while opened == 0 || (0..=until).any(|number| !sys::is_open(number)) {
            self.own_files.push(OwnFile::create(&format!("{directory}/own-{}-{opened}", std::process::id()))?);
            opened += 1;
        }
        Ok(Fields::new().with("opened", opened))
    }

    /// Creates a file and duplicates its descriptor over all these numbers.
    fn duplicate_over(&mut self, path: &str, numbers: &[&str]) -> Result<Fields> {
        let own = OwnFile::create(path)?;
        for target in numbers.iter().map(|target| number(target)).filter(|target| *target != own.number()) {
            self.own_files.push(own.duplicate_over(target)?);
        }
        self.own_files.push(own);
        Ok(Fields::new())
    }
}

fn done(call: &'static str, outcome: std::io::Result<()>) -> Result<Fields> {
    outcome.map(|()| Fields::new()).map_err(|error| Error::system(call, error))
}

fn number(text: &str) -> RawFd {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no descriptor"))
}
