//! Runs the whole benchmark with very few rounds. Its figures are meaningless; each row is complete.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
#[cfg_attr(not(target_env = "gnu"), ignore = "the comparison needs the mutexes of glibc")]
fn each_row_is_measured_or_says_why_not() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let json = scratch.path().join("rows.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_lock-bench"));
    let status = bench.args(["--quick", "--json"]).arg(&json).stdout(Stdio::null()).status().expect("the benchmark starts");
    assert!(status.success(), "the benchmark failed: {status}");

    let report: Value = serde_json::from_str(&fs::read_to_string(&json).expect("the rows")).expect("JSON");
    let rows = report["rows"].as_array().expect("an array of rows");
    assert!(!rows.is_empty(), "the benchmark wrote no rows");
    for row in rows {
        for key in ["name", "ours", "peer", "ratio", "promise", "met"] {
            assert!(row.get(key).is_some(), "a row has no {key}: {row}");
        }
        assert!(!row["ours"].is_null() || !row["note"].is_null(), "a row has neither a figure nor a note: {row}");
    }
}
