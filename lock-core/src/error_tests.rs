//! The messages of errors, all kinds of them.

use std::io;
use std::path::Path;

use crate::{Error, ErrorKind, Holder, Operation};

/// Samples of error kinds, each with words that its message must have. A kind that is missing here is a compiler error.
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
    BadUrl { url: "none", reason: "it has no scheme; write SCHEME:PLACE" } => ["\"none\"", "no scheme"];
    UnknownScheme { scheme: "etcd", hint: "it has shm; add the feature etcd" } => ["\"etcd\"", "feature etcd"];
    DuplicateScheme { scheme: "shm", first: "one", second: "two" } => ["\"shm\"", "one and two"];
    BadLabel { label: "x", reason: "it has 65 bytes; use at most 64" } => ["\"x\"", "65", "64"];
    Absent {} => ["create it"];
    Exists {} => ["destroy it"];
    NotAStore { reason: "it is empty" } => ["it is empty", "another path"];
    OtherVersion { found: 1u32, known: 2u32, file: "/run/app/locks" } => ["1", "2", "remove /run/app/locks"];
    OtherAbi { found: "sem (ABI 0x0)", needed: "shm (ABI 0x1)" } => ["sem", "shm"];
    OtherCapacity { found: "4", asked: "8" } => ["4", "8"];
    Corrupt { reason: "it is cut off after 10 bytes" } => ["10 bytes"];
    NotOurs { reason: "it belongs to user 7, and this is user 8; use another one" } => ["user 7", "user 8"];
    Destroyed {} => ["destroyed", "open it again"];
    Replaced {} => ["another one with the same name", "open it again"];
    TooManyProcesses { limit: 16384u32 } => ["16384", "close some"];
    Exhausted { capacity: 4u64, allocated: 4u64 } => ["all 4 locks", "free some"];
    OutOfRange { capacity: 4u64 } => ["4 locks", "lower id"];
    AlreadyAllocated {} => ["another one"];
    NotAllocated {} => ["allocate it"];
    Stale {} => ["retrieve"];
    TimedOut { holder: Holder::of_process(12).with_command("make install") } => ["12", "make install"];
    AlreadyHeld {} => ["this thread", "release it"];
    NotHeld {} => ["this process", "release it"];
    Lost {} => ["check what it protects"];
    Unsupported { reason: "/store is on NFS; use a file system of this machine" } => ["/store", "NFS"];
    Limit { limit: "too many open files in this process; raise RLIMIT_NOFILE", source: io::Error::from_raw_os_error(24) }
        => ["RLIMIT_NOFILE"];
    System { call: "open", source: io::Error::from_raw_os_error(libc::EACCES) } => ["open /run/none/locks", "Permission denied"];
}

/// Where an error that is about a file has it.
const FILE: &str = "/run/none/locks";

fn in_context(kind: ErrorKind) -> String {
    let is_about_a_file = matches!(kind, ErrorKind::System { .. });
    let error = Error::from(kind).in_context(Operation::Lock, "shm:/run/app/locks", Some(3.into()));
    if is_about_a_file { error.at(Path::new(FILE)).to_string() } else { error.to_string() }
}

#[test]
fn each_message_names_the_thing_and_the_remedy() {
    for (kind, words) in samples() {
        let own = kind.to_string();
        assert!(own.starts_with(|first: char| !first.is_uppercase()), "{own}");
        let message = in_context(kind);
        assert!(message.starts_with("lock 3 of shm:/run/app/locks: "), "{message}");
        assert!(!message.ends_with('.') && !message.contains(['\n', '\t']), "{message}");
        assert!(message.contains("; "), "it does not say what to do: {message}");
        for word in words {
            assert!(message.contains(word), "{word} is not in {message}");
        }
    }
}

#[test]
fn an_absent_store_that_cannot_be_created_is_not_to_be_created() {
    let message = Error::from(ErrorKind::Absent).at(Path::new("/none/deep/store")).to_string();
    assert_eq!(message, "there is no such store: the directory /none does not exist; create it, or use another path");
}

#[test]
fn a_limit_has_one_kind_whichever_function_made_the_error() {
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT, libc::ENOMEM, libc::EFBIG, libc::ENOLCK] {
        for error in [Error::system, Error::refused].map(|make| make("call", io::Error::from_raw_os_error(errno))) {
            assert!(matches!(error.kind(), ErrorKind::Limit { source, .. } if source.raw_os_error() == Some(errno)), "{error:?}");
            assert!(error.to_string().contains("; ") || errno == libc::ENOLCK, "{error}");
        }
    }
}

#[test]
fn a_full_file_system_is_named_by_the_file() {
    let error = Error::system("fallocate", io::Error::from_raw_os_error(libc::ENOSPC)).at(Path::new("/run/app/locks"));
    assert!(error.to_string().contains("on the file system of /run/app/locks; "), "{error}");
    assert_eq!(error.file(), Some(Path::new("/run/app/locks")));
}
