//! Copies the sources that are checked, with the model's atomics in the place of the standard library's, its bounds, and the bugs
//! that can be switched on. A text that is to be changed must be there exactly once, so that a change of a source is noticed here.

#[path = "src/planted.rs"]
#[allow(unreachable_pub, reason = "in the library it is public")]
mod planted;
mod sources;

use std::path::{Path, PathBuf};
use std::{env, fs};

use planted::{PLANTED, Planted};
use sources::{SOURCES, Source, rename};

/// Names that mean the model's in a copy.
const NAMES: [(&str, &str); 14] = [
    ("crate::bitmap::", "crate::table::bitmap::"),
    ("crate::owner::", "crate::table::owner::"),
    ("crate::record::", "crate::table::record::"),
    ("crate::segment::", "crate::table::segment::"),
    ("crate::slot::", "crate::table::slot::"),
    ("crate::sparse::", "crate::table::sparse::"),
    ("crate::table::table::", "crate::table::"),
    ("use crate::layout;", "use crate::table::layout;"),
    ("lock_table::", "crate::table::"),
    ("std::sync::atomic", "crate::sync"),
    ("std::time::", "crate::process::"),
    ("std::process::", "crate::process::"),
    ("lock_core::", "crate::"),
    ("//!", "//"),
];

/// Other changes: bounds, so that there is an end, and checks of addresses before they are followed. The file, its text, and that of the
/// copy.
const BOUNDS: [(&str, &str, &str); 6] = [
    ("sys.rs", "    unsafe { (*place)", "    let _ = world::at(place.addr());\n    unsafe { (*place)"),
    ("sys.rs", "    unsafe { (*(untagged(node)", "    let _ = world::at(untagged(node));\n    unsafe { (*(untagged(node)"),
    ("lock.rs", "const SPINS: u32 = 100;", "const SPINS: u32 = 1;"),
    ("lock.rs", LOOP, FORGETFUL),
    ("record.rs", "const AT_COMMAND: std::ops::Range<usize> = 4..8;", "const AT_COMMAND: std::ops::Range<usize> = 4..5;"),
    ("record.rs", "const AT_LABEL: std::ops::Range<usize> = 8..16;", "const AT_LABEL: std::ops::Range<usize> = 5..7;"),
];

/// The beginning of a waiter's loop. These are all variables that a round of it leaves to the next.
const LOOP: &str = "        let word = &self.slot.hot().word;
        let mut spins = 0;
        // A thread that has slept acquires the lock with the bit set, because other threads may still be asleep.
        let mut waiters = 0;
        loop {
";
const FORGETFUL: &str = "        let word = &self.slot.hot().word;
        let mut spins = 0;
        let mut waiters = 0;
        loop {
            crate::step::forget((spins, waiters));
";

/// When this is set, no bugs can be switched on: for who changes the sources where they are.
const WITHOUT_PLANTED: &str = "LOCK_MODEL_WITHOUT_PLANTED";

fn main() {
    println!("cargo::rerun-if-env-changed={WITHOUT_PLANTED}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for source in &SOURCES {
        copy(source, &root, &out);
    }
}

fn copy(source: &Source, root: &Path, out: &Path) {
    let mut text = source.read(root);
    for (_, from, to) in BOUNDS.iter().filter(|bound| bound.0 == source.name) {
        text = source.replace(&text, from, to);
    }
    let planted: &[Planted] = if env::var_os(WITHOUT_PLANTED).is_some() { &[] } else { PLANTED };
    for bug in planted.iter().filter(|bug| bug.file == source.name) {
        let changed = source.replace(bug.place, bug.right, &either(bug));
        text = source.replace(&text, bug.place, &changed);
    }
    fs::write(out.join(source.name), rename(text, &NAMES)).expect("cargo's directory can be written to");
}

/// The text that does what the source says, or the wrong, whichever is switched on.
fn either(bug: &Planted) -> String {
    let either = format!("if crate::plant::is({:?}) {{ {} }} else {{ {} }}", bug.name, bug.wrong, bug.right);
    if bug.right.ends_with(';') { either } else { format!("({either})") }
}
