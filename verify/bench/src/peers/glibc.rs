//! Locks of glibc in memory shared by the processes of the benchmark.

use std::path::Path;

use crate::sys::{Attributes, Mutex, Region, Semaphore};

const PLAIN: usize = 256;
const SEMAPHORE: usize = 512;
/// Counters that are changed under locks, each on its own cache line.
const COUNTERS: usize = 1024;

/// The board of locks, each on its own cache lines.
#[derive(Debug)]
pub(crate) struct Board(Region);

impl Board {
    pub(crate) fn create(scratch: &Path) -> Self {
        let board = Self(Region::create(&scratch.join("board"), 8192));
        board.robust().init(&Attributes::shared(true));
        board.plain().init(&Attributes::shared(false));
        board.semaphore().init();
        board
    }

    pub(crate) fn open(scratch: &Path) -> Self {
        Self(Region::open(&scratch.join("board")))
    }

    /// A robust mutex.
    pub(crate) fn robust(&self) -> Mutex<'_> {
        self.0.mutex(0)
    }

    /// One that is not robust.
    pub(crate) fn plain(&self) -> Mutex<'_> {
        self.0.mutex(PLAIN)
    }

    pub(crate) fn semaphore(&self) -> Semaphore<'_> {
        self.0.semaphore(SEMAPHORE)
    }

    pub(crate) fn counter(&self, number: usize) -> &std::sync::atomic::AtomicU64 {
        self.0.counter(COUNTERS + number * 128)
    }
}
