//! A program that locks the mutexes of a segment with libc's functions, as podman does.

use std::env;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use crate::scene::Running;

/// The environment variable with the path of the segment. It makes this binary such a program.
const VARIABLE: &str = "LOCKCTL_PEER";

/// Locks the mutex of each id that it reads, and prints the id before and after. Returns `None` if this process is not such a program.
pub(crate) fn run() -> Option<ExitCode> {
    let segment = Segment::map(Path::new(&env::var_os(VARIABLE)?));
    for line in io::stdin().lock().lines() {
        let id = line.unwrap();
        println!("locking {id}");
        io::stdout().flush().unwrap();
        // Without a number, it is the mutex of the segment.
        segment.lock(id.parse().map_or(8, |id: usize| 64 + 1288 * (id / 32) + 40 * (id % 32)));
        println!("locked {id}");
        io::stdout().flush().unwrap();
    }
    Some(ExitCode::SUCCESS)
}

struct Segment {
    start: *mut u8,
}

impl Segment {
    fn map(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let length = NonZero::new(file.metadata().unwrap().len() as usize).unwrap();
        // SAFETY: the kernel chooses the address, and the mapping lasts as long as the process.
        let start =
            unsafe { mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, file, 0) }.unwrap();
        Self { start: start.as_ptr().cast() }
    }

    fn lock(&self, offset: usize) {
        // SAFETY: the segment has an initialized mutex of libc there, which all its users change only by libc's functions or by the same
        // protocol.
        let result = unsafe { libc::pthread_mutex_lock(self.start.add(offset).cast()) };
        assert!([0, libc::EOWNERDEAD].contains(&result), "{offset}: {}", io::Error::from_raw_os_error(result));
    }
}

/// Such a program, which runs.
pub(crate) struct Peer {
    pub(crate) running: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(segment: &Path) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.env(VARIABLE, segment).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&mut command);
        let (stdin, stdout) = (running.0.stdin.take().unwrap(), running.0.stdout.take().unwrap());
        Self { running, stdin, stdout: BufReader::new(stdout) }
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Locks a free mutex.
    pub(crate) fn lock(&mut self, id: impl Display) {
        self.begin(&id);
        assert_eq!(self.read(), format!("locked {id}\n"));
    }

    /// Begins to lock a mutex.
    pub(crate) fn begin(&mut self, id: impl Display) {
        writeln!(self.stdin, "{id}").unwrap();
        assert_eq!(self.read(), format!("locking {id}\n"));
    }

    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }
}
