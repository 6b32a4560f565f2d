//! The commands that allocate and free ids, and create and destroy stores.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::scratch::{CommandOutput, Scratch};

#[test]
fn ids_are_allocated_once_and_freed_once() {
    let scratch = Scratch::with_store();
    assert_eq!(scratch.ok(&["allocate"]), "0\n");
    assert_eq!(scratch.ok(&["allocate", "--label", "pod web"]), "1\n");
    assert_eq!(scratch.ok(&["allocate", "7"]), "7\n");
    assert!(scratch.fails(67, &["allocate", "7"]).contains("already allocated"));
    assert_eq!(scratch.ok(&["free", "7", "0"]), "");
    assert!(scratch.fails(67, &["free", "7"]).contains("not allocated"));
    assert_eq!(scratch.ok(&["allocate"]), "0\n");
    assert_eq!(scratch.entry(1).unwrap()["label"], "pod web");
}

#[test]
fn free_frees_the_allocated_ones_of_several_ids() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "1"]);
    scratch.ok(&["allocate", "3"]);
    scratch.fails(67, &["free", "1", "2", "3"]);
    assert_eq!(scratch.json(&["list", "--json"])["locks"], json!([]));
}

#[test]
fn an_id_that_cannot_be_printed_is_freed() {
    let scratch = Scratch::with_store();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = scratch.lockctl(&["allocate"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(141));
    assert_eq!(scratch.json(&["list", "--json"])["locks"], json!([]));
}

#[test]
fn dangerous_commands_need_confirmation() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate"]);
    for args in [&["free-all"][..], &["destroy"], &["break", "0"]] {
        assert_eq!(scratch.run(args).code, Some(64), "{args:?}");
    }
    assert!(scratch.entry(0).is_some());
    assert_eq!(scratch.ok(&["free-all", "--yes"]), "1\n");
    assert!(scratch.entry(0).is_none());
    assert!(scratch.fails(69, &["break", "0", "--yes"]).contains("recovers"));
}

#[test]
fn reconcile_allocates_exactly_these_ids() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "1"]);
    scratch.ok(&["allocate", "2"]);
    assert_eq!(scratch.ok(&["reconcile", "2", "5"]), "allocated 5\nfreed 1\n");
    assert_eq!(scratch.json(&["reconcile", "--json", "5"]), json!({ "allocated": [], "freed": [2] }));
    let output = reconcile_from_stdin(&scratch, "3\n4 5\n");
    assert_eq!((output.code, output.out.as_str()), (Some(0), "allocated 3\nallocated 4\n"));
}

#[test]
fn reconcile_refuses_an_empty_or_invalid_list() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "1"]);
    for (text, word) in [("", "no id"), (" \n", "no id"), ("2\nx\n", "\"x\""), ("-1", "\"-1\"")] {
        let output = reconcile_from_stdin(&scratch, text);
        assert_eq!(output.code, Some(64), "{output:?}");
        assert!(output.err.contains(word), "{output:?}");
    }
    assert!(scratch.entry(1).is_some() && scratch.entry(2).is_none());
}

fn reconcile_from_stdin(scratch: &Scratch, text: &str) -> CommandOutput {
    let mut command = scratch.lockctl(&["reconcile"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    CommandOutput::from(child.wait_with_output().unwrap())
}

#[test]
fn a_store_is_created_once_and_destroyed_once() {
    let scratch = Scratch::new();
    scratch.ok(&["create"]);
    assert!(scratch.fails(73, &["create"]).contains("already exists"));
    scratch.ok(&["destroy", "--yes"]);
    assert!(!scratch.file().exists());
    scratch.fails(66, &["destroy", "--yes"]);
}

#[test]
fn other_commands_do_not_create_a_store() {
    let scratch = Scratch::new();
    for args in [&["list"][..], &["info"], &["free", "1"], &["free-all", "--yes"], &["break", "1", "--yes"]] {
        scratch.fails(66, args);
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_full_store_exits_75_and_names_its_capacity() {
    let scratch = Scratch::new();
    let url = format!("{}?capacity=32", scratch.url());
    scratch.ok(&["create", "--store", &url]);
    for id in 0..32 {
        assert_eq!(scratch.ok(&["allocate"]), format!("{id}\n"));
    }
    assert!(scratch.fails(75, &["allocate"]).contains("32"));
    scratch.fails(75, &["run", "--new", "--", "true"]);
}
