//! Stores in directories with special names, by relative paths and by URLs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rstest::rstest;

use crate::scratch::{CommandOutput, Scratch, lockctl, output_of};

/// Runs the command in a directory, and returns its stdout.
fn in_directory(directory: &Path, url: &str, args: &[&str]) -> String {
    let output: CommandOutput = output_of(lockctl(args).args(["--store", url]).current_dir(directory));
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{url} {args:?} {output:?}");
    output.out
}

/// Returns the URL that a command shows for a store.
fn shown_url(directory: &Path, url: &str) -> String {
    let info: serde_json::Value = serde_json::from_str(&in_directory(directory, url, &["info", "--json"])).expect("JSON");
    info["store"].as_str().expect("a URL").to_owned()
}

#[rstest]
fn a_store_in_a_directory_of_any_name_is_opened_by_a_relative_path_and_by_its_url(
    #[values("shm", "sem", "posix-sem", "file")] scheme: &str,
    #[values(b"a%41 b?c", b"n\xffot UTF-8")] name: &[u8],
) {
    let scratch = Scratch::new();
    let directory = scratch.path().join(OsStr::from_bytes(name));
    fs::create_dir(&directory).unwrap();
    let relative = format!("{scheme}:./store");
    in_directory(&directory, &relative, &["create"]);
    assert_eq!(
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(),
        [OsString::from("store")]
    );
    in_directory(&directory, &relative, &["allocate", "3", "--label", "a label"]);

    let url = shown_url(&directory, &relative);
    assert!(url.starts_with(&format!("{scheme}:/")), "{url}");
    assert_eq!(shown_url(Path::new("/"), &url), url);
    assert!(in_directory(Path::new("/"), &url, &["list"]).contains("a label"));
    in_directory(Path::new("/"), &url, &["destroy", "--yes"]);
    assert!(!directory.join("store").exists());
}

#[test]
fn the_message_of_a_creation_shows_the_absolute_path() {
    let scratch = Scratch::new();
    let below = scratch.path().join("below");
    fs::create_dir(&below).unwrap();
    let output = output_of(lockctl(&["run", "--store", "shm:../new/locks", "3", "--", "true"]).current_dir(&below));
    assert_eq!(output.code, Some(0), "{output:?}");
    let url = format!("shm:{}/new/locks", fs::canonicalize(scratch.path()).unwrap().display());
    assert!(output.err.contains(&format!("the store {url} was absent")), "{output:?}");
}
