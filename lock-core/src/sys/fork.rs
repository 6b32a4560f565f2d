//! Memory that the kernel zeroes in a forked child, and the registration of fork handlers.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The size of [`ForkPage`]: a multiple of the largest page size of every architecture.
const BYTES: usize = 65_536;
const WORDS: usize = BYTES / size_of::<AtomicU64>() - 1;

/// Words that are 0 in a forked child: the fork epoch, and those that [`ForkWords`] allocates.
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(65536)))]
struct ForkPage {
    epoch: AtomicU64,
    words: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<ForkPage>() == BYTES);

static PAGE: ForkPage = ForkPage { epoch: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] };

/// Returns the fork epoch.
#[inline]
pub(crate) fn epoch() -> &'static AtomicU64 {
    &PAGE.epoch
}

/// Asks the kernel to zero the page in every forked child. Returns false before Linux 4.14.
pub(crate) fn wipe_on_fork() -> bool {
    let page = &raw const PAGE;
    // SAFETY: the range is exactly the static `PAGE`, whose alignment and size are multiples of the page size, so the advice covers
    // nothing else. The call changes no memory of this process. In a child, 0 is a valid value of each word.
    unsafe { libc::madvise(page.cast_mut().cast(), size_of::<ForkPage>(), libc::MADV_WIPEONFORK) == 0 }
}

/// Zeroes the page, for a child on a kernel without `MADV_WIPEONFORK`.
pub(crate) fn wipe() {
    PAGE.epoch.store(0, SeqCst);
    PAGE.words.iter().for_each(|word| word.store(0, SeqCst));
}

/// Two words that are 0 in a forked child until the child writes them.
#[derive(Debug)]
pub struct ForkWords {
    pair: usize,
}

/// A bitmap of the allocated pairs.
static USED: [AtomicU64; PAIRS.div_ceil(64)] = [const { AtomicU64::new(0) }; PAIRS.div_ceil(64)];
const PAIRS: usize = WORDS / 2;

impl ForkWords {
    /// The number of pairs in a process.
    pub const LIMIT: usize = PAIRS;

    /// Allocates a pair of words, both 0. Returns `None` when all pairs are allocated.
    pub fn new() -> Option<Self> {
        let allocate = |pair: &usize| USED[pair / 64].fetch_or(1 << (pair % 64), SeqCst) & (1 << (pair % 64)) == 0;
        (0..PAIRS).find(allocate).map(|pair| Self { pair })
    }

    /// Returns the words. Their address is constant.
    pub fn words(&self) -> &'static [AtomicU64; 2] {
        let Some(words) = PAGE.words[self.pair * 2..].first_chunk() else { unreachable!("the index of a pair is below PAIRS") };
        words
    }
}

impl Drop for ForkWords {
    fn drop(&mut self) {
        self.words().iter().for_each(|word| word.store(0, Relaxed));
        USED[self.pair / 64].fetch_and(!(1 << (self.pair % 64)), SeqCst);
    }
}

/// Registers handlers that libc calls around every `fork` (pthread_atfork(3)).
pub(crate) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the functions are part of the object that this code is linked into. libc registers them for that object
    // (`__dso_handle`) and removes them when the object is unloaded, so that it never calls unloaded code.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
