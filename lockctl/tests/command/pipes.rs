//! Output that nobody reads.

use std::process::Stdio;

use rstest::rstest;

use crate::scratch::{Said, Scratch};

#[rstest]
#[case(&["list", "--json"])]
#[case(&["list"])]
#[case(&["info", "--json"])]
#[case(&["backends", "--json"])]
#[case(&["completions", "bash"])]
#[case(&["man"])]
fn a_closed_pipe_ends_the_command_silently(#[case] args: &[&str]) {
    let scratch = Scratch::with_store();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = scratch.lockctl(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(141), ""));
}

#[test]
fn a_device_that_is_full_is_an_error() {
    let scratch = Scratch::with_store();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = scratch.lockctl(&["list", "--json"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(74));
    assert!(said.err.contains("could not be written"), "{said:?}");
}
