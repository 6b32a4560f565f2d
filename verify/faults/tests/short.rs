//! A short run with each kind of servers. `cargo xtask faults` makes long ones.

use std::process::Command;

#[track_caller]
fn nothing_is_violated(arguments: &[&str]) {
    let run = Command::new(env!("CARGO_BIN_EXE_lock-faults")).args(["run", "--faults", "60"]).args(arguments).output();
    let output = run.expect("the program can be executed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // It says if it was not run, because this machine lacks something.
    println!("{text}");
    assert!(output.status.success(), "{text}");
}

#[test]
fn etcd() {
    nothing_is_violated(&["--engine", "etcd"]);
}

#[test]
fn a_cluster_of_etcd() {
    nothing_is_violated(&["--engine", "etcd-cluster"]);
}

#[test]
fn postgres() {
    nothing_is_violated(&["--engine", "postgres"]);
}

#[test]
fn etcd_and_clients_in_network_namespaces() {
    nothing_is_violated(&["--engine", "etcd", "--namespaces"]);
}

#[test]
fn postgres_and_clients_in_network_namespaces() {
    nothing_is_violated(&["--engine", "postgres", "--namespaces"]);
}
