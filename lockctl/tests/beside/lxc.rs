//! LXC's own tools on the lock of a container.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::scene::{Lockctl, Running, has_lines, mount_privately};

const CONTAINERS: &str = "/var/lib/lxc";

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.args(["-n", "foo"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn container() -> Lockctl {
    mount_privately(&["/run", CONTAINERS]);
    assert!(tool("lxc-create").args(["-t", "none"]).status().unwrap().success(), "lxc-create failed");
    Lockctl::on(format!("lxc:{CONTAINERS}?name=foo"))
}

pub(crate) fn a_tool_waits_and_both_are_named() {
    let lockctl = container();
    assert!(lockctl.ok(&["why"]).contains("lock 0 is free"));
    assert_eq!(lockctl.json(&["list", "--held", "--json"])["locks"].as_array().unwrap().len(), 0);
    let holder = lockctl.hold(&[]);
    let destroying = Running::start(&mut tool("lxc-destroy"));
    lockctl.wait_for_waiter(destroying.id());
    for id in [&["why"][..], &["why", "0"]] {
        has_lines(
            &lockctl.ok(id),
            &[
                &["lock 0 is held by", &format!("pid {} (", holder.id()), "run -- cat"],
                &[&format!("pid {} started", holder.id()), "sigtimedwait(2)"],
                &[&format!("pid {} (lxc-destroy -n foo) waits for it", destroying.id())],
            ],
        );
    }
    let listing = lockctl.json(&["list", "--held", "--json"]);
    let lock = &listing["locks"][0];
    assert_eq!((&lock["holder"]["pid"], &lock["waiters"]), (&holder.id().into(), &1.into()), "{lock}");
    drop(holder);
    assert!(destroying.end(), "lxc-destroy failed");
    assert!(!Path::new(CONTAINERS).join("foo").exists(), "lxc-destroy did not remove the container");
}

pub(crate) fn a_tool_that_holds_the_lock_is_named() {
    let lockctl = container();
    // The tool holds the lock while it reads the configuration of the container, here from a pipe.
    let config = Path::new(CONTAINERS).join("foo/config");
    fs::remove_file(&config).unwrap();
    mkfifo(&config, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let holder = Running::start(&mut tool("lxc-info"));
    // Returns when the tool has opened the other end.
    let mut pipe = File::options().write(true).open(&config).unwrap();
    fs::remove_file(&config).unwrap();
    fs::write(&config, "").unwrap();
    let named = format!("held by pid {} (lxc-info -n foo)", holder.id());
    has_lines(&lockctl.ok(&["why"]), &[&[&named], &[&format!("pid {} started", holder.id())], &["no thread waits for it"]]);
    let timed_out = lockctl.run(&["run", "-w", "1", "--", "true"]);
    assert!(timed_out.code == Some(1) && timed_out.err.contains(&named), "{timed_out:?}");
    // Without -q, the wait is interrupted after a second to name the owner, and is not listed at that moment.
    let waiting = Running::start(&mut lockctl.command(&["run", "-q", "--", "true"]));
    lockctl.wait_for_waiter(waiting.id());
    has_lines(&lockctl.ok(&["why", "0"]), &[&[&named], &[&format!("pid {} (", waiting.id()), "waits for it"]]);
    pipe.write_all(b"lxc.uts.name = foo\n").unwrap();
    drop(pipe);
    assert!(waiting.end(), "lockctl did not get the lock");
    holder.end();
}
