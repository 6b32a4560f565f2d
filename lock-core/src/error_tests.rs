//! Tests of the messages of all kinds of errors.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::{Deadlock, DeadlockStep, Dependence, Error, ErrorDetails, ErrorKind, HeldBy, Holder, LockAddress, Operation};

/// Samples of error kinds, each with words that its message must contain. A missing kind is a compiler error.
macro_rules! samples {
    ($($kind:ident $fields:tt => [$($word:literal),*];)+) => {
        fn samples() -> Vec<(ErrorDetails, &'static [&'static str])> {
            let _is_complete = |details: &ErrorDetails| match details {
                $(ErrorDetails::$kind { .. } => {})+
            };
            vec![$((samples!(@ $kind $fields), &[$($word),*])),+]
        }
    };
    (@ $kind:ident {}) => { ErrorDetails::$kind };
    (@ $kind:ident { $($field:ident: $value:expr),+ }) => { ErrorDetails::$kind { $($field: $value.into()),+ } };
}

samples! {
    BadUrl { url: "none", reason: "the URL has no scheme; write SCHEME:LOCATION" } => ["\"none\"", "no scheme"];
    UnknownScheme { scheme: "etcd", hint: "enable the feature etcd (linked: shm)" } => ["\"etcd\"", "feature etcd"];
    DuplicateScheme { scheme: "shm", first: "one", second: "two" } => ["\"shm\"", "one and two"];
    BadLabel { label: "x", reason: "it is 65 bytes long; at most 64 are allowed" } => ["\"x\"", "65", "64"];
    Absent {} => ["create it"];
    Exists {} => ["destroy it"];
    NotAStore { reason: "the file is empty" } => ["is empty", "another path"];
    OtherVersion { found: 1u32, known: 2u32, file: "/run/app/locks" } => ["1", "2", "remove /run/app/locks"];
    OtherAbi { found: "sem (ABI 0x0)", needed: "shm (ABI 0x1)" } => ["sem", "shm"];
    OtherCapacity { found: "4", asked: "8" } => ["4", "8"];
    Corrupt { reason: "the file has 10 bytes" } => ["10 bytes"];
    Untrusted { reason: "the file belongs to user 7, not to user 8; use another one" } => ["user 7", "user 8"];
    Destroyed {} => ["destroyed", "open it again"];
    Replaced {} => ["another one with the same name", "open it again"];
    TooManyProcesses { limit: 16384u32 } => ["16384", "close it"];
    Exhausted { capacity: 4u64, allocated: 4u64 } => ["all 4 locks", "free some"];
    OutOfRange { capacity: 4u64 } => ["4 locks", "lower id"];
    AlreadyAllocated {} => ["another one"];
    NotAllocated {} => ["allocate it"];
    Stale {} => ["retrieve"];
    TimedOut { waited: Duration::from_micros(1_499_600), held_by: HeldBy::Holder(Holder::of_process(12).with_command("make install")) }
        => ["after 1.5s", "12", "make install"];
    Cancelled { waited: Duration::from_secs(3), held_by: HeldBy::unknown("none is recorded") } => ["cancelled after 3s"];
    Deadlock { waited: Duration::from_millis(300), cycle: Deadlock { steps: vec![step(1, 2), step(2, 1)] } }
        => ["after 300ms", "pid 11 (cp) holds lock 1 and waits for lock 2", "pid 12 (cp) holds lock 2", "release the locks"];
    AlreadyHeld {} => ["this thread", "release it"];
    NotHeld {} => ["this process", "release it"];
    Lost {} => ["check the data"];
    Unreachable { server: "etcd at web1:2379", reason: "connection refused" } => ["web1:2379", "connection refused"];
    Denied { server: "etcd at web1:2379", reason: "user x may not write; grant it" } => ["web1:2379", "user x"];
    Unsupported { reason: "/store is on NFS; use a file system of this machine" } => ["/store", "NFS"];
    Limit { limit: "too many open files in this process; raise RLIMIT_NOFILE", error: io::Error::from_raw_os_error(24) }
        => ["RLIMIT_NOFILE"];
    System { call: "open", error: io::Error::from_raw_os_error(libc::EACCES) } => ["open /run/none/locks", "Permission denied"];
}

fn step(holds: u32, waits_for: u32) -> DeadlockStep {
    let [holds, waits_for] = [holds, waits_for].map(|id| LockAddress::new("shm:/run/app/locks", id.into()));
    let thread = Holder::of_process(10 + holds.id.get()).with_command("cp");
    DeadlockStep { holds, holder: thread.clone(), waiter: thread, waits_for, dependence: Dependence::Thread }
}

/// The file of the samples that name one.
const FILE: &str = "/run/none/locks";

fn in_context(details: ErrorDetails) -> String {
    let error = Error::from(details);
    let is_about_a_file = error.kind() == ErrorKind::System;
    let error = error.in_context(Operation::Lock, "shm:/run/app/locks", Some(3.into()));
    if is_about_a_file { error.at(Path::new(FILE)).to_string() } else { error.to_string() }
}

#[test]
fn each_message_names_the_cause_and_gives_advice() {
    for (details, words) in samples() {
        let own = details.to_string();
        assert!(own.starts_with(|first: char| !first.is_uppercase()), "{own}");
        let message = in_context(details);
        assert!(message.starts_with("lock 3 of shm:/run/app/locks: "), "{message}");
        assert!(!message.ends_with('.') && !message.contains(['\n', '\t']), "{message}");
        assert!(message.contains("; "), "no advice: {message}");
        for word in words {
            assert!(message.contains(word), "{word} is not in {message}");
        }
    }
}

#[test]
fn the_advice_for_an_absent_store_names_the_missing_directory() {
    let message = Error::absent().at(Path::new("/none/deep/store")).to_string();
    assert_eq!(message, "there is no such store: the directory /none does not exist; create it, or use another path");
}

#[test]
fn a_failed_call_at_a_limit_is_a_limit() {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT, libc::ENOMEM, libc::EFBIG, libc::ENOLCK] {
        let error = Error::system("call", io::Error::from_raw_os_error(errno));
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::Limit, Some(errno)), "{error:?}");
        assert!(error.to_string().contains("; ") || errno == libc::ENOLCK, "{error}");
    }
}

#[test]
fn the_error_of_a_full_file_system_names_the_file() {
    let error = Error::system("fallocate", io::Error::from_raw_os_error(libc::ENOSPC)).at(Path::new("/run/app/locks"));
    assert!(error.to_string().contains("on the file system of /run/app/locks; "), "{error}");
    assert_eq!(error.file(), Some(Path::new("/run/app/locks")));
}

/// Returns the messages of an error and of its sources, as `{:#}` of the crate anyhow prints them.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[test]
fn the_chain_of_sources_contains_no_message_twice() {
    for (details, _) in samples() {
        let error = Error::from(details).in_context(Operation::Lock, "shm:x", None).at(Path::new(FILE));
        let cause = error.io_error().map(ToString::to_string).unwrap_or_default();
        let own = error.to_string();
        for printed in [chain(&error), chain(&io::Error::from(error))] {
            assert_eq!(printed.matches(&own).count(), 1, "{printed}");
            assert!(cause.is_empty() || printed.matches(&cause).count() == 1, "{cause:?} in {printed}");
        }
    }
}

#[test]
fn a_limit_has_the_failed_call_as_its_source() {
    let error = Error::system("open", io::Error::from_raw_os_error(libc::EMFILE));
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.and_then(io::Error::raw_os_error), Some(libc::EMFILE));
}

#[test]
fn a_kind_is_displayed_in_a_few_words() {
    for (details, _) in samples() {
        let text = ErrorKind::from(&details).to_string();
        assert!(text.len() <= 40 && text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
    }
}

#[test]
fn an_io_error_has_the_fitting_kind_and_contains_the_error() {
    let expected = [
        (Error::absent(), io::ErrorKind::NotFound),
        (Error::exists(), io::ErrorKind::AlreadyExists),
        (Error::timed_out(Duration::ZERO, HeldBy::unknown("none is recorded")), io::ErrorKind::TimedOut),
        (Error::already_held(), io::ErrorKind::Deadlock),
        (Error::untrusted("a reason"), io::ErrorKind::PermissionDenied),
        (Error::system("open", io::Error::from_raw_os_error(libc::EACCES)), io::ErrorKind::PermissionDenied),
        (Error::system("open", io::Error::from_raw_os_error(libc::ENOSPC)), io::ErrorKind::StorageFull),
    ];
    for (error, kind) in expected {
        let (message, own) = (error.to_string(), error.kind());
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (kind, message));
        assert_eq!(error.downcast::<Error>().unwrap().kind(), own);
    }
}

#[test]
fn the_message_of_a_time_out_has_the_wait_and_the_holder() {
    let holder = Holder::of_process(7);
    let message = |micros, held_by| Error::timed_out(Duration::from_micros(micros), held_by).to_string();
    assert_eq!(message(0, HeldBy::Holder(holder.clone())), "timed out; held by pid 7");
    assert_eq!(message(250, HeldBy::Holder(holder.clone())), "timed out after 250µs; held by pid 7");
    assert_eq!(message(99_999, HeldBy::Dead(holder)), "timed out after 100ms; held by pid 7, which is dead");
    assert_eq!(
        message(30_000_000, HeldBy::unknown("none is recorded")),
        "timed out after 30s; the holder is unknown: none is recorded"
    );
}

#[test]
fn predicates_agree_with_the_kind() {
    assert!(Error::absent().is_absent() && !Error::exists().is_absent());
    assert!(Error::exists().already_exists());
    assert!(Error::destroyed().needs_reopen() && Error::replaced().needs_reopen() && !Error::stale().needs_reopen());
    assert!(Error::exhausted(1, 1).is_exhausted());
    assert!(Error::already_held().is_already_held() && !Error::not_held().is_already_held());
    assert!(Error::lost().is_lost());
    assert!(Error::unsupported("a reason").is_unsupported());
    let timed_out = Error::timed_out(Duration::ZERO, HeldBy::Holder(Holder::of_process(7)));
    assert!(timed_out.is_timed_out());
    assert_eq!(timed_out.holder(), Some(&Holder::of_process(7)));
}
