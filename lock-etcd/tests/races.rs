//! Processes that allocate at the same time. The test binary runs itself as these processes.

mod server;

use std::collections::BTreeSet;
use std::env;
use std::process::{Child, Command, ExitCode, Stdio};

use lock_core::{ErrorKind, Store};

use crate::server::open;

const TESTS: &[(&str, fn())] = &[
    ("allocators_of_several_processes_get_different_ids", allocators_of_several_processes_get_different_ids),
    ("allocators_share_the_last_ids", allocators_share_the_last_ids),
    ("racing_processes_find_one_lock_by_name", racing_processes_find_one_lock_by_name),
    ("racing_openers_find_one_store", racing_openers_find_one_store),
    ("one_process_allocates_a_given_id", one_process_allocates_a_given_id),
    ("allocating_and_freeing_loses_no_id", allocating_and_freeing_loses_no_id),
];

/// The environment variable with the address of the server, the store and the role of a process.
const VARIABLE: &str = "LOCK_ETCD_RACER";

const PROCESSES: usize = 6;

fn main() -> ExitCode {
    if let Ok(words) = env::var(VARIABLE) {
        let words: Vec<_> = words.split(' ').collect();
        race(words[0], words[1], words[2]);
        return ExitCode::SUCCESS;
    }
    server::run(TESTS)
}

/// What a process does. It prints a line for each id.
fn race(address: &str, rest: &str, role: &str) {
    let store = open(address, rest);
    let print = |id: u32| println!("{id}");
    match role {
        "allocate" => (0..20).for_each(|_| print(store.allocate("racer").unwrap().id().get())),
        "exhaust" => loop {
            match store.allocate("racer") {
                Ok(lock) => print(lock.id().get()),
                Err(error) if error.kind() == ErrorKind::Exhausted => break,
                Err(error) => panic!("{error}"),
            }
        },
        "named" => (0..20).for_each(|number| print(store.named(format!("name {number}")).unwrap().id().get())),
        "open" => println!("{}", store.id()),
        "exact" => (0..20_u32).for_each(|id| match store.allocate_and_retrieve(id, "racer") {
            Ok(lock) => print(lock.id().get()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyAllocated, "{error}"),
        }),
        "churn" => {
            for _ in 0..20 {
                let locks = [(); 3].map(|()| store.allocate("racer").unwrap());
                locks.iter().for_each(|lock| lock.free().unwrap());
            }
        }
        _ => panic!("{role}"),
    }
}

fn spawn(address: &str, rest: &str, role: &str) -> Child {
    let mut command = Command::new("/proc/self/exe");
    command.env(VARIABLE, format!("{address} {rest} {role}")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Lets processes race, and returns the lines of each.
fn run(address: &str, rest: &str, role: &str) -> Vec<Vec<String>> {
    let children: Vec<_> = (0..PROCESSES).map(|_| spawn(address, rest, role)).collect();
    let lines = |child: Child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    children.into_iter().map(lines).collect()
}

fn all_different(lines: &[Vec<String>]) -> BTreeSet<u32> {
    let ids: Vec<u32> = lines.iter().flatten().map(|line| line.parse().unwrap()).collect();
    let different: BTreeSet<u32> = ids.iter().copied().collect();
    assert_eq!(ids.len(), different.len(), "an id was allocated twice: {lines:?}");
    different
}

fn allocated(store: &Store) -> BTreeSet<u32> {
    store.allocated().unwrap().iter().map(|allocation| allocation.id.get()).collect()
}

fn allocators_of_several_processes_get_different_ids() {
    let server = server::start();
    let address = server.address().to_string();
    let store = open(&address, "x");
    for round in 1..=2 {
        let ids = all_different(&run(&address, "x", "allocate"));
        assert_eq!(ids.len(), PROCESSES * 20);
        assert_eq!(allocated(&store), ids, "round {round}");
        // The second round allocates ids that were freed.
        assert_eq!(store.free_all().unwrap(), ids.len() as u64);
    }
}

fn allocators_share_the_last_ids() {
    let server = server::start();
    let address = server.address().to_string();
    let store = open(&address, "x?capacity=150");
    let _ = store.allocate_and_retrieve(140, "before").unwrap();
    let ids = all_different(&run(&address, "x", "exhaust"));
    assert_eq!(ids.len(), 149);
    assert_eq!(allocated(&store).len(), 150);
    assert_eq!(store.available().unwrap(), Some(0));
    assert_eq!(store.allocate("more").unwrap_err().kind(), ErrorKind::Exhausted);
    store.free(77).unwrap();
    assert_eq!(store.allocate("again").unwrap().id().get(), 77);
}

fn racing_processes_find_one_lock_by_name() {
    let server = server::start();
    let address = server.address().to_string();
    let lines = run(&address, "x", "named");
    assert!(lines.iter().all(|other| *other == lines[0]), "{lines:?}");
    assert_eq!(all_different(&lines[..1]), allocated(&open(&address, "x")));
}

fn racing_openers_find_one_store() {
    let server = server::start();
    for round in 0..5 {
        let lines = run(&server.address().to_string(), &format!("x{round}"), "open");
        assert!(lines.iter().all(|other| *other == lines[0]), "{lines:?}");
    }
}

fn one_process_allocates_a_given_id() {
    let server = server::start();
    let address = server.address().to_string();
    assert_eq!(all_different(&run(&address, "x", "exact")).len(), 20);
    assert!(allocated(&open(&address, "x")).into_iter().eq(0..20));
}

fn allocating_and_freeing_loses_no_id() {
    let server = server::start();
    let address = server.address().to_string();
    let store = open(&address, "x?capacity=40");
    run(&address, "x", "churn");
    assert_eq!(store.available().unwrap(), Some(40));
    let ids = all_different(&run(&address, "x", "exhaust"));
    assert!(ids.into_iter().eq(0..40));
}
