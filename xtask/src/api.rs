//! `api`: lists the public items of each published library, so that a change of them is seen in a review.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo, root};

/// The version of rustdoc's JSON that the library `public-api` reads. Rust 1.95 writes it.
const FORMAT: u64 = 57;

/// Writes the listing of each published library, or fails if one is out of date.
pub(crate) fn run(check: bool) -> Result<()> {
    let metadata = Metadata::load()?;
    let target = metadata.target()?.join("api");
    let mut is_stale = false;
    for package in metadata.published().iter().filter(|package| package.dir.join("src/lib.rs").exists()) {
        let mut rustdoc = cargo(["rustdoc", "--quiet", "--lib", "--all-features", "--package", &package.name, "--target-dir"]);
        rustdoc.arg(&target).args(["--", "-Zunstable-options", "--output-format", "json", "--cap-lints", "allow"]);
        // The JSON is a feature of nightly. A stable compiler of a known version writes a known format.
        shell::run(rustdoc.env("RUSTC_BOOTSTRAP", "1"))?;
        let json = target.join("doc").join(package.name.replace('-', "_")).with_extension("json");
        let Some(listing) = listing(&json)? else {
            eprintln!("skipped: the listings are made with Rust 1.95, and this Rust writes another version of rustdoc's JSON");
            return Ok(());
        };
        let path = root().join("docs/api").join(&package.name).with_extension("txt");
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if committed != listing {
            is_stale = true;
            print_difference(&path, &committed, &listing);
            if !check {
                fs::write(&path, listing)?;
            }
        }
    }
    if check && is_stale {
        let advice = "if that is intended, run `cargo xtask api`, and add the change to CHANGELOG.md";
        return Err(format!("the public API differs from its listing; {advice}").into());
    }
    Ok(())
}

/// The public items in a file that rustdoc has written, one per line. `None` if this Rust writes another version of JSON.
fn listing(json: &Path) -> Result<Option<String>> {
    let document: Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    if document["format_version"] != FORMAT {
        return Ok(None);
    }
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build()?;
    // Traits of the compiler, which no program can name.
    let is_internal = |line: &String| ["Freeze", "UnsafeUnpin", "StructuralPartialEq"].iter().any(|name| line.contains(name));
    Ok(Some(api.items().map(|item| format!("{item}\n")).filter(|line| !is_internal(line)).collect()))
}

/// Prints the lines that were removed and added.
fn print_difference(path: &Path, before: &str, after: &str) {
    println!("{}:", path.strip_prefix(root()).unwrap_or(path).display());
    let only_in = |text: &str, other: &str, sign: char| {
        let other: BTreeSet<_> = other.lines().collect();
        text.lines().filter(|line| !other.contains(line)).for_each(|line| println!("{sign} {line}"));
    };
    only_in(before, after, '-');
    only_in(after, before, '+');
}
