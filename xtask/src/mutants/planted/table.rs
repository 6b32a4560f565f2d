//! The allocation table.

use super::{Mutation, planted};

pub(super) const PLANTED: &[&[Mutation]] = &[
    ALLOCATION,
    BITMAP,
    BLOCKS,
    BOUND,
    FILE,
    GROWTH,
    HEADER,
    IDENTITY,
    LIVENESS,
    LOCK_LINE,
    NAME,
    NAMES,
    OPENING,
    OWNERSHIP,
    PROCESS,
    QUEUE,
    RAISED_BOUND,
    RECLAIMING,
    RECORD,
    SHARING,
    TABLE,
    WAIT,
    WAITERS,
    WAITING,
];

const ALLOCATION: &[Mutation] = planted! { "lock-table/src/allocation.rs":
    "publish-before-label" ["shm"] "a killed allocation leaves an id without its label";
r"            allocated = Some(record.write(label, tag, allocator));
            bits.set(index);"
        => r"            bits.set(index);
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
"        if bits.clear(index) { Ok(()) } else { Err(not_allocated()) }"
        => r"        bits.clear(index);
        Ok(())";
    "group-not-backed" ["shm"] "a full file system causes SIGBUS";
r"        segment.back_group(&self.file, index)?;
        let record"
        => "        let record";
    "name-not-looked-at" ["shm"] "allocation succeeds in a store that lost its name";
r"    fn allocate_tagged(&self, label: &Label, tag: u8) -> Result<LockId> {
        self.check_now_and_then()?;"
        => "    fn allocate_tagged(&self, label: &Label, tag: u8) -> Result<LockId> {";
};

const BITMAP: &[Mutation] = planted! { "lock-table/src/bitmap.rs":
    "tell-free-omitted" ["shm"] "a freed id is not found";
r"        if before & bit(index) != 0 {
            self.clear_hints(0, index / BITS);
        }
"
        => "";
    "full-not-taken-back" ["shm"] "a hint reports a group as full after an id was freed";
r"            if self.words.load(self.levels.all[level] + at) != FULL {
                return self.clear_hints(level, at);
            }
"
        => "";
    "scan-does-not-repair" ["shm"] "a wrong hint is not corrected";
r"            if word != FULL {
                self.clear_hints(0, at);
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
    "sequence-by-bound" ["shm"] "a name is allocated twice when the capacity is raised";
"    limit.div_ceil(GROUP as u64).next_power_of_two() * GROUP as u64"
        => "    limit.div_ceil(GROUP as u64) * GROUP as u64";
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
    "partial-group-ignored" ["shm"] "a name gets no id although one is free";
"            let is_valid = place.first() < limit;"
        => "            let is_valid = place.first() + 64 <= limit;";
    "earlier-sequences-not-searched" ["shm"] "a name is allocated twice when the capacity is raised";
"        std::iter::successors(Some(rounded(self.limit())), move |limit| (*limit > first).then_some(limit / 2))"
        => "        std::iter::successors(Some(rounded(self.limit())), move |limit| (*limit > first && first == 0).then_some(limit / 2))";
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

const GROWTH: &[Mutation] = planted! { "lock-table/src/growth.rs":
    "raised-bound-ignored" ["shm"] "a raised capacity has no effect";
"        decode(self.state().raised_bound.load(Acquire), created).unwrap_or(created)"
        => "        decode(self.state().raised_bound.load(Acquire) & 0, created).unwrap_or(created)";
    "every-growth-changes-nothing" ["shm"] "the capacity cannot be raised";
"            let Some(raised) = present.raised_to(capacity)? else { return Ok(()) };"
        => "            let (Some(raised), true) = (present.raised_to(capacity)?, seen != 0) else { return Ok(()) };";
};

const QUEUE: &[Mutation] = planted! { "lock-table/src/slot/queue.rs":
    "youngest-waiter-first" ["posix-sem" "file"] "waiters are not served in the order of their waits";
".min_by_key(place)"
        => ".max_by_key(place)";
    "reservation-without-an-end" ["file" "posix-sem"] "a stopped waiter keeps a free lock from all others";
"return (now.wrapping_sub(present) & TIME) << UNIT >= RESERVATION;"
        => "return false;";
    "reserved-for-the-dead" ["file" "posix-sem"] "a free lock is kept for a waiter that was killed";
"            if table.is_gone(first.wait.thread) {"
        => "            if false {";
    "starvation-not-announced" ["posix-sem" "file"] "a thread that locks again immediately starves the others";
"            self.announce(start);"
        => "";
};

const RAISED_BOUND: &[Mutation] = planted! { "lock-table/src/raised_bound.rs":
    "raised-bound-not-checked" ["shm"] "a damaged capacity is accepted";
"        _ if greatest == !check && bound.limit() > created.limit() => Some(bound),"
        => "        _ if greatest == !check || bound.limit() > created.limit() => Some(bound),";
};

const BOUND: &[Mutation] = planted! { "lock-table/src/options.rs":
    "smaller-capacity-accepted" ["shm"] "a store seems to become smaller";
"        if raised.limit() < self.limit() {"
        => "        if raised.limit() > self.limit() {";
    "earlier-capacity-refused" ["shm"] "a program with an earlier URL does not open a store that was raised";
"        if (created.limit()..=self.limit()).contains(&asked.limit()) {"
        => "        if (self.limit().max(created.limit())..=self.limit()).contains(&asked.limit()) {";
};

const TABLE: &[Mutation] = planted! { "lock-table/src/table.rs":
    "raised-segment-not-noticed" ["shm"] "a process does not use the new ids of a segment that it has mapped";
r"                segment.raise(self.valid_ids(number));
"
        => "";
};

const RECLAIMING: &[Mutation] = planted! { "lock-table/src/reclaiming.rs":
    "live-process-reclaimed" ["shm"] "the temporary id of a live process is freed";
"        !self.processes_table().may_have(pid, start_time, namespace)"
        => "        !self.processes_table().may_have(pid + 1, start_time, namespace)";
    "unknown-process-reclaimed" ["shm"] "the temporary id of a process that cannot be identified is freed";
"        let Some((start_time, namespace)) = birth.decode() else { return false };"
        => "        let Some((start_time, namespace)) = birth.decode() else { return true };";
    "held-id-reclaimed" ["shm"] "the temporary id of a held lock is freed";
"record.tag() == TEMPORARY && has_left(record) && (owner.is_none() || !is_held(line, owner))"
        => "record.tag() == TEMPORARY && has_left(record) && (owner.is_none() || !is_held(line, owner) || owner != me)";
    "lasting-id-reclaimed" ["shm"] "an id that is not temporary is freed";
"record.tag() == TEMPORARY && has_left(record)"
        => "record.tag() <= TEMPORARY && has_left(record)";
    "reclaimed-id-not-checked-again" ["shm"] "an allocation is freed that was not checked";
"        let reclaimed = segment.allocated().get(index) && is_left() && segment.allocated().clear(index);"
        => "        let reclaimed = (is_left() || segment.allocated().get(index)) && segment.allocated().clear(index);";
    "reclaimed-id-stays-claimed" ["shm"] "a reclaimed id cannot be allocated";
r"        record.unclaim();
        reclaimed"
        => "        reclaimed";
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
r"        let mut token = self.token.fetch_add(1, Relaxed).wrapping_add(1);
        self.owner.compare_exchange(before.word(), me.word(), AcqRel, Relaxed).ok()?;"
        => "        let mut token = self.token.fetch_add(1, Relaxed).wrapping_add(1);
        let _ = (before, AcqRel);
        self.owner.store(me.word(), Relaxed);";
    "both-acquire" ["posix-sem"] "two threads that find a lock free own it";
r"        self.owner.compare_exchange(before.word(), me.word(), AcqRel, Relaxed).ok()?;
        let token = self.next_token();"
        => "        let _ = (before, AcqRel);
        self.owner.store(me.word(), Relaxed);
        let token = self.next_token();";
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

const WAITERS: &[Mutation] = planted! { "lock-table/src/waiters.rs":
    "waiter-slot-not-freed" ["shm"] "a thread is listed as a waiter after its wait has ended";
"        let _ = self.slot(slot)[AT_OWNER].compare_exchange(me.word(), 0, Release, Relaxed);"
        => "        let _ = (slot, me);";
    "waiter-slots-of-the-dead-kept" ["shm"] "killed waiters fill the waiter table";
r"            .or_else(|| slots().take(CHECKED).find(|slot| self.take_over(*slot, me, &is_gone)))
"
        => "";
    "waiter-record-incomplete" ["shm"] "a thread that was killed while it recorded its wait is listed for an earlier wait";
"        if thread.is_none() || thread.note() != 0 {"
        => "        if thread.is_none() {";
};

const WAITING: &[Mutation] = planted! { "lock-table/src/waiting.rs":
    "dead-waiters-listed" ["shm"] "a killed waiter is listed";
"        line.is_some_and(|line| line.owner() != wait.thread) && !self.is_gone(wait.thread)"
        => "        line.is_some_and(|line| line.owner() != wait.thread)";
    "token-of-waiters-not-compared" ["shm"] "a holder seems to have held a lock since before it acquired it";
"waits.iter().filter(|wait| Some(wait.token) == token)"
        => "waits.iter().filter(|wait| Some(wait.token) == token || true)";
    "waiters-of-a-cut-store-read" ["shm"] "listing the locks of a truncated store causes SIGBUS";
r"        self.check_whole()?;
        let now"
        => "        let now";
};

const WAIT: &[Mutation] = planted! { "lock-table/src/slot/waiting.rs":
    "wait-recorded-in-parts" ["shm"] "a long wait with a cancellation is listed as a short one";
r"        let mut waiting = self.waiting();
        while let Some(deadline) = next() {"
        => r"        while let Some(deadline) = next() {
            let mut waiting = self.waiting();";
};
