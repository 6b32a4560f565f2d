//! Invalid stores, URLs, ids and labels: one line on stderr, the exit code of the error, and no change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rstest::rstest;

use crate::scratch::Scratch;

type Damage = fn(&Path);

fn truncate(file: &Path) {
    let half = fs::metadata(file).unwrap().len() / 2;
    fs::File::options().write(true).open(file).unwrap().set_len(half).unwrap();
}

fn cut_to_a_stub(file: &Path) {
    fs::File::options().write(true).open(file).unwrap().set_len(10).unwrap();
}

fn empty(file: &Path) {
    fs::write(file, "").unwrap();
}

fn overwrite(file: &Path) {
    fs::write(file, "This is a text. ".repeat(10_000)).unwrap();
}

fn open_to_the_group(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o660)).unwrap();
}

fn replace_by_a_symlink(file: &Path) {
    let aside = file.with_extension("aside");
    fs::rename(file, &aside).unwrap();
    symlink(&aside, file).unwrap();
}

fn link_twice(file: &Path) {
    fs::hard_link(file, file.with_extension("other")).unwrap();
}

#[rstest]
#[case(truncate, 65)]
#[case(cut_to_a_stub, 65)]
#[case(empty, 65)]
#[case(overwrite, 65)]
#[case(open_to_the_group, 77)]
#[case(replace_by_a_symlink, 77)]
#[case(link_twice, 77)]
fn a_damaged_or_unsafe_store_is_refused_and_not_changed(#[case] damage: Damage, #[case] code: i32) {
    let scratch = Scratch::with_store();
    damage(&scratch.file());
    let before = fs::read(scratch.file()).unwrap();
    for args in [&["list"][..], &["allocate"], &["run", "3", "--", "true"], &["free", "0"], &["destroy", "--yes"]] {
        scratch.fails(code, args);
    }
    assert!(fs::read(scratch.file()).unwrap() == before, "the file has been changed");
}

#[rstest]
#[case("nonsense", 64, "no scheme")]
#[case("shm:x?capacity", 64, "KEY=VALUE")]
#[case("shm:x?colour=red", 64, "colour")]
#[case("shm:x?capacity=many", 64, "capacity=many")]
#[case("no-such-scheme:x", 78, "no-such-scheme")]
fn an_invalid_url_is_refused(#[case] url: &str, #[case] code: i32, #[case] word: &str) {
    let scratch = Scratch::new();
    for args in [&["list"][..], &["allocate"], &["create"]] {
        let line = scratch.fails(code, &[args, &["--store", url]].concat());
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn a_different_capacity_is_refused_with_both_numbers() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=64", scratch.url())]);
    let line = scratch.fails(76, &["list", "--store", &format!("{}?capacity=128", scratch.url())]);
    assert!(line.contains("64") && line.contains("128"), "{line}");
}

#[test]
fn an_id_out_of_range_is_refused_and_changes_nothing() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=64", scratch.url())]);
    scratch.ok(&["allocate", "5"]);
    let run = ["run", "64", "--", "true"];
    for args in [&run[..], &["allocate", "64"], &["free", "64"], &["reconcile", "1", "64"]] {
        let line = scratch.fails(67, args);
        assert!(line.contains("64"), "{line}");
    }
    let listing = scratch.json(&["list", "--json"]);
    assert_eq!(listing["locks"].as_array().unwrap().len(), 1);
    assert_eq!(listing["locks"][0]["id"], 5);
}

#[rstest]
#[case("two\nlines")]
#[case("a label that goes on for longer than the sixty-four bytes that there are for it")]
fn an_invalid_label_is_refused(#[case] label: &str) {
    let scratch = Scratch::with_store();
    let line = scratch.fails(64, &["allocate", "--label", label]);
    assert!(line.contains("bad label"), "{line}");
    assert_eq!(scratch.json(&["list", "--json"])["locks"], serde_json::json!([]));
}

#[test]
fn a_missing_directory_of_a_shared_store_is_named() {
    let scratch = Scratch::new();
    let url = format!("shm:{}/none/locks?mode=0660", scratch.path().display());
    let line = scratch.fails(73, &["create", "--store", &url]);
    assert!(line.contains("none/locks"), "{line}");
}

#[test]
fn a_store_of_another_version_is_refused_with_the_file_to_remove() {
    let scratch = Scratch::with_store();
    let mut bytes = fs::read(scratch.file()).unwrap();
    // The version is the header's second word.
    bytes[8] += 1;
    fs::write(scratch.file(), &bytes).unwrap();
    for args in [&["list"][..], &["destroy", "--yes"]] {
        let line = scratch.fails(76, args);
        let advice = format!("remove {} when no program uses it, and create it again", scratch.file().display());
        assert!(line.contains(&advice), "{line}");
    }
    fs::remove_file(scratch.file()).unwrap();
    scratch.ok(&["create"]);
}
