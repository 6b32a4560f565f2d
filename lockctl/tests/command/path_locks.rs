//! Locks of files, directories and descriptors: the excluded programs, waiting, and the end of a holder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::scratch::{CommandOutput, Held, Scratch, lockctl, output_of};

/// A kind of lock that other programs use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// flock(2), as flock(1) uses.
    Flock,
    /// `F_OFD_SETLK`, as `flock --fcntl` uses.
    Record,
}

impl Kind {
    /// Locks the file exclusively. `None` if it is busy.
    fn lock(self, file: &File) -> Option<()> {
        match self {
            // The lock belongs to the open file description, so that the duplicate need not be kept.
            Self::Flock => flock(file).map(std::mem::forget),
            Self::Record => match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
                Err(Errno::EAGAIN | Errno::EACCES) => None,
                result => result.map(drop).map(Some).expect("fcntl"),
            },
        }
    }

    fn unlock(self, file: &File) {
        match self {
            Self::Flock => drop(flock(file).expect("it is held by this description")),
            Self::Record => drop(fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))).expect("fcntl")),
        }
    }
}

/// Locks the file with flock(2). The result releases the lock when it is dropped.
fn flock(file: &File) -> Option<Flock<File>> {
    Flock::lock(file.try_clone().expect("a descriptor"), FlockArg::LockExclusiveNonblock).ok()
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("a file")
}

struct Setup {
    scratch: Scratch,
    path: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        Self { scratch, path }
    }

    /// `lockctl run` of the file.
    fn command(&self, options: &[&str], command: &[&str]) -> Command {
        lockctl(&[&["run"], options, &[self.path.to_str().expect("UTF-8")], command].concat())
    }

    fn run(&self, options: &[&str]) -> CommandOutput {
        output_of(&mut self.command(options, &["echo", "in"]))
    }

    fn start(&self, options: &[&str]) -> Child {
        self.command(options, &["echo", "in"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lockctl runs")
    }

    fn hold(&self) -> Held {
        Held::start(self.command(&[], &["sh", "-c", "echo $$; read line"]))
    }
}

/// Waits until a thread of the process sleeps for a lock on a file.
fn await_file_wait(process: &mut Child) {
    let sleeps = |task: PathBuf| {
        let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
        let mut fields = call.split(' ');
        let number = fields.next().and_then(|number| number.parse().ok());
        let operation = fields.nth(1).map(str::to_owned);
        match number {
            Some(libc::SYS_flock) => true,
            Some(libc::SYS_fcntl) => operation == Some(format!("{:#x}", libc::F_OFD_SETLKW)),
            _ => false,
        }
    };
    loop {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).into_iter().flatten().flatten();
        if tasks.into_iter().any(|task| sleeps(task.path())) {
            return;
        }
        assert!(process.try_wait().expect("a child").is_none(), "it has ended");
        std::thread::yield_now();
    }
}

#[rstest]
fn a_lock_of_another_program_is_respected_and_its_holder_named(#[values(Kind::Flock, Kind::Record)] kind: Kind) {
    let setup = Setup::new();
    let file = open(&setup.path);
    kind.lock(&file).expect("it is free");
    for (options, code, word) in [(&["-n"][..], 1, "is busy"), (&["-w", "0.01", "-E", "9"], 9, "timed out")] {
        let output = setup.run(options);
        assert_eq!((output.code, output.out.as_str(), output.err.lines().count()), (Some(code), "", 1), "{output:?}");
        let holder = format!("held by pid {}", std::process::id());
        assert!(output.err.contains(word) && output.err.contains(&holder), "{output:?}");
        assert!(output.err.contains(setup.path.to_str().unwrap()), "{output:?}");
    }
    kind.unlock(&file);
    assert_eq!(setup.run(&["-n"]).out, "in\n");
}

#[rstest]
fn a_locked_file_is_locked_for_other_programs(#[values(Kind::Flock, Kind::Record)] kind: Kind) {
    let setup = Setup::new();
    let held = setup.hold();
    let file = open(&setup.path);
    assert_eq!(kind.lock(&file), None);
    assert_eq!(setup.run(&["-n"]).code, Some(1));
    assert_eq!(held.release().code, Some(0));
    assert_eq!(kind.lock(&file), Some(()));
}

/// A file that may be executed is not opened for writing. Its record lock is for reading, and excludes those for writing.
#[rstest]
fn an_executable_file_is_locked_for_other_programs(#[values(Kind::Flock, Kind::Record)] kind: Kind) {
    let setup = Setup::new();
    let file = open(&setup.path);
    fs::set_permissions(&setup.path, Permissions::from_mode(0o755)).unwrap();
    let held = setup.hold();
    assert_eq!(kind.lock(&file), None);
    assert_eq!(setup.run(&["-n"]).code, Some(1));
    held.release();
    assert_eq!(kind.lock(&file), Some(()));
    assert_eq!(setup.run(&["-n"]).code, Some(1));
}

#[test]
fn a_directory_is_locked() {
    let mut setup = Setup::new();
    setup.path = setup.scratch.path().to_owned();
    let held = setup.hold();
    assert!(flock(&File::open(&setup.path).unwrap()).is_none());
    assert_eq!(setup.run(&["-n"]).code, Some(1));
    held.release();
    assert_eq!(setup.run(&["-n"]).out, "in\n");
}

#[rstest]
fn a_wait_for_a_file_never_ends_early(#[values(Kind::Flock, Kind::Record)] kind: Kind) {
    let setup = Setup::new();
    let file = open(&setup.path);
    kind.lock(&file).unwrap();
    let start = Instant::now();
    assert_eq!(setup.run(&["-w", "0.3"]).code, Some(1));
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[rstest]
fn a_waiter_acquires_a_released_file(
    #[values(Kind::Flock, Kind::Record)] kind: Kind,
    #[values(&[], &["-w", "1000"])] options: &[&str],
) {
    let setup = Setup::new();
    let file = open(&setup.path);
    kind.lock(&file).unwrap();
    let mut waiter = setup.start(options);
    await_file_wait(&mut waiter);
    kind.unlock(&file);
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"));
}

/// Two programs that acquire both kinds in different orders do not wait for each other.
#[rstest]
#[case(Kind::Flock, Kind::Record)]
#[case(Kind::Record, Kind::Flock)]
fn a_waiter_for_one_kind_does_not_hold_the_other(#[case] first: Kind, #[case] second: Kind) {
    let setup = Setup::new();
    let file = open(&setup.path);
    first.lock(&file).unwrap();
    let mut waiter = setup.start(&[]);
    await_file_wait(&mut waiter);
    second.lock(&file).expect("the waiter does not hold it");
    first.unlock(&file);
    second.unlock(&file);
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"));
}

#[test]
fn many_runs_count_correctly() {
    let setup = Setup::new();
    let counter = setup.scratch.path().join("counter");
    fs::write(&counter, "0").unwrap();
    let script = format!("read n <{0}; echo $((n + 1)) >{0}", counter.display());
    let runs: Vec<_> =
        (0..20).map(|_| setup.command(&[], &["sh", "-c", &script]).stderr(Stdio::null()).spawn().unwrap()).collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(fs::read_to_string(&counter).unwrap().trim(), "20");
}

/// The waiter acquires the lock of the removed file, which later commands do not use.
#[test]
fn a_waiter_of_a_removed_file_uses_the_new_file() {
    let setup = Setup::new();
    let held = setup.hold();
    let mut waiter = setup.start(&[]);
    await_file_wait(&mut waiter);
    fs::remove_file(&setup.path).unwrap();
    let other = setup.hold();
    held.release();
    await_file_wait(&mut waiter);
    assert_eq!(setup.run(&["-n"]).code, Some(1), "the other command has the lock");
    other.release();
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"));
}

#[test]
fn killing_lockctl_kills_the_command_and_releases_the_file() {
    let setup = Setup::new();
    let mut held = setup.hold();
    kill(Pid::from_raw(held.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(held.line(), "", "the command wrote after lockctl was killed");
    assert_eq!(setup.run(&["-n"]).out, "in\n");
    held.end();
}

#[test]
fn a_signal_ends_a_wait_for_a_file() {
    let setup = Setup::new();
    let held = setup.hold();
    let mut waiter = setup.start(&["-w", "1000"]);
    await_file_wait(&mut waiter);
    kill(Pid::from_raw(waiter.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(waiter.wait().unwrap().signal(), Some(15));
    held.release();
}

/// Only the thread that waits for the lock handles the signal that interrupts it.
#[test]
fn the_signal_of_a_deadline_from_outside_does_not_end_a_wait() {
    let setup = Setup::new();
    let held = setup.hold();
    let mut waiter = setup.start(&["-w", "1000"]);
    await_file_wait(&mut waiter);
    for _ in 0..20 {
        kill(Pid::from_raw(waiter.id() as i32), Signal::SIGURG).unwrap();
    }
    await_file_wait(&mut waiter);
    held.release();
    assert_eq!(CommandOutput::from(waiter.wait_with_output().unwrap()).out, "in\n");
}

#[test]
fn a_run_without_a_fork_is_the_command_and_keeps_the_lock() {
    let setup = Setup::new();
    let held = Held::start(setup.command(&["-F"], &["sh", "-c", "echo $$; read line; exit 5"]));
    assert_eq!(held.command, held.pid());
    assert_eq!(setup.run(&["-n"]).code, Some(1));
    assert_eq!(held.release().code, Some(5));
    assert_eq!(setup.run(&["-n"]).out, "in\n");
}

#[test]
fn a_command_under_a_path_does_not_see_the_variables_of_an_outer_run() {
    let setup = Setup::new();
    for options in [&[][..], &["-F"]] {
        let mut run =
            setup.command(options, &["sh", "-c", "echo ${LOCKCTL_ID-none} ${LOCKCTL_TOKEN-none} ${LOCKCTL_RECOVERED-none}"]);
        let run = run.env("LOCKCTL_ID", "3").env("LOCKCTL_TOKEN", "4").env("LOCKCTL_RECOVERED", "text");
        assert_eq!(output_of(run).out, "none none none\n");
    }
}

/// The command has no descriptor of the lock, unless it takes the place of lockctl.
#[test]
fn only_a_run_without_a_fork_passes_the_descriptor_on() {
    let setup = Setup::new();
    fs::write(&setup.path, "").unwrap();
    let inode = fs::metadata(&setup.path).unwrap().ino();
    let script = "for fd in /proc/$$/fd/*; do stat -L -c %i $fd; done 2>/dev/null";
    for (options, count) in [(&[][..], 0), (&["-o"], 0), (&["-F"], 1)] {
        let output = output_of(&mut setup.command(options, &["sh", "-c", script]));
        let found = output.out.lines().filter(|line| *line == inode.to_string()).count();
        assert_eq!(found, count, "{options:?} {output:?}");
    }
}

#[test]
fn a_path_needs_no_store() {
    let setup = Setup::new();
    let mut run = setup.command(&[], &["echo", "in"]);
    assert_eq!(output_of(run.env("LOCKCTL_STORE", setup.scratch.url())).out, "in\n");
    assert!(!setup.scratch.file().exists());
}

#[test]
fn a_descriptor_is_locked_until_the_script_closes_it() {
    let setup = Setup::new();
    let script = "exec 9>\"$0\"; \"$1\" fd -n 9 || exit; echo $$; read line; exec 9>&-; echo closed; read line";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(&setup.path).arg(env!("CARGO_BIN_EXE_lockctl"));
    let mut held = Held::start(shell);
    let output = setup.run(&["-n"]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains(&format!("held by pid {}", held.pid())), "{output:?}");
    let file = open(&setup.path);
    for kind in [Kind::Flock, Kind::Record] {
        assert_eq!(kind.lock(&file), None);
    }
    held.write_line();
    assert_eq!(held.line(), "closed\n");
    assert_eq!(setup.run(&["-n"]).out, "in\n");
    held.release();
}

/// A lock that the wait acquired too late would stay with the descriptor of the script.
#[rstest]
fn a_wait_for_a_descriptor_that_times_out_leaves_no_lock(#[values(Kind::Flock, Kind::Record)] kind: Kind) {
    let setup = Setup::new();
    let file = open(&setup.path);
    kind.lock(&file).unwrap();
    let script = "exec 9>\"$0\"; \"$1\" fd -w 0.05 -E 7 9; echo $?; read line";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(&setup.path).arg(env!("CARGO_BIN_EXE_lockctl"));
    let held = Held::start(shell);
    assert_eq!(held.command, 7);
    kind.unlock(&file);
    assert_eq!(setup.run(&["-n"]).out, "in\n");
    held.release();
}
