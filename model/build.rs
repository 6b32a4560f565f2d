//! Copies the sources that are checked, with the model's atomics in the place of the standard library's, its bounds, and the bugs
//! that can be switched on. Whatever is to be changed must be there exactly once, so that a change of a source is noticed here.

#[path = "src/planted.rs"]
#[allow(unreachable_pub, reason = "in the library it is public")]
mod planted;

use std::path::{Path, PathBuf};
use std::{env, fs};

use planted::{PLANTED, Planted};

/// Sources that are taken whole, but for their tests.
const WHOLE: [&str; 7] = [
    "lock-core/src/table/owner.rs",
    "lock-core/src/table/bitmap.rs",
    "lock-core/src/table/record.rs",
    "lock-core/src/table/allocation.rs",
    "lock-shm/src/robust.rs",
    "lock-shm/src/lock.rs",
    "lock-shm/src/waiters.rs",
];

/// Items of sources that talk to the machine in their other parts: where they begin.
const ITEMS: [(&str, &[&str]); 2] = [
    ("lock-core/src/table/slot.rs", &["#[repr(C)]\n#[derive(Debug)]\npub struct Hot {", "impl Hot {"]),
    (
        "lock-shm/src/sys.rs",
        &[
            "#[repr(C)]\npub(crate) struct Head {",
            "pub(crate) fn link(",
            "pub(crate) fn unlink_only(",
            "pub(crate) fn unlink(",
            "unsafe fn set_prev(",
            "unsafe fn set_next(",
            "fn untagged(",
            "pub(crate) fn address(",
        ],
    ),
];

/// Names that mean the model's in a copy.
const NAMES: [(&str, &str); 5] = [
    ("std::sync::atomic", "crate::sync"),
    ("std::time::", "crate::process::"),
    ("std::process::", "crate::process::"),
    ("lock_core::", "crate::"),
    ("//!", "//"),
];

/// What is bounded, so that there is an end: the file, what it says, and what it says in the model.
const BOUNDS: [(&str, &str, &str); 4] = [
    ("lock.rs", "const SPINS: u32 = 100;", "const SPINS: u32 = 1;"),
    ("lock.rs", LOOP, FORGETFUL),
    ("record.rs", "const AT_COMMAND: std::ops::Range<usize> = 4..8;", "const AT_COMMAND: std::ops::Range<usize> = 4..5;"),
    ("record.rs", "const AT_LABEL: std::ops::Range<usize> = 8..16;", "const AT_LABEL: std::ops::Range<usize> = 5..7;"),
];

/// The beginning of the loop of a waiter. These are all variables that it has there; how often it doubted does not matter, since it
/// does not matter how long a sleep is.
const LOOP: &str = "        let word = &self.slot.hot().word;
        let mut spins = 0;
        let mut doubts = 0_u32;
        // Once it has slept it cannot know whether others do, so that it takes the lock with the bit set.
        let mut waiters = 0;
        loop {
";
const FORGETFUL: &str = "        let word = &self.slot.hot().word;
        let mut spins = 0;
        let mut doubts = 0_u32;
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
    for path in WHOLE {
        copy(path, &read(&root, path), &out);
    }
    for (path, items) in ITEMS {
        let source = read(&root, path);
        let items: Vec<&str> = items.iter().map(|start| item(path, &source, start)).collect();
        copy(path, &items.join("\n"), &out);
    }
}

fn read(root: &Path, path: &str) -> String {
    println!("cargo::rerun-if-changed=../{path}");
    let source = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    source.split("\n#[cfg(test)]\n").next().unwrap_or_default().to_owned()
}

/// An item of a formatted source: to the first brace that closes at the start of a line.
fn item<'a>(path: &str, source: &'a str, start: &str) -> &'a str {
    once(path, source, start);
    let (from, _) = source.match_indices(start).next().expect("it is there once");
    let length = source[from..].find("\n}\n").expect("an item ends");
    &source[from..from + length + 3]
}

fn copy(path: &str, source: &str, out: &Path) {
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a source has a name");
    let mut text = source.to_owned();
    for (_, from, to) in BOUNDS.iter().filter(|bound| bound.0 == name) {
        once(path, &text, from);
        text = text.replace(from, to);
    }
    let planted: &[Planted] = if env::var_os(WITHOUT_PLANTED).is_some() { &[] } else { PLANTED };
    for bug in planted.iter().filter(|bug| bug.file == name) {
        once(path, &text, bug.place);
        once(path, bug.place, bug.right);
        text = text.replace(bug.place, &bug.place.replace(bug.right, &either(bug)));
    }
    for (from, to) in NAMES {
        text = text.replace(from, to);
    }
    fs::write(out.join(name), text).expect("cargo's directory can be written to");
}

/// The text that does what the source says, or the wrong, whichever is switched on.
fn either(bug: &Planted) -> String {
    let either = format!("if crate::plant::is({:?}) {{ {} }} else {{ {} }}", bug.name, bug.wrong, bug.right);
    if bug.right.ends_with(';') { either } else { format!("({either})") }
}

fn once(path: &str, source: &str, text: &str) {
    let times = source.matches(text).count();
    assert_eq!(times, 1, "{path} has this {times} times, and the model needs it once:\n{text}\n");
}
