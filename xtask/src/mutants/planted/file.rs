//! File locks.

use super::{Mutation, planted};

pub(super) const PLANTED: &[&[Mutation]] = &[SYS, CLAIM, LOCK, RECOVERY, LOCK_FILE, BENEATH, TREE];

const SYS: &[Mutation] = planted! { "lock-file/src/sys.rs":
    "lock-not-taken" ["file"] "two processes own the lock";
"    match set(file, |range| FcntlArg::F_OFD_SETLK(range), libc::F_WRLCK) {"
        => "    match set(file, |range| FcntlArg::F_OFD_SETLK(range), libc::F_UNLCK) {";
    "denial-is-busy" ["file"] "a policy that denies file locks is reported as a busy lock";
"        Err(Errno::EAGAIN) => Ok(false),"
        => "        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),";
    "shared-lock" ["file"] "two processes own the lock";
"    set(file, |range| FcntlArg::F_OFD_SETLKW(range), libc::F_WRLCK)"
        => "    set(file, |range| FcntlArg::F_OFD_SETLKW(range), libc::F_RDLCK)";
    "signal-ends-a-wait" ["file"] "a signal interrupts a wait";
r"            // A signal interrupts a blocking call, and any call on a file system that asks a server.
            Err(Errno::EINTR) => {}
"
        => "";
};

const CLAIM: &[Mutation] = planted! { "lock-file/src/claim.rs":
    "threads-not-excluded" ["file"] "two threads that share a handle own the lock";
r"            if !free && present & PURPOSE != Purpose::Attempt as u64 {
                return false;
            }"
        => r"            if !free && present & PURPOSE != Purpose::Attempt as u64 {
                return true;
            }";
};

const LOCK: &[Mutation] = planted! { "lock-file/src/lock.rs":
    "wait-in-the-kernel-not-recorded" ["file"] "a thread that waits without a deadline is not listed";
r"                self.queue().enqueue(caller, waiting);
                self.acquire_blocking(caller, me, waiting)"
        => "                self.acquire_blocking(caller, me, waiting)";
    "newcomers-overtake" ["file"] "a thread that locks again immediately starves the others";
r"        if self.queue().is_reserved(caller, waiting) {
            return Ok(Attempt::Reserved);
        }
        Ok("
        => "        Ok(";
    "order-of-the-kernel-kept" ["file"] "threads without a deadline starve one with a deadline";
r"                if self.queue().is_reserved(caller, waiting) {
                    self.unlock(file)?;
                    return Ok(None);
                }
"
        => "";
    "waiters-not-called" ["file"] "a waiter with a deadline only polls";
r"        self.claim.release();
        self.wake_waiters();
        unlocked"
        => r"        self.claim.release();
        unlocked";
    "own-descriptor-not-closed" ["file"] "a dead parent's lock is held by its child";
"                Descriptor::new(descriptors::above_reserved(file)?)?.marked()"
        => "                Descriptor::shared(descriptors::above_reserved(file)?)?.marked()";
};

const RECOVERY: &[Mutation] = planted! { "lock-file/src/recovery.rs":
    "living-owner-not-looked-for" ["file"] "a lock is taken from a live owner whose descriptor was closed";
"    let free = before.is_none() || slot.table().is_dead_or_dying(before);"
        => "    let free = true;";
};

const LOCK_FILE: &[Mutation] = planted! { "lock-file/src/lock_file.rs":
    "lock-file-of-a-lost-store" ["file"] "two stores of one name lock different files without an error" because "it needs a store that is destroyed between two system calls of an acquisition";
r"                    if table.is_destroyed() {
                        let _ = self.remove();"
        => r"                    if false {
                        let _ = self.remove();";
};

const BENEATH: &[Mutation] = planted! { "lock-file/src/beneath.rs":
    "links-followed" ["file"] "root follows a member's link and creates files elsewhere";
"    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;"
        => "    let resolve = ResolveFlag::empty();";
};

const TREE: &[Mutation] = planted! { "lock-file/src/tree.rs":
    "files-of-root-not-given" ["file"] "the user has no access to files that root creates in the store";
"        let uid = (status.st_uid != self.access.uid && geteuid().is_root()).then(|| Uid::from_raw(self.access.uid));"
        => "        let uid = None::<Uid>;";
    "set-group-id-dropped" ["file"] "files that a member creates in a group's store have another group";
"        set_mode(created, bits | status.st_mode & SET_GROUP_ID)"
        => "        set_mode(created, bits & !SET_GROUP_ID)";
};
