//! The section of the manual for users of flock(1).

/// What locks of paths exclude.
const COMPATIBILITY: &[&str] = &[
    "A path is locked as flock(1) locks it: the file or the directory is opened, and created with the mode 0666 and the umask if it is absent. \
     lockctl acquires the lock of flock(2), and also the lock of an open file description over the whole file (F_OFD_SETLK of fcntl(2)). So it \
     excludes flock(1), flock --fcntl, programs that lock the file with fcntl(2), and other runs of lockctl. It never waits for one of the two \
     locks while it holds the other.",
    "The second lock is for writing if the file can be opened for writing. A directory, a device, a file that the user may only read, and a file \
     with an execute permission are opened for reading. Then the second lock is for reading: it excludes programs that lock the file for \
     writing, but not programs that lock it with fcntl(2) for reading.",
    "The kernel releases both locks when lockctl ends or is killed. If the file was removed or replaced during the wait, lockctl locks the file \
     that the path leads to afterwards.",
];

/// Differences from flock(1), and the reason or the way to get the behaviour of flock(1).
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "a background child does not keep the lock",
        "With flock(1), a daemon that the command starts keeps the lock until the daemon ends. In lockctl no process inherits the descriptor of \
         the lock, so -o changes nothing. With -F, the command and its children hold the lock, as with flock -F. -F needs a path.",
    ),
    (
        "the death of the tool ends the command, which has lost its lock",
        "With flock(1), the command runs on and keeps the lock, because it has inherited the descriptor. lockctl holds the lock itself, and the \
         kernel kills the command when lockctl dies. With -F there is only one process: the command.",
    ),
    (
        "a word without a slash is the name of a lock in the store",
        "For a file in the current directory, write ./FILE. The words . and .. are paths. With --verbose, lockctl says if there is a file of the \
         name.",
    ),
    ("a number is the id of a lock in the store", "For a file with this name, write ./NUMBER. For a descriptor, use lockctl fd."),
    ("a number without a command is an error: lockctl fd locks descriptors", "Write lockctl fd NUMBER for flock NUMBER."),
    (
        "a name after -- is more likely a command without a lock",
        "lockctl run -- CMD is an error, and does not create a lock with the name of the command. A path or an id may follow --.",
    ),
    ("-- may separate the lock from the command", "flock(1) executes -- as a command, which does not exist."),
    ("-c may precede the lock, as other options", "flock(1) accepts it only after the lock. lockctl accepts both."),
    ("shared locks are not supported yet", "lockctl refuses -s, so that no command runs beside one that it should exclude."),
    ("a time to wait is a decimal number", "flock(1) also accepts hexadecimal numbers."),
    (
        "a file that was replaced during the wait is not the lock of later commands",
        "flock(1) then runs the command under the lock of the removed file, beside commands that lock the new file. lockctl waits for the lock of \
         the new file.",
    ),
];

/// Returns the section in roff.
pub(super) fn section() -> String {
    let mut section = ".SH \"FLOCK(1)\"\n".to_owned();
    for paragraph in COMPATIBILITY {
        section += &format!(".PP\n{}\n", escaped(paragraph));
    }
    section += ".SS \"Differences from flock(1)\"\n";
    for (difference, reason) in DIFFERENCES {
        section += &format!(".TP\n{}\n{}\n", escaped(difference), escaped(reason));
    }
    section
}

/// Escapes text for roff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A line with one of these at its start would be a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_request_and_has_no_escapes_of_roff() {
        assert_eq!(escaped(".a -b\\c"), "\\&.a \\-b\\ec");
        assert!(section().lines().all(|line| !line.starts_with('\'')));
    }
}
