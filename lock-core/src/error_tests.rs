//! Tests of the messages of all kinds of errors.

use std::io;
use std::path::Path;

use crate::{Error, ErrorKind, Holder, Operation};

/// Samples of error kinds, each with words that its message must contain. A missing kind is a compiler error.
macro_rules! samples {
    ($($kind:ident $fields:tt => [$($word:literal),*];)+) => {
        fn samples() -> Vec<(ErrorKind, &'static [&'static str])> {
            let _is_complete = |kind: &ErrorKind| match kind {
                $(ErrorKind::$kind { .. } => {})+
            };
            vec![$((samples!(@ $kind $fields), &[$($word),*])),+]
        }
    };
    (@ $kind:ident {}) => { ErrorKind::$kind };
    (@ $kind:ident { $($field:ident: $value:expr),+ }) => { ErrorKind::$kind { $($field: $value.into()),+ } };
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
    TimedOut { holder: Holder::of_process(12).with_command("make install") } => ["12", "make install"];
    AlreadyHeld {} => ["this thread", "release it"];
    NotHeld {} => ["this process", "release it"];
    Lost {} => ["check the data"];
    Unsupported { reason: "/store is on NFS; use a file system of this machine" } => ["/store", "NFS"];
    Limit { limit: "too many open files in this process; raise RLIMIT_NOFILE", source: io::Error::from_raw_os_error(24) }
        => ["RLIMIT_NOFILE"];
    System { call: "open", source: io::Error::from_raw_os_error(libc::EACCES) } => ["open /run/none/locks", "Permission denied"];
}

/// The file of the samples that name one.
const FILE: &str = "/run/none/locks";

fn in_context(kind: ErrorKind) -> String {
    let is_about_a_file = matches!(kind, ErrorKind::System { .. });
    let error = Error::from(kind).in_context(Operation::Lock, "shm:/run/app/locks", Some(3.into()));
    if is_about_a_file { error.at(Path::new(FILE)).to_string() } else { error.to_string() }
}

#[test]
fn each_message_names_the_cause_and_gives_advice() {
    for (kind, words) in samples() {
        let own = kind.to_string();
        assert!(own.starts_with(|first: char| !first.is_uppercase()), "{own}");
        let message = in_context(kind);
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
    let message = Error::from(ErrorKind::Absent).at(Path::new("/none/deep/store")).to_string();
    assert_eq!(message, "there is no such store: the directory /none does not exist; create it, or use another path");
}

#[test]
fn all_constructors_give_a_limit_the_same_kind() {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT, libc::ENOMEM, libc::EFBIG, libc::ENOLCK] {
        for error in [Error::system, Error::refused].map(|make| make("call", io::Error::from_raw_os_error(errno))) {
            assert!(matches!(error.kind(), ErrorKind::Limit { source, .. } if source.raw_os_error() == Some(errno)), "{error:?}");
            assert!(error.to_string().contains("; ") || errno == libc::ENOLCK, "{error}");
        }
    }
}

#[test]
fn the_error_of_a_full_file_system_names_the_file() {
    let error = Error::system("fallocate", io::Error::from_raw_os_error(libc::ENOSPC)).at(Path::new("/run/app/locks"));
    assert!(error.to_string().contains("on the file system of /run/app/locks; "), "{error}");
    assert_eq!(error.file(), Some(Path::new("/run/app/locks")));
}
