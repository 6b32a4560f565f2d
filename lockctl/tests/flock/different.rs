//! Scripts with another outcome, on purpose. The manual has a table of these differences, with the reasons.

use crate::script::Outcome;

/// A script and its outcome with each tool.
pub(crate) struct Case {
    pub(crate) reason: &'static str,
    pub(crate) script: &'static str,
    pub(crate) flock: Expected,
    pub(crate) lockctl: Expected,
}

/// An exit status and the text on stdout.
pub(crate) struct Expected(i32, &'static str);

impl Expected {
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome { code: Some(self.0), out: self.1.to_owned() }
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        reason: "a background child does not keep the lock",
        script: "lock ./file sh -c 'sleep 100 >/dev/null & echo $! >pid'; lock -n ./file echo in; kill $(cat pid)",
        flock: Expected(0, ""),
        lockctl: Expected(0, "in\n"),
    },
    Case {
        reason: "the death of the tool ends the command, which has lost its lock",
        script: "lock ./file sh -c 'kill -9 $PPID; while kill -0 $PPID; do :; done 2>/dev/null; echo survived >out'
            lock ./file cat out",
        flock: Expected(0, "survived\n"),
        lockctl: Expected(1, ""),
    },
    Case {
        reason: "a word without a slash is the name of a lock in the store",
        script: "lock word echo in; ls word",
        flock: Expected(0, "in\nword\n"),
        lockctl: Expected(2, "in\n"),
    },
    Case {
        reason: "a number is the id of a lock in the store",
        script: "lock 3 sh -c 'echo $LOCKCTL_ID'; ls 3",
        flock: Expected(0, "\n3\n"),
        lockctl: Expected(2, "3\n"),
    },
    Case {
        reason: "a number without a command is an error: lockctl fd locks descriptors",
        script: "exec 9>./file; lock 9",
        flock: Expected(0, ""),
        lockctl: Expected(64, ""),
    },
    Case {
        reason: "a name after -- is more likely a command without a lock",
        script: "lock -- word echo in",
        flock: Expected(0, "in\n"),
        lockctl: Expected(64, ""),
    },
    Case {
        reason: "-- may separate the lock from the command",
        script: "lock ./file -- echo in",
        flock: Expected(69, ""),
        lockctl: Expected(0, "in\n"),
    },
    Case {
        reason: "-c may precede the lock, as other options",
        script: "lock -c 'echo in' ./file",
        flock: Expected(64, ""),
        lockctl: Expected(0, "in\n"),
    },
    Case {
        reason: "shared locks are not supported yet",
        script: "lock -s ./file echo in",
        flock: Expected(0, "in\n"),
        lockctl: Expected(69, ""),
    },
    Case {
        reason: "a time to wait is a decimal number",
        script: "lock -w 0x1 ./file echo in",
        flock: Expected(0, "in\n"),
        lockctl: Expected(64, ""),
    },
    Case {
        reason: "a file that was replaced during the wait is not the lock of later commands",
        script: "mkfifo ready end
            lock ./file -c 'echo >ready; cat end' &
            read line <ready
            lock ./file sh -c 'lock -n ./file echo the new file is free; echo $?' &
            while ! grep -q -- \"-> FLOCK .* $! \" /proc/locks; do :; done
            rm ./file
            echo ended >end
            wait",
        flock: Expected(0, "ended\nthe new file is free\n0\n"),
        lockctl: Expected(0, "ended\n1\n"),
    },
];
