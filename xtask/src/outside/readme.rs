//! The program in README.md, pasted into a new crate. It compiles without warnings and runs.

use std::fs;
use std::path::Path;

use super::expect;
use crate::Result;
use crate::shell::{self, root};

/// The store of the program. The check replaces it by one in its own directory.
const STORE: &str = "shm:my-engine";

pub(super) fn check(home: &Path, target: &Path) -> Result<()> {
    let path = home.join("readme");
    fs::create_dir_all(path.join("src"))?;
    let readme = fs::read_to_string(root().join("README.md"))?;
    let program = program(&readme).ok_or("README.md: there is no block of Rust with `fn main`")?;
    if !program.contains(STORE) {
        return Err(format!("README.md: the program does not open {STORE}").into());
    }
    fs::write(path.join("src/main.rs"), program.replace(STORE, &format!("shm:{}/store", path.display())))?;
    let manifest = format!(
        "[package]\nname = \"readme\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\nlock-any = {{ path = {:?} }}\n",
        root().join("lock-any")
    );
    fs::write(path.join("Cargo.toml"), manifest)?;
    // Pins the versions of the dependencies.
    fs::copy(root().join("Cargo.lock"), path.join("Cargo.lock"))?;
    let mut cargo = shell::cargo(["run", "--quiet"]);
    expect(cargo.current_dir(&path).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "--deny warnings"), 0, "lock 0")
}

/// The first block of Rust that is a whole program.
fn program(text: &str) -> Option<&str> {
    let blocks = text.split("```rust\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks.into_iter().find(|block| block.contains("fn main"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_not_a_program() {
        let text = "a\n```rust\nlet x;\n```\n```rust\nfn main() {}\n```\n";
        assert_eq!(program(text), Some("fn main() {}\n"));
        assert_eq!(program("```rust\nlet x;\n```"), None);
    }
}
