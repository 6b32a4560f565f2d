use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use crate::{port, program};

/// How long a server may need until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PostgreSQL server, with a user `locks` who may do everything and needs no password.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    scratch: TempDir,
    programs: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Postgres {
    /// Starts a server. The settings are lines of `postgresql.conf`, after those for a server that loses its data when the machine does.
    ///
    /// # Errors
    /// What this machine lacks.
    ///
    /// # Panics
    /// If the server cannot be created, or does not answer in time.
    pub fn start(settings: &str) -> Result<Self, String> {
        let programs = installed()?;
        // A short path: that of a socket has at most 107 bytes.
        let scratch = tempfile::Builder::new().prefix("lock-pg-").tempdir_in("/tmp").map_err(|error| error.to_string())?;
        let [port] = port::free();
        let server = Self { port, scratch, programs, child: Mutex::new(None) };
        if geteuid().is_root() {
            let (uid, gid) = unprivileged_user();
            chown(server.directory(), Some(uid.as_raw()), Some(gid.as_raw())).map_err(|error| error.to_string())?;
        }
        fs::set_permissions(server.directory(), fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        let mut initdb = server.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=locks", "--encoding=UTF8", "--locale=C", "--pgdata"]);
        let output = initdb.arg(server.data()).output().map_err(|error| error.to_string())?;
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        server.append(
            "postgresql.conf",
            &format!(
                "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\n\
                 full_page_writes = off\nmax_connections = 300\ndynamic_shared_memory_type = mmap\nlog_min_messages = warning\n\
                 shared_buffers = 32MB\n{settings}\n",
                server.directory().display()
            ),
        );
        server.run();
        Ok(server)
    }

    /// Returns what this machine lacks to start a server.
    pub fn missing() -> Option<String> {
        installed().err()
    }

    /// Returns the scratch directory, in which the Unix socket is.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the port, which is also in the name of the Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Returns the URL of a store in the database `postgres`, by the Unix socket.
    pub fn url(&self, pool: &str) -> String {
        format!("postgres://locks@:{}/postgres?host={}&pool={pool}", self.port, self.directory().display())
    }

    /// Appends to a file of the data directory.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn append(&self, file: &str, text: &str) {
        let path = self.data().join(file);
        let before = fs::read_to_string(&path).expect("a file of the server");
        fs::write(path, before + text).expect("a file of the server");
    }

    /// Replaces `pg_hba.conf`, and lets the server read its files again.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn set_hba(&self, text: &str) {
        fs::write(self.data().join("pg_hba.conf"), text).expect("a file of the server");
        self.signal(Signal::SIGHUP);
    }

    /// Sends a signal to the server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child().as_ref().expect("the server runs").id();
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("the server runs");
    }

    /// Runs the server, and waits until it answers.
    ///
    /// # Panics
    /// If it ends, or does not answer in time.
    pub fn run(&self) {
        let log = File::options().append(true).create(true).open(self.directory().join("log")).expect("a log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        *self.child() = Some(command.spawn().expect("setpriv is installed"));
        let begin = Instant::now();
        while self.query("select 1").is_err() {
            let ended = self.child().as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!ended && begin.elapsed() < PATIENCE, "the server does not answer: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server: SIGINT disconnects clients and shuts down, SIGQUIT is a crash that needs a recovery.
    pub fn stop(&self, signal: Signal) {
        let child = self.child().take();
        if let Some(mut child) = child {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
            let _ = child.wait();
        }
    }

    /// Ends the server and removes its directory, for a server that is never dropped.
    pub fn finish(&self) {
        self.stop(Signal::SIGQUIT);
        let _ = fs::remove_dir_all(self.directory());
    }

    /// Returns the messages of the server.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory().join("log")).unwrap_or_default()).into_owned()
    }

    /// Executes a statement with psql. Returns its rows, with `|` between columns.
    ///
    /// # Errors
    /// The message of psql.
    pub fn query(&self, sql: &str) -> Result<String, String> {
        self.query_as("locks", "postgres", sql)
    }

    /// Executes a statement as a user, in a database.
    ///
    /// # Errors
    /// The message of psql.
    pub fn query_as(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string(), "-h"])
            .arg(self.directory())
            .args(["-U", user, "-d", database, "-c", sql])
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Executes a statement that succeeds.
    ///
    /// # Panics
    /// If it does not.
    pub fn must(&self, sql: &str) -> String {
        self.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Returns a command of the server's programs that ends with this thread, as a user who may run a server.
    pub fn command(&self, program: &str) -> Command {
        Self::command_of(&self.programs.join(program))
    }

    /// Returns a command that ends with this thread, as a user who may run a server.
    ///
    /// # Panics
    /// If setpriv is not installed.
    pub fn command_of(path: &Path) -> Command {
        let mut command = program::bound("QUIT").expect("it was there before");
        if geteuid().is_root() {
            let (uid, gid) = unprivileged_user();
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.arg("--").arg(path);
        command.env("LC_ALL", "C").env_remove("PGPASSWORD").current_dir("/");
        command
    }

    fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(Signal::SIGQUIT);
    }
}

/// Returns the directory of the server's programs, or what this machine lacks.
fn installed() -> Result<PathBuf, String> {
    program::bound("QUIT")?;
    let lack = "this machine lacks: a PostgreSQL server of version 14 or newer (Debian's package postgresql)";
    programs().ok_or_else(|| lack.to_owned())
}

/// Returns the directory of the newest installed server.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok().filter(|number| *number >= 14);
    let packaged = versions.map(|entry| entry.path()).filter_map(|path| Some((number(&path)?, path.join("bin")))).max();
    let in_path = || env::split_paths(&env::var_os("PATH")?).find(|directory| directory.join("initdb").is_file());
    packaged.map(|(_, path)| path).filter(|path| path.join("initdb").is_file()).or_else(in_path)
}

/// Returns a user and a group without rights. The server refuses to run as root.
fn unprivileged_user() -> (nix::unistd::Uid, nix::unistd::Gid) {
    let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    user.map_or((65534.into(), 65534.into()), |user| (user.uid, user.gid))
}
