//! The allocation table.

use super::{Mutation, planted};

pub(super) const PLANTED: &[&[Mutation]] = &[
    ALLOCATION, BITMAP, RECORD, NAME, NAMES, LOCK_LINE, OWNERSHIP, HEADER, FILE, BLOCKS, PROCESS, IDENTITY, LIVENESS, OPENING,
    SHARING,
];

const ALLOCATION: &[Mutation] = planted! { "lock-table/src/allocation.rs":
    "publish-before-label" ["shm"] "a killed allocation leaves an id without its label";
r"            allocated = Some(record.write(label, tag, allocator));
            segment.allocated().set(index);"
        => r"            segment.allocated().set(index);
            allocated = Some(record.write(label, tag, allocator));";
    "claim-unchecked" ["shm"] "two allocations get the same id";
r"        if !record.claim(me, |other| self.is_gone(other)) {
            return Ok(None);
        }"
        => "        let _ = record.claim(me, |other| self.is_gone(other));";
    "not-unclaimed" ["shm"] "a freed id cannot be allocated";
r"        record.unclaim();
"
        => "";
    "hint-trusted" ["shm"] "`Exhausted` although an id is free";
"in [(Bitmap::find as fn(&_, _) -> _, first), (Bitmap::scan, 0)] {"
        => "in [(Bitmap::find as fn(&_, _) -> _, first), (Bitmap::find, 0)] {";
    "full-segments-not-scanned" ["shm"] "`Exhausted` although an id is free";
"(Bitmap::scan, 0)] {"
        => "(Bitmap::scan, first)] {";
    "generation-of-a-free-unchecked" ["shm"] "a stale handle frees another program's id";
"        if generation.is_some_and(|generation| segment.record(index).generation() != generation) {"
        => "        if generation.is_some_and(|generation| false && segment.record(index).generation() != generation) {";
    "free-twice" ["shm"] "a second free is no error";
"        if segment.allocated().clear(index) { Ok(()) } else { Err(not_allocated()) }"
        => r"        segment.allocated().clear(index);
        Ok(())";
    "group-not-backed" ["shm"] "a full file system causes SIGBUS";
r"        segment.back_group(&self.file, index)?;
        let record"
        => "        let record";
    "name-not-looked-at" ["shm"] "allocation succeeds in a store that lost its name";
r"    pub fn allocate(&self, label: &Label) -> Result<LockId> {
        self.check_now_and_then()?;"
        => "    pub fn allocate(&self, label: &Label) -> Result<LockId> {";
};

const BITMAP: &[Mutation] = planted! { "lock-table/src/bitmap.rs":
    "tell-free-omitted" ["shm"] "a freed id is not found";
r"        if before & bit(index) != 0 {
            self.clear_hints(index / BITS);
        }
"
        => "";
    "full-not-taken-back" ["shm"] "a hint reports a group as full after an id was freed";
r"            if self.words.load(level.start + at) != FULL {
                hint.fetch_and(!bit(at), SeqCst);
                return;
            }
"
        => "";
    "scan-does-not-repair" ["shm"] "a wrong hint is not corrected";
r"            if word != FULL {
                self.clear_hints(at);
            }
"
        => "";
};

const RECORD: &[Mutation] = planted! { "lock-table/src/record.rs":
    "generation-not-raised" ["shm"] "a stale handle is not detected";
"        self.0[AT_GENERATION].store(writing.wrapping_add(1), Release);"
        => "        self.0[AT_GENERATION].store(sequence, Release);";
    "names-compared-by-tag" ["shm"] "two names lead to one id";
"words.all(|(word, expected)| word.load(Relaxed) == *expected);"
        => "words.all(|_| true);";
    "tag-not-written" ["shm"] "a name is not found, and is allocated twice";
"(u64::from(tag) << PID_BITS)"
        => "(u64::from(tag) & 0)";
};

const NAME: &[Mutation] = planted! { "lock-table/src/name.rs":
    "groups-skipped" ["shm"] "`Exhausted` although an id is free";
"        let stride = hash as u32 as usize | 1;"
        => "        let stride = hash as u32 as usize & !1;";
    "partial-segment-ignored" ["shm"] "a name gets an id beyond the capacity, or none";
"        (group < valid).then_some(group)"
        => "        (group + 1 < valid || self.round == 0).then_some(group)";
};

const NAMES: &[Mutation] = planted! { "lock-table/src/names.rs":
    "name-not-searched-again" ["shm"] "two processes allocate one name";
r"        match self.find_name(&name)? {
            Some(found) => Ok(found),"
        => r"        match None {
            Some(found) => Ok(found),";
    "name-not-claimed" ["shm"] "two processes allocate one name";
"        while !me.claim(word, |other| other.is_none() || self.is_gone(other)) && word.load(Acquire) != me.word() {"
        => "        while false && !me.claim(word, |other| other.is_none()) && word.load(Acquire) != me.word() {";
    "claim-of-a-name-kept" ["shm"] "other processes wait for a name that is complete";
"        let _ = self.word.compare_exchange(self.me.word(), 0, Release, Relaxed);"
        => "        let _ = (self.word, self.me, Release);";
    "passed-groups-not-marked" ["shm"] "a name beyond a full group is not found, and is allocated twice";
"                self.segment(passed.segment)?.mark(&self.file, Mark::Overflowed, passed.group)?;"
        => "                self.segment(passed.segment)?;";
    "group-of-a-name-not-marked" ["shm"] "a name is not found, and is allocated twice";
r"            segment.mark(&self.file, Mark::Named, place.group)?;
"
        => "";
    "marks-of-groups-ignored" ["shm"] "a name beyond a full group is not found, and is allocated twice";
"            is_last = !segment.as_ref().is_ok_and(|segment| segment.has(Mark::Overflowed, place.group));"
        => "            is_last = true;";
};

const OWNERSHIP: &[Mutation] = planted! { "lock-table/src/slot/ownership.rs":
    "death-not-kept" ["file" "shm"] "the next owner after an inconsistent release gets no report";
r"        self.line().clear_owner_inconsistent();
        true"
        => r"        self.line().clear_owner();
        true";
    "panic-not-recorded" ["shm"] "a panic is not reported";
"            Condition::Panicked => self.death().store(me.with_note(Cause::Panicked.number()).word(), Relaxed),"
        => "            Condition::Panicked => {}";
};

const LOCK_LINE: &[Mutation] = planted! { "lock-table/src/lock_line.rs":
    "both-begin" ["file"] "two threads own a lock through two files of the same name, one of them removed";
"        self.owner.compare_exchange(before.word(), me.word(), AcqRel, Relaxed).ok()?;"
        => "        let _ = (before, AcqRel);
        self.owner.store(me.word(), Relaxed);";
    "owner-not-removed" ["shm"] "a release is reported as a death";
r"        // With file locks and semaphores, this store and the load in `owner` order the critical sections of threads of one process.
        self.owner.store(owner.word(), Release);"
        => "        let _ = owner;";
};

const HEADER: &[Mutation] = planted! { "lock-table/src/header.rs":
    "checksum-not-compared" ["shm"] "a damaged header is accepted";
"        if words[AT_SUM] != sum(&words) {"
        => "        if false && words[AT_SUM] != sum(&words) {";
    "version-not-compared" ["shm"] "a store of another version is accepted";
"        if has_version && words[AT_VERSION]"
        => "        if false && has_version && words[AT_VERSION]";
    "abi-not-compared" ["shm"] "a store of another backend is accepted";
"        if found != Some(kind) {"
        => "        if false && found != Some(kind) {";
    "destroyed-mark-ignored" ["shm"] "a store that is being destroyed is opened";
"            1 => return Err(Error::destroyed()),"
        => "            1 => {}";
};

const FILE: &[Mutation] = planted! { "lock-table/src/file.rs":
    "length-not-checked" ["shm"] "a truncated store causes SIGBUS";
"    check_length(stat.st_size.unsigned_abs(), header::segments(&page))?;"
        => "    let _ = header::segments(&page);";
    "links-not-counted" ["shm"] "a store with a second hard link is accepted";
r#"        links => return Err(untrusted(format!("the file has {links} hard links; remove the others"))),"#
        => "        _ => {}";
    "published-before-filled" ["shm"] "a half-made store is visible";
"    let made = fill(&mut file).and_then(|()| publish(&file, temporary.as_deref(), path));"
        => "    let made = publish(&file, temporary.as_deref(), path).and_then(|()| fill(&mut file));";
};

const BLOCKS: &[Mutation] = planted! { "lock-table/src/blocks.rs":
    "file-size-limit-not-checked" ["shm"] "a limit on file sizes causes a signal";
"    let within = end <= limit ||"
        => "    let within = true || end <= limit ||";
};

const PROCESS: &[Mutation] = planted! { "lock-table/src/process.rs":
    "generation-not-compared" ["shm"] "a report names the process that reused the entry";
"        if words[AT_GENERATION].load(Relaxed) == owner.generation() { holder } else { unknown }"
        => r"        drop(unknown);
        holder";
    "generation-not-counted" ["shm"] "a dead owner counts as alive while another process uses its entry";
"        let generation = Owner::next_generation(before & !WRITING);"
        => "        let generation = (before & !WRITING).max(1);";
    "the-entry-is-always-the-first" ["shm"] "dead owners are no longer named";
"let preferred = (0..PREFERRED).map(move |_| self.next.fetch_add(1, Relaxed) as usize % PREFERRED);"
        => "let preferred = 0..PREFERRED;";
    "no-room-for-an-entry-is-the-end" ["shm"] "a full file system refuses processes although an entry is free";
"                no_room = Some(error);"
        => "                return Err(error);";
};

const IDENTITY: &[Mutation] = planted! { "lock-table/src/identity.rs":
    "unknown-is-dead" ["shm"] "an invisible owner is declared dead";
r"            Ok(_) => LifeState::Alive,
            Err(life) => life,"
        => r"            Ok(_) => LifeState::Alive,
            Err(_) => LifeState::Dead(Cause::Unknown),";
    "another-namespace-is-dead" ["shm"] "an owner in another PID namespace is declared dead";
r"        if self.pid == 0 || self.namespace == 0 || self.namespace != me.namespace {
            return Err(LifeState::Unknown);"
        => r"        if self.pid == 0 || self.namespace == 0 || self.namespace != me.namespace {
            return Err(LifeState::Dead(Cause::ProcessEnded));";
    "zombie-lives" ["shm"] "the lock of a dead process stays locked until its parent waits for it";
"        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))"
        => "        false && matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))";
    "process-id-alone" ["shm"] "a dead owner counts as alive while another process has its pid";
"            Some(false) => Err(LifeState::Dead(Cause::ProcessEnded)),"
        => "            Some(false) => Ok(process),";
};

const LIVENESS: &[Mutation] = planted! { "lock-table/src/liveness.rs":
    "denial-is-another-process" ["shm"] "a policy that denies file locks is reported as too many processes";
"        Err(Errno::EAGAIN) => Ok(false),"
        => "        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),";
    "liveness-lock-not-asked" ["shm"] "dead processes count as alive";
"    Some(query.l_type != libc::F_UNLCK as libc::c_short)"
        => r"    let _ = query;
    Some(true)";
};

const OPENING: &[Mutation] = planted! { "lock-table/src/opening.rs":
    "replaced-not-noticed" ["shm"] "allocation succeeds in a replaced store";
"                    (_, Some(_)) => return Err(Error::replaced()),"
        => "                    (_, Some(_)) => stat.st_size.unsigned_abs(),";
    "cut-off-not-noticed" ["shm"] "truncating an open store causes SIGBUS";
r"        file::check_end(length, end)?;
        self.check_mark()?;"
        => r"        let _ = (length, end);
        self.check_mark()?;";
};

const SHARING: &[Mutation] = planted! { "lock-table/src/sharing.rs":
    "mode-not-looked-at" ["shm"] "a store that other users may write to is accepted";
"        if found.mode & (GROUP_WRITES | OTHERS_WRITE) & !allowed != 0 {"
        => "        if false && found.mode & (GROUP_WRITES | OTHERS_WRITE) & !allowed != 0 {";
    "owner-not-looked-at" ["shm"] "a store of an untrusted user is accepted";
"        if !self.trusts(found.uid) && !is_of_group"
        => "        if false && !is_of_group";
    "group-not-looked-at" ["shm"] "a store of another group is accepted";
"        if let Some(group) = self.group.filter(|group| group.gid() != found.gid) {"
        => "        if let Some(group) = self.group.filter(|_| false) {";
};
