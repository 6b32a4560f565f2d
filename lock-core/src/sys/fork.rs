//! Memory that the kernel zeroes in a forked child, and the handlers around `fork`.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// A multiple of the largest page of every architecture, so that the static below is a whole number of the kernel's pages.
const BYTES: usize = 65_536;
const WORDS: usize = BYTES / size_of::<AtomicU64>() - 1;

/// Words that are 0 in a forked child. The first is the fork epoch; [`ForkWords`] hands out the others.
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(65536)))]
struct ForkPage {
    epoch: AtomicU64,
    words: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<ForkPage>() == BYTES);

static PAGE: ForkPage = ForkPage { epoch: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] };

/// The fork epoch.
#[inline]
pub(crate) fn epoch() -> &'static AtomicU64 {
    &PAGE.epoch
}

/// Asks the kernel to zero the page in every forked child. False before Linux 4.14.
pub(crate) fn wipe_on_fork() -> bool {
    let page = &raw const PAGE;
    // SAFETY: the range is exactly the static `PAGE`, which is aligned to the largest page and a whole number of pages long, so that nothing
    // else is in it. The call changes no memory of this process. In a child, zeros are valid values of all of its words.
    unsafe { libc::madvise(page.cast_mut().cast(), size_of::<ForkPage>(), libc::MADV_WIPEONFORK) == 0 }
}

/// Zeroes the page, in a child of a kernel that cannot.
pub(crate) fn wipe() {
    PAGE.epoch.store(0, SeqCst);
    PAGE.words.iter().for_each(|word| word.store(0, SeqCst));
}

/// Two words that are 0 in a forked child until the child sets them.
#[derive(Debug)]
pub struct ForkWords {
    at: usize,
}

/// A bit for each pair of words that is in use.
static USED: [AtomicU64; PAIRS.div_ceil(64)] = [const { AtomicU64::new(0) }; PAIRS.div_ceil(64)];
const PAIRS: usize = WORDS / 2;

impl ForkWords {
    /// How many pairs a process has.
    pub const LIMIT: usize = PAIRS;

    /// A free pair, both words 0; `None` when all are in use.
    pub fn new() -> Option<Self> {
        (0..PAIRS).find(|at| USED[at / 64].fetch_or(1 << (at % 64), SeqCst) & (1 << (at % 64)) == 0).map(|at| Self { at })
    }

    /// The words, at an address that stays.
    pub fn words(&self) -> &'static [AtomicU64; 2] {
        let Some(pair) = PAGE.words[self.at * 2..].first_chunk() else { unreachable!("a pair has two words") };
        pair
    }
}

impl Drop for ForkWords {
    fn drop(&mut self) {
        self.words().iter().for_each(|word| word.store(0, Relaxed));
        USED[self.at / 64].fetch_and(!(1 << (self.at % 64)), SeqCst);
    }
}

/// Has these called around every `fork` of the process that goes through libc.
pub(crate) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the functions are statics of the object that this code is linked into. libc registers them on behalf of that object
    // (`__dso_handle`) and forgets them when the object is unloaded, so that none is called after its code is gone.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
