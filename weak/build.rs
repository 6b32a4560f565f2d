//! Copies the sources that are checked. Kept is everything but a few bounds, and the barrier of a release, which Miri has no call for.

#[path = "src/planted.rs"]
#[allow(unreachable_pub, reason = "in the library it is public")]
mod planted;
#[path = "../model/sources.rs"]
mod sources;

use std::path::PathBuf;
use std::{env, fs};

use planted::PLANTED;
use sources::{FUTEX, SOURCES, rename};

/// Names that mean the crate's own in a copy.
const NAMES: [(&str, &str); 13] = [
    ("crate::bitmap::", "crate::table::bitmap::"),
    ("crate::owner::", "crate::table::owner::"),
    ("crate::record::", "crate::table::record::"),
    ("crate::segment::", "crate::table::segment::"),
    ("crate::slot::", "crate::table::slot::"),
    ("crate::sparse::", "crate::table::sparse::"),
    ("crate::table::table::", "crate::table::"),
    ("use crate::layout;", "use crate::table::layout;"),
    ("lock_table::", "crate::table::"),
    ("std::time::", "crate::process::"),
    ("std::process::", "crate::process::"),
    ("lock_core::", "crate::"),
    ("//!", "//"),
];

/// The file, its text, and that of the copy.
const CHANGES: [(&str, &str, &str); 3] = [
    // Miri takes longer for each poll, and has other ways to let other threads run.
    ("lock.rs", "const SPINS: u32 = 100;", "const SPINS: u32 = 2;"),
    // The first round comes early.
    ("waiters.rs", "token.is_multiple_of(1024)", "token.is_multiple_of(4)"),
    // A `membarrier` of another thread and the fence of the compiler together are as two fences.
    (
        "waiters.rs",
        "    compiler_fence(Ordering::SeqCst);\n    if is_marked(hot, COMING | EXCHANGE) {",
        "    fence(Ordering::SeqCst);\n    if is_marked(hot, COMING | EXCHANGE) {",
    ),
];

/// Selects an order that is too weak.
const PLANT: &str = "LOCK_WEAK_PLANT";

fn main() {
    println!("cargo::rerun-if-env-changed={PLANT}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let plant = env::var(PLANT).ok();
    for source in SOURCES.iter().chain([&FUTEX]) {
        let mut text = source.read(&root);
        for (_, from, to) in CHANGES.iter().filter(|change| change.0 == source.name) {
            text = source.replace(&text, from, to);
        }
        for planted in PLANTED.iter().filter(|planted| planted.file == source.name) {
            source.once(&text, planted.right);
            if plant.as_deref() == Some(planted.name) {
                text = source.replace(&text, planted.right, planted.wrong);
            }
        }
        fs::write(out.join(source.name), rename(text, &NAMES)).expect("cargo's directory can be written to");
    }
}
