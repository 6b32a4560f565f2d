//! `graph`, and `why` with several stores.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use lock_any::{Cancellation, Store, WaitOptions};
use rstest::rstest;
use serde_json::Value;

use crate::scratch::{Held, Scratch, lockctl, output_of};

/// Threads of this process, each of which holds a lock and waits for the one of the other.
struct Deadlock {
    cancellation: Cancellation,
    threads: Vec<JoinHandle<()>>,
}

impl Deadlock {
    /// Each thread holds the first lock, and waits for the second one: `(store, id)`.
    fn start(members: [[(&Store, u32); 2]; 2]) -> Self {
        let (cancellation, both_hold) = (Cancellation::new(), Arc::new(Barrier::new(2)));
        let member = |locks: [(&Store, u32); 2]| {
            let [own, other] = locks.map(|(store, id)| store.retrieve(id).unwrap());
            let (cancellation, both_hold) = (cancellation.clone(), Arc::clone(&both_hold));
            thread::spawn(move || {
                let _own = own.lock().unwrap();
                both_hold.wait();
                let result = other.lock_with(WaitOptions::new().cancellation(&cancellation)).map(drop);
                assert!(result.is_ok_and(|()| true) || cancellation.is_cancelled());
            })
        };
        let threads = members.map(member).into();
        Self { cancellation, threads }
    }

    fn end(self) {
        self.cancellation.cancel();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn url(scheme: &str, file: &Path) -> String {
    format!("{scheme}:{}", file.display())
}

/// Runs `lockctl` on these stores until its output has these words.
fn until(stores: &[&str], args: &[&str], words: &str) -> String {
    loop {
        let mut command = lockctl(args);
        for store in stores {
            command.args(["--store", store]);
        }
        let output = output_of(&mut command);
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
        if output.out.contains(words) {
            return output.out;
        }
    }
}

#[rstest]
#[case("podman")]
#[case("shm")]
#[case("file")]
#[case("sem")]
#[case("posix-sem")]
fn two_threads_that_wait_for_each_other_are_named_with_their_locks(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let url = url(scheme, &scratch.file());
    let store = lock_any::create(&url).unwrap();
    let idle = until(&[&url], &["graph"], "no thread waits");
    assert!(idle.starts_with(&format!("store {url}\n")) && !idle.contains("deadlock"), "{idle}");
    let deadlock = Deadlock::start([[(&store, 1), (&store, 2)], [(&store, 2), (&store, 1)]]);
    let text = until(&[&url], &["graph"], "this is a deadlock");
    for (holds, waits_for) in [(1, 2), (2, 1)] {
        for words in [
            format!(" waits for lock {waits_for}"),
            format!("\n  it holds lock {holds}\n"),
            format!("\nlock {holds} is held by pid {} ", std::process::id()),
            format!(" holds lock {holds} and waits for lock {waits_for}\n"),
        ] {
            assert!(text.contains(&words), "{words:?} {text}");
        }
    }
    assert!(text.contains("this is a deadlock: each waits for another one; end one process, such as by `kill "), "{text}");
    let dot = until(&[&url], &["graph", "--dot"], "color=red");
    assert!(dot.starts_with("digraph locks {\n") && dot.ends_with("}\n"), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), 4, "{dot}");
    assert_eq!(dot.matches("color=red, fontcolor=red").count(), 4, "{dot}");
    let why = until(&[&url], &["why", "1"], "this is a deadlock");
    assert!(why.contains("the holder waits for lock 2, which is held by"), "{why}");
    deadlock.end();
    until(&[&url], &["graph"], "no thread waits");
    let _ = store.destroy();
}

#[rstest]
#[case("podman")]
#[case("shm")]
#[case("file")]
#[case("sem")]
#[case("posix-sem")]
fn a_command_that_runs_under_the_lock_for_which_it_waits_is_a_cycle(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let url = url(scheme, &scratch.file());
    let store = lock_any::create(&url).unwrap();
    let inner = format!("echo $$; exec {} --store {url} run 3 -- true", env!("CARGO_BIN_EXE_lockctl"));
    let held = Held::start(lockctl(&["--store", &url, "run", "3", "--", "sh", "-c", &inner]));
    let ancestor = format!("its ancestor pid {} (", held.pid());
    for args in [&["graph"][..], &["why"], &["why", "3"]] {
        let text = until(&[&url], args, "this is a deadlock");
        let (pid, command) = (held.pid(), held.command);
        assert!(text.contains(&format!("this is a deadlock if pid {pid} waits until pid {command} ends")), "{text}");
        assert!(text.contains(&format!("holds lock 3, and its descendant pid {command} (")), "{text}");
        assert!(args != ["graph"] || text.contains(&ancestor) && text.contains(" holds lock 3\n"), "{text}");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(held.command), nix::sys::signal::Signal::SIGKILL).unwrap();
    held.end();
    until(&[&url], &["graph"], "no thread waits");
    let _ = store.destroy();
}

#[test]
fn a_cycle_across_stores_is_shown_once_when_both_are_read() {
    let scratch = Scratch::new();
    let urls = ["a", "b"].map(|name| url("shm", &scratch.path().join(name)));
    let [a, b] = urls.each_ref().map(|url| lock_any::create(url).unwrap());
    let deadlock = Deadlock::start([[(&a, 1), (&b, 1)], [(&b, 1), (&a, 1)]]);
    let both = [urls[0].as_str(), urls[1].as_str(), urls[0].as_str()];
    for command in ["graph", "why"] {
        let text = until(&both, &[command], "this is a deadlock");
        assert_eq!(text.matches("this is a deadlock").count(), 1, "{text}");
        assert!(text.contains(&format!("holds lock 1 of {} and waits for lock 1 of {}", urls[0], urls[1])), "{text}");
        assert_eq!(text.matches(&format!("store {}\n", urls[0])).count(), 1, "{text}");
    }
    let one = until(&[&urls[0]], &["graph"], "waits for lock 1");
    assert!(!one.contains("deadlock"), "{one}");
    let reports: Value = serde_json::from_str(&until(&both, &["why", "--json"], "dependence")).unwrap();
    assert_eq!(reports.as_array().map(Vec::len), Some(2), "{reports}");
    assert_eq!(reports[1]["store"], urls[1], "{reports}");
    deadlock.end();
}

#[test]
fn the_keys_of_a_graph_are_stable() {
    let scratch = Scratch::new();
    let url = url("shm", &scratch.file());
    let store = lock_any::create(&url).unwrap();
    let deadlock = Deadlock::start([[(&store, 1), (&store, 2)], [(&store, 2), (&store, 1)]]);
    let graph: Value =
        serde_json::from_str(&until(&[&url], &["graph", "--json"], "dependence\": \"thread\"\n        }\n      ]")).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let wanted = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(keys(&graph), wanted(&["cycles", "locks", "stores", "waits"]));
    assert_eq!(keys(&graph["stores"][0]), wanted(&["incomplete", "names_waiters", "store"]));
    assert_eq!(keys(&graph["locks"][0]), wanted(&["doubt", "holder", "is_holder_dead", "lock"]));
    assert_eq!(keys(&graph["locks"][0]["lock"]), wanted(&["id", "store"]));
    assert_eq!(keys(&graph["waits"][0]), wanted(&["holds", "is_lost", "thread", "waited", "waits_for"]));
    assert_eq!(keys(&graph["waits"][0]["holds"][0]), wanted(&["dependence", "lock"]));
    deadlock.end();
}

#[test]
fn only_why_and_graph_take_several_stores() {
    let scratch = Scratch::with_store();
    for args in [&["list"][..], &["info"], &["create"], &["run", "3", "--", "true"], &["destroy", "--yes"]] {
        let both = [&["--store", "shm:a", "--store", "shm:b"], args].concat();
        let message = scratch.fails(64, &both);
        assert!(message.contains("given twice") && message.contains("shm:b"), "{message}");
    }
    let both = ["--store", &scratch.url(), "--store", "shm:/dev/shm/none-such"];
    assert!(scratch.fails(66, &[&both[..], &["graph"]].concat()).contains("no such store"));
    let same = ["--store", &scratch.url(), "--store", &scratch.url()];
    assert!(scratch.ok(&[&same[..], &["why", "3"]].concat()).starts_with("lock 3 is free\n"));
}

#[test]
fn an_id_with_several_stores_is_refused() {
    let scratch = Scratch::with_store();
    let other = url("shm", &scratch.path().join("other"));
    lock_any::create(&other).unwrap();
    let message = scratch.fails(64, &["--store", &scratch.url(), "--store", &other, "why", "3"]);
    assert!(message.contains("the lock 3 belongs to one store"), "{message}");
}
