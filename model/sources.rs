//! The sources that are checked, for the build scripts of this crate and of `lock-weak`. A text that is to be changed must be there exactly
//! once, so that a change of a source is noticed here.

use std::fs;
use std::path::Path;

/// A source, or some items of one whose other parts talk to the machine.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: &'static str,
    /// The name of the copy.
    pub(crate) name: &'static str,
    /// The block that the items stand in.
    block: Option<&'static str>,
    /// Where the items begin; none for the whole source.
    starts: &'static [&'static str],
}

const fn whole(path: &'static str, name: &'static str) -> Source {
    Source { path, name, block: None, starts: &[] }
}

/// What both crates check.
pub(crate) const SOURCES: [Source; 10] = [
    whole("lock-table/src/owner.rs", "owner.rs"),
    whole("lock-table/src/bitmap.rs", "bitmap.rs"),
    whole("lock-table/src/record.rs", "record.rs"),
    whole("lock-table/src/allocation.rs", "allocation.rs"),
    whole("lock-shm/src/robust.rs", "robust.rs"),
    whole("lock-shm/src/lock.rs", "lock.rs"),
    whole("lock-shm/src/waiters.rs", "waiters.rs"),
    Source {
        path: "lock-table/src/lock_line.rs",
        name: "hot.rs",
        block: None,
        starts: &["#[repr(C)]\n#[derive(Debug)]\npub struct Hot {", "impl Hot {"],
    },
    Source {
        path: "lock-table/src/slot.rs",
        name: "slot.rs",
        block: Some("impl Slot"),
        starts: &[
            "    pub fn begin(&self, me: Owner) -> Acquired {",
            "    fn begin_after_death(",
            "    pub fn acquired(",
            "    pub fn take_note(",
            "    pub fn end(&self, me: Owner, ",
            "    pub fn mark_consistent(",
        ],
    },
    Source {
        path: "lock-shm/src/sys.rs",
        name: "sys.rs",
        block: None,
        starts: &[
            "#[repr(C)]\npub(crate) struct Head {",
            "extern \"C\" fn mark_list(",
            "fn mark_as_dead(",
            "pub(crate) fn is_empty(",
            "pub(crate) fn link_only(",
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

/// The system calls of lock-shm that a thread makes to sleep and to wake another.
#[allow(dead_code, reason = "the model has its own")]
pub(crate) const FUTEX: Source = Source {
    path: "lock-shm/src/sys.rs",
    name: "futex.rs",
    block: None,
    starts: &["pub(crate) fn wait(", "pub(crate) fn wake_one(", "fn monotonic("],
};

impl Source {
    /// The text without its tests.
    pub(crate) fn read(&self, root: &Path) -> String {
        println!("cargo::rerun-if-changed={}", root.join(self.path).display());
        let text = fs::read_to_string(root.join(self.path)).unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let text = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
        if self.starts.is_empty() {
            return text.to_owned();
        }
        let items = self.starts.iter().map(|start| self.item(text, start)).collect::<Vec<_>>().join("\n");
        self.block.map_or(items.clone(), |block| format!("{block} {{\n{items}}}\n"))
    }

    /// An item of a formatted source: to the first brace that closes at the indentation of its first line.
    fn item<'a>(&self, text: &'a str, start: &str) -> &'a str {
        self.once(text, start);
        let (from, _) = text.match_indices(start).next().expect("it is there once");
        let indentation = start.len() - start.trim_start().len();
        let end = format!("\n{}}}\n", &start[..indentation]);
        let length = text[from..].find(&end).expect("an item ends");
        &text[from..from + length + end.len()]
    }

    /// Replaces a text that must be there once.
    pub(crate) fn replace(&self, text: &str, from: &str, to: &str) -> String {
        self.once(text, from);
        text.replace(from, to)
    }

    pub(crate) fn once(&self, text: &str, part: &str) {
        let times = text.matches(part).count();
        assert_eq!(times, 1, "{} has this {times} times, and it is needed once:\n{part}\n", self.path);
    }
}

/// Replaces names, those that mean the crate's own in a copy.
pub(crate) fn rename(text: String, names: &[(&str, &str)]) -> String {
    names.iter().fold(text, |text, (from, to)| text.replace(from, to))
}
