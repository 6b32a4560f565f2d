//! Output to a closed pipe and to a full device.

use std::process::Stdio;

use rstest::rstest;

use crate::scratch::{CommandOutput, Scratch};

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
    let output = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!((output.code, output.err.as_str()), (Some(141), ""));
}

#[test]
fn a_full_output_device_is_an_error() {
    let scratch = Scratch::with_store();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = scratch.lockctl(&["list", "--json"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(74));
    assert!(output.err.contains("could not be written"), "{output:?}");
}
