//! Seats: which processes have a store open, and proof of their deaths.
//!
//! A process that opens a store takes a seat in it, writes there who it is, for people to read, and holds a lock on the seat's own
//! byte of the file through a descriptor of its own. The kernel drops that lock when the process exits or executes another program,
//! whatever happens, and forked children give their copy up. So whether a seat's lock is held answers whether its process lives; pids,
//! start times and namespaces are not asked, and cannot lie.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::header::SEVERAL;
use super::layout::{PAGE, SEAT_WORDS, SEATS, SEATS_OFFSET, SEATS_PER_PAGE};
use super::{Owner, record};
use crate::{Error, ErrorKind, Holder, Result};

/// Far beyond any byte that is ever mapped.
const LOCKED_FROM: i64 = 1 << 40;
/// Seats taken before any beyond them: enough that the dead are remembered for a while, few enough to stay small.
const USUAL: usize = 1024;

const AT_TURN: usize = 0;
const AT_PID: usize = 1;
const AT_START: usize = 2;
const AT_NAMESPACE: usize = 3;
const AT_COMMAND: usize = 4;

/// The words of all seats, and the file that their locks are on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seats<'a> {
    pub(super) words: &'a [AtomicU64],
    pub(super) backed: &'a [AtomicU64],
    pub(super) file: &'a File,
    pub(super) namespace: &'a AtomicU64,
    pub(super) next: &'a AtomicU64,
    /// The command line of this process.
    pub(super) command: &'a str,
}

impl Seats<'_> {
    /// Takes a free seat; its lock belongs to `keeper`, an open file description that nothing else uses, nor maps.
    pub(super) fn take(self, keeper: &File) -> Result<Owner> {
        let mut no_room = None;
        for seat in self.choices() {
            // Where no room was left for one, only those count that have theirs.
            if (no_room.is_some() && !self.exists(seat)) || !lock_byte(keeper, seat, libc::F_WRLCK)? {
                continue;
            }
            match self.back(seat) {
                Ok(()) => return Ok(self.sit_down(seat)),
                Err(error) => no_room = Some(error),
            }
            lock_byte(keeper, seat, libc::F_UNLCK)?;
        }
        Err(no_room.unwrap_or_else(|| ErrorKind::TooManyProcesses { limit: SEATS as u32 }.into()))
    }

    /// The seats in the order in which they are tried: all processes go round the usual ones together. The dead are known by name until
    /// their seats are taken again, and nobody comes to a seat that was just tried before he has been at all the others.
    fn choices(self) -> impl Iterator<Item = usize> {
        let usual = (0..USUAL).map(move |_| self.next.fetch_add(1, Relaxed) as usize % USUAL);
        usual.chain(USUAL..SEATS)
    }

    fn sit_down(self, seat: usize) -> Owner {
        let words = self.seat(seat);
        let turn = words[AT_TURN].load(Relaxed) % Owner::TURNS + 1;
        let turn = if turn == Owner::TURNS { 1 } else { turn };
        // The turn first: from now on what is said of the earlier one is not believed.
        words[AT_TURN].store(turn, SeqCst);
        self.introduce(words);
        Owner::of_seat(seat, turn)
    }

    /// Writes down who sits there, for people to read, and whether all are of one pid namespace.
    fn introduce(self, words: &[AtomicU64]) {
        let namespace = pid_namespace().unwrap_or(0);
        words[AT_PID].store(u64::from(std::process::id()), Relaxed);
        words[AT_START].store(start_time().unwrap_or(0), Relaxed);
        words[AT_NAMESPACE].store(namespace, Relaxed);
        record::write_text(&words[AT_COMMAND..], self.command);
        let all = self.namespace.compare_exchange(0, namespace, SeqCst, SeqCst).unwrap_or_else(|all| all);
        if all != 0 && all != namespace {
            self.namespace.store(SEVERAL, SeqCst);
        }
    }

    /// Whether thread ids tell threads apart: all processes are of one pid namespace, and that is known.
    pub(super) fn thread_ids_are_unique(self) -> bool {
        !matches!(self.namespace.load(SeqCst), 0 | SEVERAL)
    }

    /// Whether the thread is proved to have ended: its process is dead, or lives in this pid namespace and has no such thread.
    pub(super) fn is_gone(self, owner: Owner) -> bool {
        if self.is_dead(owner) {
            return true;
        }
        let process = self.describe(owner);
        if process.pid == 0 || process.pid_namespace.is_none() || process.pid_namespace != pid_namespace() {
            return false;
        }
        // The process lives, so that its pid is its own; and the files under /proc are those of this namespace if our own pid is.
        let proc_is_ours =
            fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == std::process::id().to_string().as_str());
        let thread = format!("/proc/{}/task/{}", process.pid, process.tid);
        let missing = fs::metadata(thread).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        // If the process died meanwhile, the missing thread is no news, but then the process is dead.
        proc_is_ours && missing
    }

    /// Whether the process is proved to be dead. What cannot be found out is no proof.
    pub(super) fn is_dead(self, owner: Owner) -> bool {
        if owner.is_none() {
            return false;
        }
        if self.exists(owner.seat()) && self.seat(owner.seat())[AT_TURN].load(SeqCst) != owner.turn() {
            return true;
        }
        // In a damaged store the owner may be one of a seat that is not there: nobody has its lock either.
        let mut query = range(owner.seat());
        match fcntl(self.file.as_fd(), FcntlArg::F_OFD_GETLK(&mut query)) {
            Ok(_) => query.l_type == libc::F_UNLCK as libc::c_short,
            Err(_) => false,
        }
    }

    /// What the process said of itself; where its seat was taken by another since, only the thread id is known.
    pub(super) fn describe(self, owner: Owner) -> Holder {
        let unknown = Holder::of_process(0).with_thread(owner.tid());
        if !self.exists(owner.seat()) {
            return unknown;
        }
        let words = self.seat(owner.seat());
        let number = |at: usize| Some(words[at].load(Relaxed)).filter(|number| *number != 0);
        let mut holder = Holder::of_process(words[AT_PID].load(Relaxed) as u32)
            .with_thread(owner.tid())
            .with_command(record::read_text(&words[AT_COMMAND..]));
        holder.start_time = number(AT_START);
        holder.pid_namespace = number(AT_NAMESPACE);
        std::sync::atomic::fence(Acquire);
        if words[AT_TURN].load(Relaxed) == owner.turn() { holder } else { unknown }
    }

    /// How many processes have the store open.
    pub(super) fn count(self) -> usize {
        let seats = (0..SEATS).filter(|seat| self.exists(*seat));
        seats
            .filter(|seat| {
                let turn = self.seat(*seat)[AT_TURN].load(Relaxed);
                turn != 0 && !self.is_dead(Owner::of_seat(*seat, turn))
            })
            .count()
    }

    fn back(self, seat: usize) -> Result<()> {
        let page = seat / SEATS_PER_PAGE;
        if self.exists(seat) {
            return Ok(());
        }
        super::file::back(self.file, page_of(seat), PAGE)?;
        self.backed[page / 64].fetch_or(1 << (page % 64), Release);
        Ok(())
    }

    /// Whether the seat's page is backed by blocks, so that it can be touched.
    fn exists(self, seat: usize) -> bool {
        let page = seat / SEATS_PER_PAGE;
        seat < SEATS && self.backed[page / 64].load(Acquire) & (1 << (page % 64)) != 0
    }

    fn seat(&self, seat: usize) -> &[AtomicU64] {
        &self.words[seat * SEAT_WORDS..][..SEAT_WORDS]
    }
}

/// The page of the file that a seat is in.
pub(super) fn page_of(seat: usize) -> u64 {
    SEATS_OFFSET + (seat / SEATS_PER_PAGE) as u64 * PAGE
}

fn pid_namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino())
}

/// The command line, its parts separated by blanks, and the program without its directory: there is not room for everything.
pub(super) fn command() -> String {
    let line = fs::read("/proc/self/cmdline").unwrap_or_default();
    let line = String::from_utf8_lossy(line.strip_suffix(b"\0").unwrap_or(&line));
    let (program, arguments) = line.split_at(line.find('\0').unwrap_or(line.len()));
    let program = program.rsplit('/').next().unwrap_or_default();
    format!("{program}{arguments}").replace('\0', " ")
}

fn start_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses, with anything in it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Takes the lock of a seat, or gives it back; false when another process has it.
fn lock_byte(keeper: &File, seat: usize, kind: libc::c_int) -> Result<bool> {
    let range = libc::flock { l_type: kind as libc::c_short, ..range(seat) };
    match fcntl(keeper.as_fd(), FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(Error::refused("fcntl F_OFD_SETLK", errno)),
    }
}

fn range(seat: usize) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: LOCKED_FROM + seat as i64,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;

    use super::*;
    use crate::table::layout::BASE_BYTES;

    /// The seats of a table that has nothing else.
    struct Room {
        file: tempfile::NamedTempFile,
        words: Vec<AtomicU64>,
        backed: [AtomicU64; SEATS / SEATS_PER_PAGE / 64],
        namespace: AtomicU64,
        next: AtomicU64,
    }

    impl Room {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(BASE_BYTES).unwrap();
            let words = std::iter::repeat_with(AtomicU64::default).take(SEATS * SEAT_WORDS).collect();
            Self { file, words, backed: [const { AtomicU64::new(0) }; 8], namespace: AtomicU64::new(0), next: AtomicU64::new(0) }
        }

        fn seats(&self) -> Seats<'_> {
            Seats {
                words: &self.words,
                backed: &self.backed,
                file: self.file.as_file(),
                namespace: &self.namespace,
                next: &self.next,
                command: "",
            }
        }

        /// Somebody who sits down; the process lives for as long as the file does.
        fn take(&self) -> (Owner, File) {
            let keeper = self.file.reopen().unwrap();
            (self.seats().take(&keeper).unwrap(), keeper)
        }
    }

    #[test]
    fn every_usual_seat_is_tried_before_any_other() {
        let room = Room::new();
        assert_eq!(room.take().0.seat(), 0, "its page is backed at the creation of the store");
        let mut usual: Vec<_> = room.seats().choices().take(USUAL).collect();
        usual.sort_unstable();
        assert!(usual.into_iter().eq(0..USUAL));
        assert!(room.seats().choices().skip(USUAL).eq(USUAL..SEATS));
    }

    #[test]
    fn the_dead_are_known_by_name_until_all_usual_seats_were_taken() {
        let room = Room::new();
        // Some stay, so that their seats are passed over.
        let _staying: Vec<_> = (0..10).map(|_| room.take()).collect();
        let (dead, keeper) = room.take();
        assert!(!room.seats().is_dead(dead));
        drop(keeper);
        for newcomer in 11..USUAL {
            let (owner, _keeper) = room.take();
            assert!(room.seats().is_dead(dead) && !room.seats().is_dead(owner));
            let told = room.seats().describe(dead).pid;
            assert_eq!(told, std::process::id(), "who died has no name any more, after {newcomer} newcomers");
        }
    }

    #[test]
    fn whoever_passes_a_seat_over_does_not_sit_down_on_that_of_who_comes_next() {
        let room = Room::new();
        let _staying = room.take();
        room.next.store(0, Relaxed);
        let (dead, keeper) = room.take();
        drop(keeper);
        assert_ne!(room.take().0.seat(), dead.seat());
    }

    #[test]
    fn who_has_a_seat_that_is_taken_again_is_dead_and_has_no_name() {
        let room = Room::new();
        let (dead, keeper) = room.take();
        drop(keeper);
        let again = std::iter::repeat_with(|| room.take()).find(|(owner, _)| owner.seat() == dead.seat()).unwrap();
        assert_ne!(again.0.turn(), dead.turn());
        assert!(room.seats().is_dead(dead) && !room.seats().is_dead(again.0));
        assert_eq!(room.seats().describe(dead).pid, 0);
    }

    #[test]
    fn where_there_is_no_room_for_more_seats_those_that_are_there_are_taken() {
        let room = Room::new();
        let (dead, keeper) = room.take();
        drop(keeper);
        room.next.store(SEATS_PER_PAGE as u64, Relaxed);
        // What is open for reading cannot be given room.
        let file = File::open(room.file.path()).unwrap();
        let seats = Seats { file: &file, ..room.seats() };
        let keeper = room.file.reopen().unwrap();
        assert_eq!(seats.take(&keeper).unwrap().seat(), dead.seat());
        let staying: Vec<_> = (1..SEATS_PER_PAGE).map(|_| room.file.reopen().unwrap()).collect();
        assert!(staying.iter().all(|keeper| seats.take(keeper).is_ok()));
        assert!(seats.take(&room.file.reopen().unwrap()).is_err(), "all that are there are taken");
    }

    #[test]
    fn what_cannot_be_found_out_is_no_proof_of_death() {
        let room = Room::new();
        let (owner, keeper) = room.take();
        drop(keeper);
        assert!(room.seats().is_dead(owner));
        // A descriptor that can be asked nothing.
        let file = File::from(open(room.file.path(), OFlag::O_PATH, Mode::empty()).unwrap());
        assert!(!Seats { file: &file, ..room.seats() }.is_dead(owner));
    }

    #[test]
    fn an_owner_of_a_seat_that_is_not_there_is_nobody_who_lives() {
        let room = Room::new();
        let (owner, _keeper) = room.take();
        for seat in [(owner.seat() + 64) % USUAL, SEATS - 1, SEATS, u16::MAX as usize] {
            let nobody = Owner::of_seat(seat, 1).with_thread(1);
            assert!(room.seats().is_dead(nobody), "{nobody:?}");
            assert_eq!(room.seats().describe(nobody).pid, 0);
        }
    }
}
