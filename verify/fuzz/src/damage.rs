//! Damage to the file of a valid table, each described by a recipe of eight bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use lock_table::thread;

const PAGE: u64 = 4096;
const SEATS: u64 = PAGE;
const WAITERS: u64 = SEATS + 16_384 * 128;
const SEGMENT: u64 = WAITERS + 16_384 * 32;
const LINES: u64 = SEGMENT + PAGE;
const RECORDS: u64 = LINES + 64 * 64;
/// Maximum length of a damaged file. Longer files make a test slow and test nothing new.
const LONGEST: u64 = 8 << 20;
/// Number of constant words in the header. The eleventh is the checksum of the others.
const FIXED: usize = 16;
const AT_SUM: usize = 10;
/// The last kind of recipe.
const SEAL: u8 = 7;

/// Damages the file. Returns whether the checksum of its header must detect that.
pub(crate) fn damage_all(file: &File, recipes: &[u8]) -> io::Result<bool> {
    let fixed = || -> io::Result<[u8; FIXED * 8]> {
        let mut words = [0; FIXED * 8];
        file.read_at(&mut words, 0)?;
        Ok(words)
    };
    let (before, recipes) = (fixed()?, recipes.as_chunks::<8>().0);
    recipes.iter().try_for_each(|recipe| damage(file, *recipe))?;
    let is_sealed = recipes.iter().any(|recipe| recipe[0] % 8 == SEAL);
    Ok(!is_sealed && fixed()? != before)
}

/// Applies one recipe.
fn damage(file: &File, recipe: [u8; 8]) -> io::Result<()> {
    let [what, place, low, high, length, value, a, b] = recipe;
    let number = u64::from(u16::from_le_bytes([low, high]));
    let (start, size) = match place % 9 {
        // The constant words of the header, and the others.
        0 => (0, FIXED as u64 * 8),
        1 => (FIXED as u64 * 8, 79 * 8),
        2 => (SEATS + u64::from(std::process::id() % 1024) * 128, 128),
        3 => (SEATS, 16_384 * 128),
        4 => (SEGMENT, 160),
        5 => (LINES, 64 * 64),
        6 => (RECORDS, 64 * 128),
        7 => (WAITERS, 16_384 * 32),
        _ => (0, file.metadata()?.len().max(1)),
    };
    // The offset has two bytes. It counts words if the area has more than 65,536 bytes.
    let at = start + if size > 1 << 16 { number * 8 % size } else { number % size };
    let word = at / 8 * 8;
    match what % 8 {
        0 => file.write_all_at(&[value], at),
        1 => file.write_all_at(&vec![value; usize::from(length) + 1], at),
        2 => {
            let mut byte = [0];
            file.read_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ (1 << (value % 8))], at)
        }
        3 => file.write_all_at(&interesting(value, [a, b]).to_ne_bytes(), word),
        4 => {
            let stride = if place.is_multiple_of(2) { 64 } else { 128 };
            let places = (0..u64::from(length)).map(|n| word + n * stride);
            places
                .take_while(|at| *at < LONGEST)
                .try_for_each(|at| file.write_all_at(&interesting(value, [a, b]).to_ne_bytes(), at))
        }
        5 => file.set_len(at.min(LONGEST)),
        6 => file.set_len((SEGMENT + number * 128).min(LONGEST)),
        SEAL.. => seal(file),
    }
}

/// Returns a word that has a meaning in some field of a table.
fn interesting(choice: u8, [a, b]: [u8; 2]) -> u64 {
    let tid = u64::from(thread::id());
    let number = u64::from(u16::from_le_bytes([a, b]));
    let seat = u64::from(std::process::id() % 1024);
    match choice % 12 {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX - 1,
        3 => number,
        4 => 1 << (a % 64),
        5 => u64::MAX << (a % 64),
        // Owner words: the calling thread in the first generation of its entry; any process in any generation; a thread id alone.
        6 => (1 << 38) | (seat << 22) | tid,
        7 => (u64::from(a) << 38) | (number << 22) | tid,
        8 => tid,
        // Futex words: the owner died; a thread waits; both.
        9 => u64::from(a & 1) << 31 | 1 << 30,
        10 => 1 << 31 | tid,
        _ => 0x1_0000_0000,
    }
}

/// Corrects the checksum of the header, so that the damage behind it is tested.
fn seal(file: &File) -> io::Result<()> {
    let mut words = [[0; 8]; FIXED];
    for (at, word) in words.iter_mut().enumerate() {
        file.read_at(word, at as u64 * 8)?;
    }
    let bytes = words.iter().enumerate().filter(|(at, _)| *at != AT_SUM).flat_map(|(_, word)| word);
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    file.write_all_at(&sum.to_le_bytes(), AT_SUM as u64 * 8)
}
