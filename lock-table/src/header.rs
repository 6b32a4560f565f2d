//! The header in the first page of a table's file: the identity of the store and the directory of segments.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::hash::fnv1a;
use crate::kind::Kind;
use crate::layout::{ENTRIES, ENTRIES_PER_PAGE, HEADER_WORDS, SEGMENTS, WAITERS, WAITERS_PER_PAGE, WORD};
use crate::options::Bound;
use crate::raised_bound;
use lock_core::{Error, Result, StoreId};

/// The version of the format, which is incremented with each change of the layout.
pub(crate) const VERSION: u32 = 5;

const MAGIC: u64 = u64::from_le_bytes(*b"LOCKTBL\n");

// Words that never change, and the checksum over them.
const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 1;
const AT_KIND: usize = 2;
const AT_ABI: usize = 3;
const AT_BOUND: usize = 4;
const AT_ID: usize = 5;
const AT_BOOT: usize = 7;
const AT_CREATED: usize = 9;
const AT_SUM: usize = 10;
const AT_HOME: usize = 11;
const FIXED_WORDS: usize = 16;
// Words that change.
const AT_SEGMENTS: usize = 16;
const AT_STATE: usize = 17;
const AT_ENTRY_PAGES: usize = 18;
const ENTRY_PAGE_WORDS: usize = (ENTRIES / ENTRIES_PER_PAGE).div_ceil(64);
const AT_NEXT_ENTRY: usize = AT_ENTRY_PAGES + ENTRY_PAGE_WORDS;
const AT_LOCATION: usize = AT_NEXT_ENTRY + 1;
const AT_NAME_CLAIMS: usize = AT_LOCATION + 1;
/// The number of claims of names.
pub(crate) const NAME_CLAIMS: usize = 64;
const AT_WAITER_PAGES: usize = AT_NAME_CLAIMS + NAME_CLAIMS;
const WAITER_PAGE_WORDS: usize = (WAITERS / WAITERS_PER_PAGE).div_ceil(64);
const AT_UNRECORDED: usize = AT_WAITER_PAGES + WAITER_PAGE_WORDS;
const AT_RAISED_BOUND: usize = AT_UNRECORDED + 1;
const USED_WORDS: usize = AT_RAISED_BOUND + 1;

/// The fields of the header that never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The bound at the creation, see [`super::growth`].
    pub(crate) bound: Bound,
    pub(crate) id: StoreId,
    /// The boot id of the system at creation.
    pub(crate) boot: u128,
    /// The time of the creation, in nanoseconds since 1970.
    pub(crate) created: u64,
    /// The inode of the creator's PID namespace. Processes in it are *at home*. 0 if it is unknown, and then no process is at home.
    pub(crate) home: u64,
}

impl Header {
    pub(crate) fn new(kind: Kind, bound: Bound, id: StoreId, boot: u128, home: u64) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Self { kind, bound, id, boot, created, home }
    }

    /// Returns the time of the creation, for display.
    pub(crate) fn creation(&self) -> String {
        // The greatest number of nanoseconds is in the year 2554.
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(self.created)).to_string()
    }

    /// Encodes the page of a new store, which has segment 0.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut words = [0_u64; HEADER_WORDS];
        words[AT_MAGIC] = MAGIC;
        words[AT_VERSION] = u64::from(VERSION);
        words[AT_KIND] = self.kind.tag();
        words[AT_ABI] = self.kind.abi;
        words[AT_BOUND] = self.bound.limit();
        [words[AT_ID], words[AT_ID + 1]] = halves(self.id.get());
        [words[AT_BOOT], words[AT_BOOT + 1]] = halves(self.boot);
        words[AT_CREATED] = self.created;
        words[AT_HOME] = self.home;
        words[AT_SUM] = sum(&words);
        words[AT_SEGMENTS] = 1;
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// Decodes and validates the first page of a file, which may have any content.
    ///
    /// `page` is shorter than a page only if the file is.
    pub(crate) fn decode(page: &[u8], kind: Kind, file: &Path) -> Result<Self> {
        let mut words = [0_u64; HEADER_WORDS];
        for (word, bytes) in words.iter_mut().zip(page.chunks_exact(WORD)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("chunks_exact returns eight bytes"));
        }
        if words[AT_MAGIC] != MAGIC {
            let reason = if page.is_empty() { "it is empty" } else { "it does not start with the magic number" };
            return Err(Error::not_a_store(reason));
        }
        // A file that ends before the version is reported as truncated.
        let has_version = page.len() >= (AT_VERSION + 1) * WORD;
        if has_version && words[AT_VERSION] != u64::from(VERSION) {
            let found = u32::try_from(words[AT_VERSION]).unwrap_or(u32::MAX);
            return Err(Error::other_version(found, VERSION, file));
        }
        if page.len() < HEADER_WORDS * WORD {
            return Err(corrupt(format!("the file is truncated to {} bytes", page.len())));
        }
        if words[AT_SUM] != sum(&words) {
            return Err(corrupt("the checksum of the header is wrong"));
        }
        let found = Kind::decode(words[AT_KIND], words[AT_ABI], kind);
        if found != Some(kind) {
            let found = found.map_or_else(|| Kind::describe_unknown(words[AT_KIND], words[AT_ABI]), |kind| kind.to_string());
            return Err(Error::other_abi(found, kind.to_string()));
        }
        if words[USED_WORDS..].iter().any(|word| *word != 0) {
            return Err(corrupt("unused words of the header are not 0"));
        }
        if words[AT_SEGMENTS] & 1 == 0 || words[AT_SEGMENTS] >> SEGMENTS != 0 {
            return Err(corrupt("the directory of segments is not valid"));
        }
        match words[AT_STATE] {
            0 => {}
            1 => return Err(Error::destroyed()),
            _ => return Err(corrupt("the state of the store is not valid")),
        }
        let bound = match words[AT_BOUND] {
            0x1_0000_0000 => Bound::Unbounded,
            locks => match u32::try_from(locks) {
                Ok(locks @ 1..) => Bound::Locks(locks),
                _ => return Err(corrupt("the capacity is not valid")),
            },
        };
        raised_bound::decode(words[AT_RAISED_BOUND], bound).ok_or_else(|| corrupt(raised_bound::INVALID))?;
        Ok(Self {
            kind,
            bound,
            id: StoreId::new(whole(words[AT_ID], words[AT_ID + 1])),
            boot: whole(words[AT_BOOT], words[AT_BOOT + 1]),
            created: words[AT_CREATED],
            home: words[AT_HOME],
        })
    }
}

/// Returns the directory of segments in a decoded page: bit n is set if segment n exists.
pub(crate) fn segments(page: &[u8]) -> u64 {
    word(page, AT_SEGMENTS)
}

/// Returns the present bound in a decoded page with this header.
pub(crate) fn present_bound(page: &[u8], header: &Header) -> Bound {
    raised_bound::decode(word(page, AT_RAISED_BOUND), header.bound).unwrap_or(header.bound)
}

fn word(page: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(page[at * WORD..][..WORD].try_into().expect("the slice has the size of a word"))
}

/// The words of a mapped header that change during the life of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a> {
    /// Bit n is set if segment n exists.
    pub(crate) segments: &'a AtomicU64,
    /// 1 if the store was destroyed, otherwise 0.
    pub(crate) destroyed: &'a AtomicU64,
    /// The bitmap of the pages of the process table that are backed by blocks.
    pub(crate) entry_pages: &'a [AtomicU64],
    /// The number of entries that were tried. The next process starts at this entry.
    pub(crate) next_entry: &'a AtomicU64,
    /// A hash of the location of the file, see [`super::location`]; 0 until a process opens the file.
    pub(crate) location: &'a AtomicU64,
    /// The threads that allocate names, see [`super::names`]; 0 for none.
    pub(crate) name_claims: &'a [AtomicU64],
    /// The bitmap of the pages of the waiter table that are backed by blocks.
    pub(crate) waiter_pages: &'a [AtomicU64],
    /// The start of the latest wait that could not be recorded, see [`super::waiters`]; 0 if there is none.
    pub(crate) unrecorded: &'a AtomicU64,
    /// The bound that was raised, see [`super::growth`]; 0 if it was not.
    pub(crate) raised_bound: &'a AtomicU64,
}

impl<'a> State<'a> {
    pub(crate) fn new(header: &'a [AtomicU64]) -> Self {
        Self {
            segments: &header[AT_SEGMENTS],
            destroyed: &header[AT_STATE],
            entry_pages: &header[AT_ENTRY_PAGES..AT_NEXT_ENTRY],
            next_entry: &header[AT_NEXT_ENTRY],
            location: &header[AT_LOCATION],
            name_claims: &header[AT_NAME_CLAIMS..AT_WAITER_PAGES],
            waiter_pages: &header[AT_WAITER_PAGES..AT_UNRECORDED],
            unrecorded: &header[AT_UNRECORDED],
            raised_bound: &header[AT_RAISED_BOUND],
        }
    }
}

pub(crate) fn corrupt(reason: impl Into<String>) -> Error {
    Error::corrupt(reason)
}

/// Returns the checksum: FNV-1a over the words that never change, without the checksum.
fn sum(words: &[u64; HEADER_WORDS]) -> u64 {
    let fixed = words[..FIXED_WORDS].iter().enumerate().filter(|(at, _)| *at != AT_SUM);
    fnv1a(fixed.flat_map(|(_, word)| word.to_le_bytes()))
}

fn halves(whole: u128) -> [u64; 2] {
    [(whole >> 64) as u64, whole as u64]
}

fn whole(high: u64, low: u64) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::{ErrorDetails, ErrorKind};

    const KIND: Kind = Kind::new("test", 7);

    fn decode(page: &[u8], kind: Kind) -> Result<Header> {
        Header::decode(page, kind, Path::new("/a/store"))
    }

    fn header() -> Header {
        Header::new(KIND, Bound::Locks(2048), StoreId::new(0x1234_5678_9abc_def0_0fed_cba9_8765_4321), 42, 7)
    }

    #[test]
    fn decode_inverts_encode() {
        let header = header();
        assert_eq!(decode(&header.encode(), KIND).unwrap(), header);
        let unbounded = Header { bound: Bound::Unbounded, ..header };
        assert_eq!(decode(&unbounded.encode(), KIND).unwrap().bound, Bound::Unbounded);
    }

    #[test]
    fn every_changed_byte_of_the_fixed_words_is_detected() {
        let page = header().encode();
        for at in 0..page.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = page.clone();
                changed[at] ^= flip;
                let harmless = (AT_SEGMENTS * WORD..USED_WORDS * WORD).contains(&at);
                assert!(decode(&changed, KIND).is_err() || harmless, "byte {at} ^ {flip:#x}");
            }
        }
    }

    #[test]
    fn creation_formats_every_number() {
        let creation = |created| Header { created, ..header() }.creation();
        assert_eq!(creation(0), "1970-01-01T00:00:00Z");
        assert_eq!(creation(1_700_000_000_999_999_999), "2023-11-14T22:13:20Z");
        assert_eq!(creation(u64::MAX), "2554-07-21T23:34:33Z");
    }

    #[test]
    fn every_truncation_is_detected() {
        let page = header().encode();
        for length in 0..page.len() {
            let error = decode(&page[..length], KIND).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::NotAStore | ErrorKind::Corrupt), "{length}: {error}");
        }
    }

    #[test]
    fn another_backend_and_another_abi_are_refused() {
        let page = header().encode();
        let error = decode(&page, Kind::new("other", 7)).unwrap_err().to_string();
        assert!(error.contains("of the backend test") && error.contains("not other"), "{error}");
        assert!(matches!(decode(&page, Kind::new("test", 8)).unwrap_err().kind(), ErrorKind::OtherAbi));
        let described = |name| Kind::new(name, 8).described(|abi| format!("{abi} bits"));
        let error = decode(&page, described("test")).unwrap_err().to_string();
        assert!(error.contains("of the backend test (7 bits)") && error.contains("not test (8 bits)"), "{error}");
        let error = decode(&page, described("other")).unwrap_err().to_string();
        assert!(error.contains("of the backend test (ABI 0x7)"), "{error}");
    }

    #[test]
    fn another_version_is_refused_with_advice() {
        let mut page = header().encode();
        page[AT_VERSION * WORD] += 1;
        let error = decode(&page, KIND).unwrap_err();
        assert!(matches!(error.details(), ErrorDetails::OtherVersion { found: 6, known: VERSION, .. }), "{error}");
        assert!(error.to_string().contains("remove /a/store"), "{error}");
    }
}
