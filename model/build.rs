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

/// Some items of a source, whose other parts talk to the machine.
struct Items {
    path: &'static str,
    /// The name of the copy.
    name: &'static str,
    /// The block that they stand in.
    block: Option<&'static str>,
    /// Where they begin.
    starts: &'static [&'static str],
}

const ITEMS: [Items; 3] = [
    Items {
        path: "lock-core/src/table/slot.rs",
        name: "hot.rs",
        block: None,
        starts: &["#[repr(C)]\n#[derive(Debug)]\npub struct Hot {", "impl Hot {"],
    },
    Items {
        path: "lock-core/src/table/slot.rs",
        name: "slot.rs",
        block: Some("impl Slot"),
        starts: &[
            "    pub fn begin(&self, me: Owner) -> Acquired {",
            "    fn begin_after(",
            "    pub fn acquired(",
            "    pub fn take_note(",
            "    pub fn end(&self, me: Owner, ",
            "    pub fn mark_consistent(",
        ],
    },
    Items {
        path: "lock-shm/src/sys.rs",
        name: "sys.rs",
        block: None,
        starts: &[
            "#[repr(C)]\npub(crate) struct Head {",
            "extern \"C\" fn mark_list(",
            "fn mark_as_dead(",
            "pub(crate) fn link(",
            "pub(crate) fn unlink_only(",
            "pub(crate) fn unlink(",
            "unsafe fn set_prev(",
            "unsafe fn set_next(",
            "fn untagged(",
            "pub(crate) fn address(",
        ],
    },
];

/// Names that mean the model's in a copy.
const NAMES: [(&str, &str); 5] = [
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
    for path in WHOLE {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a source has a name");
        copy(path, &read(&root, path), name, &out);
    }
    for Items { path, name, block, starts } in ITEMS {
        let source = read(&root, path);
        let items = starts.iter().map(|start| item(path, &source, start)).collect::<Vec<_>>().join("\n");
        let items = block.map_or(items.clone(), |block| format!("{block} {{\n{items}}}\n"));
        copy(path, &items, name, &out);
    }
}

fn read(root: &Path, path: &str) -> String {
    println!("cargo::rerun-if-changed=../{path}");
    let source = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    source.split("\n#[cfg(test)]\n").next().unwrap_or_default().to_owned()
}

/// An item of a formatted source: to the first brace that closes at the indentation of its first line.
fn item<'a>(path: &str, source: &'a str, start: &str) -> &'a str {
    once(path, source, start);
    let (from, _) = source.match_indices(start).next().expect("it is there once");
    let indentation = start.len() - start.trim_start().len();
    let end = format!("\n{}}}\n", &start[..indentation]);
    let length = source[from..].find(&end).expect("an item ends");
    &source[from..from + length + end.len()]
}

fn copy(path: &str, source: &str, name: &str, out: &Path) {
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
