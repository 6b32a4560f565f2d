//! Messages of failures: each names the cause and the remedy, and has its exit code.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use rstest::rstest;

use crate::scratch::{Scratch, output_of};

/// Asserts the form of a message: lower case, no final stop, and a remedy after a semicolon.
fn assert_is_message(line: &str) {
    let message = line.trim_end().strip_prefix("lockctl: ").expect("the name of the program");
    assert!(!message.ends_with('.') && !message.contains('\n'), "{line}");
    assert!(message.starts_with(|first: char| !first.is_uppercase()), "{line}");
    assert!(message.contains("; "), "the remedy is missing: {line}");
}

/// Replaces `DIR` by the directory of the scratch store.
fn in_scratch(scratch: &Scratch, text: &str) -> String {
    text.replace("DIR", &scratch.path().display().to_string())
}

fn nothing(_: &Scratch) {}

fn a_store(scratch: &Scratch) {
    scratch.ok(&["create"]);
}

fn a_full_store(scratch: &Scratch) {
    scratch.ok(&["create", "--store", &format!("{}?capacity=1", scratch.url())]);
    scratch.ok(&["allocate"]);
}

fn an_allocated_id(scratch: &Scratch) {
    a_store(scratch);
    scratch.ok(&["allocate", "5"]);
}

fn a_text(scratch: &Scratch) {
    fs::write(scratch.file(), "a text").unwrap();
}

fn half_a_store(scratch: &Scratch) {
    a_store(scratch);
    fs::File::options().write(true).open(scratch.file()).unwrap().set_len(100).unwrap();
}

fn a_store_of_another_backend(scratch: &Scratch) {
    scratch.ok(&["create", "--store", &format!("posix-sem:{}", scratch.file().display())]);
}

fn a_symbolic_link(scratch: &Scratch) {
    scratch.ok(&["create", "--store", &in_scratch(scratch, "shm:DIR/real")]);
    symlink(scratch.path().join("real"), scratch.file()).unwrap();
}

#[rstest]
#[case::absent(nothing, 66, &["list"], &["DIR/locks", "create it first"])]
#[case::directory_absent_list(nothing, 66, &["--store", "shm:DIR/none/x", "list"], &["the directory DIR/none does not exist"])]
#[case::directory_absent_create(nothing, 73, &["--store", "shm:DIR/none/x?mode=0660", "create"], &["the directory DIR/none does not exist"])]
#[case::directory_absent_run(nothing, 73, &["--store", "sem:DIR/none/x?mode=0644", "run", "3", "--", "true"], &["the directory DIR/none does not exist"])]
#[case::directory_absent_of_files(nothing, 66, &["--store", "file:DIR/none/x", "list"], &["the directory DIR/none does not exist"])]
#[case::file_on_the_way(a_text, 73, &["--store", "shm:DIR/locks/x", "list"], &["DIR/locks is not a directory"])]
#[case::trailing_slash(nothing, 64, &["--store", "shm:DIR/x/", "create"], &["write shm:DIR/x"])]
#[case::exists(a_store, 73, &["create"], &["already exists"])]
#[case::not_a_store(a_text, 65, &["list"], &["not a lock store"])]
#[case::cut_off(half_a_store, 65, &["list"], &["100 bytes"])]
#[case::other_backend(a_store_of_another_backend, 76, &["list"], &["psem", "shm"])]
#[case::symbolic_link(a_symbolic_link, 77, &["list"], &["symbolic link"])]
#[case::other_capacity(a_store, 76, &["--store", "shm:DIR/locks?capacity=7", "list"], &["1048576", "7"])]
#[case::out_of_range(a_store, 67, &["free", "4000000"], &["4000000", "1048576"])]
#[case::not_allocated(a_store, 67, &["free", "3"], &["3", "not allocated"])]
#[case::allocated(an_allocated_id, 67, &["allocate", "5"], &["5", "already allocated"])]
#[case::exhausted(a_full_store, 75, &["allocate"], &["1 locks"])]
#[case::bad_label(a_store, 64, &["allocate", "--label", "two\nlines"], &["control character"])]
#[case::unknown_scheme(nothing, 78, &["--store", "none:x", "list"], &["none"])]
#[case::no_scheme(nothing, 64, &["--store", "none", "list"], &["no scheme"])]
#[case::bad_file_system(nothing, 64, &["--store", "shm:DIR/x?filesystem=nfs", "create"], &["filesystem=nfs", "`any`"])]
#[case::no_id(a_store, 64, &["run", "--", "true"], &["--new"])]
#[case::no_command(a_store, 69, &["run", "3", "--", "DIR/none"], &["DIR/none", "PATH"])]
#[case::no_program(a_text, 69, &["--store", "shm:DIR/x", "run", "3", "--", "DIR/locks"], &["DIR/locks", "executable"])]
#[case::no_break(a_store, 69, &["break", "3", "--yes"], &["recovers"])]
#[case::no_migration(a_store, 69, &["migrate"], &["no preparation", "create one"])]
fn a_failure_names_the_cause_and_the_remedy(
    #[case] prepare: fn(&Scratch),
    #[case] code: i32,
    #[case] args: &[&str],
    #[case] words: &[&str],
) {
    let scratch = Scratch::new();
    prepare(&scratch);
    let args: Vec<_> = args.iter().map(|text| in_scratch(&scratch, text)).collect();
    let output = scratch.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let line = output.err.lines().last().unwrap_or_default();
    assert_eq!(output.code, Some(code), "{output:?}");
    assert_is_message(line);
    for word in words {
        assert!(line.contains(&in_scratch(&scratch, word)), "{word} is not in {line}");
    }
}

#[rstest]
#[case("shm")]
#[case("sem")]
#[case("posix-sem")]
#[case("file")]
fn too_few_descriptors_have_the_same_exit_code_in_every_command(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let url = format!("{scheme}:{}", scratch.file().display());
    let mut refusals = 0;
    for limit in 4..12 {
        for args in ["create", "list", "allocate", "run 3 -- true", "run --new -- true", "destroy --yes"] {
            let script = format!("ulimit -n {limit}; exec {} --store {url} {args}", env!("CARGO_BIN_EXE_lockctl"));
            let output = output_of(Command::new("sh").args(["-c", &script]).env_remove("LOCKCTL_STORE"));
            match output.code {
                Some(0) => {}
                // The store of an earlier round exists, or is absent.
                Some(66 | 73) if output.err.contains("already exists") || output.err.contains("no such store") => {}
                Some(75) => {
                    assert!(output.err.contains("RLIMIT_NOFILE"), "{output:?}");
                    assert_is_message(&output.err);
                    refusals += 1;
                }
                _ => panic!("{limit} descriptors, {args}: {output:?}"),
            }
        }
    }
    assert!(refusals > 0, "no command was refused");
    output_of(Command::new(env!("CARGO_BIN_EXE_lockctl")).args(["--store", &url, "destroy", "--yes"]));
}
