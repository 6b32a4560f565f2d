//! One backend in the demo: several processes contend for one lock.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use lock_any::{Backend, Error, ErrorKind, Exclusion, Guard, Lock, Numbering, OpenMode, OwnerDeath, Removal, Store, StoreUrl};

use crate::exit::Failure;
use crate::sys;

use super::audit_log::AuditLog;
use super::cleanup::{self, Cleanup};
use super::worker::{Event, now};

/// Number of concurrent processes.
const PROCESSES: u64 = 4;
/// Time until the first worker is killed. Each further worker lives a little longer.
const LIFE: Duration = Duration::from_millis(40);
/// Time after the end until a running worker counts as hung.
const GRACE: Duration = Duration::from_secs(10);
/// Duration of the uncontended measurement.
const TIMING: Duration = Duration::from_millis(100);

/// A store, its lock and the files to count in.
#[derive(Debug)]
pub(super) struct Contention {
    store: Store,
    lock: Lock,
    log: AuditLog,
    files: PathBuf,
    kills: bool,
    /// The demo made the store.
    is_own: bool,
}

/// The result for one backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) processes: u64,
    /// Sections that workers finished.
    pub(super) sections: u64,
    /// Sections in the log, including those of killed workers.
    pub(super) expected: u64,
    /// The value of the counter.
    pub(super) found: u64,
    pub(super) killed: u64,
    pub(super) recovered: u64,
    pub(super) ns_per_lock: u64,
    pub(super) violations: Vec<String>,
}

impl Contention {
    /// Creates the store `SCHEME:/scratch/SCHEME/store`, or uses that of a server. Returns the reason to skip a backend that has no URL.
    pub(super) fn prepare(
        backend: &Backend,
        server: Option<&StoreUrl>,
        cleanup: &mut Cleanup,
    ) -> Result<Result<Self, String>, Failure> {
        let files = cleanup.dir().join(backend.scheme());
        fs::create_dir(&files)?;
        if backend.capabilities().exclusion == Exclusion::Fenced {
            let Some(url) = server.filter(|url| url.scheme() == backend.scheme()) else {
                let scheme = backend.scheme();
                return Ok(Err(format!("it needs a server; give the URL of a store, for example LOCKCTL_STORE={scheme}://...")));
            };
            return Self::at_server(backend, url, files, cleanup).map(Ok);
        }
        let path = files.join("store");
        let url = StoreUrl::builder(backend.scheme()).path(&path);
        let url = match backend.scheme() {
            // Without `rundir` the lock file would be among LXC's own. The path is UTF-8, as `Cleanup` checks.
            "lxc" => url.option("name", "demo").option("rundir", path.display()),
            _ => url,
        };
        let url = url.build()?;
        cleanup.register_store(url.as_str())?;
        let store = match Store::with_backend(backend, &url, OpenMode::Create) {
            Err(error) if matches!(error.kind(), ErrorKind::BadUrl | ErrorKind::Unsupported) => {
                return Ok(Err(error.to_string()));
            }
            store => store?,
        };
        let lock = match store.capabilities().numbering {
            Numbering::Single => store.single()?,
            _ => store.allocate("")?,
        };
        let kills = store.capabilities().owner_death != OwnerDeath::Stuck;
        Ok(Ok(Self { lock, log: AuditLog::create(&files, PROCESSES)?, files, kills, store, is_own: true }))
    }

    /// Uses a lock in a store of the user, with the shortest sessions unless the URL says how long they last.
    fn at_server(backend: &Backend, url: &StoreUrl, files: PathBuf, cleanup: &mut Cleanup) -> Result<Self, Failure> {
        let url = url.clone().with_option("ttl", "2s").unwrap_or_else(|_| url.clone());
        let store = Store::with_backend(backend, &url, OpenMode::OpenOrCreate)?;
        let lock = store.allocate(cleanup::LABEL)?;
        cleanup.register_lock(lock.id(), url.as_str())?;
        // The lock may have the report of an owner that died before its id was freed.
        let mut guard = lock.lock()?;
        guard.mark_consistent()?;
        guard.unlock()?;
        Ok(Self { lock, log: AuditLog::create(&files, PROCESSES)?, files, kills: true, store, is_own: false })
    }

    /// Runs the processes for this time.
    pub(super) fn run(&self, time: Duration, bar: &ProgressBar) -> Result<Outcome, Failure> {
        let ns_per_lock = self.time_alone()?;
        let mut outcome = Outcome { processes: PROCESSES, ns_per_lock, ..Outcome::default() };
        let until = now() + time;
        let slots: Vec<_> = (0..PROCESSES).map(|number| Slot::new(number, until)).collect();
        let (sender, events) = mpsc::channel();
        thread::scope(|scope| {
            for slot in &slots {
                let sender = sender.clone();
                scope.spawn(move || slot.run_workers(self, &sender));
            }
            drop(sender);
            let (start, before) = (Instant::now(), bar.position());
            let mut hung = false;
            loop {
                match events.recv_timeout(Duration::from_millis(50)) {
                    Ok(event) => outcome.add(event),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                bar.set_position(before + start.elapsed().min(time).as_millis() as u64);
                if now() > until + GRACE && !hung {
                    hung = true;
                    outcome.violations.push("the workers hang in the lock".to_owned());
                    slots.iter().for_each(Slot::kill_worker);
                }
            }
        });
        self.settle(&mut outcome)?;
        Ok(outcome)
    }

    /// Measures the uncontended acquire and release, in nanoseconds.
    fn time_alone(&self) -> Result<u64, Failure> {
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < TIMING {
            for _ in 0..10 {
                self.lock.lock()?.unlock()?;
            }
            rounds += 10;
        }
        Ok((start.elapsed().as_nanos() / rounds) as u64)
    }

    /// Acquires the lock, which is free, or becomes free with the session of the last worker. Returns `None` if it is busy.
    fn acquire_at_the_end(&self) -> Result<Option<Guard<'_>>, Error> {
        if self.store.capabilities().exclusion == Exclusion::Always {
            return self.lock.try_lock();
        }
        match self.lock.try_lock_for(GRACE) {
            Err(error) if error.is_timed_out() => Ok(None),
            guard => guard.map(Some),
        }
    }

    /// Finishes the last section, and checks the counts.
    fn settle(&self, outcome: &mut Outcome) -> Result<(), Failure> {
        match self.acquire_at_the_end()? {
            None => outcome.violations.push("the lock is busy after every worker has ended".to_owned()),
            Some(mut guard) => {
                outcome.recovered += u64::from(guard.recovered().is_some());
                self.log.finish()?;
                guard.mark_consistent()?;
            }
        }
        (outcome.expected, outcome.found) = self.log.expected_and_found(PROCESSES)?;
        let Outcome { sections, expected, found, killed, recovered, .. } = *outcome;
        let mut check = |holds: bool, violation: String| {
            if !holds {
                outcome.violations.push(violation);
            }
        };
        check(found == expected, format!("the log has {expected} sections, and the counter is {found}"));
        let whole = sections..=sections + killed;
        check(whole.contains(&expected), format!("{expected} sections do not match {sections} finished ones and {killed} kills"));
        check(sections > 0, "no worker finished a section".to_owned());
        if self.store.capabilities().owner_death == OwnerDeath::Reported {
            check(recovered == killed, format!("{killed} owners were killed, and {recovered} deaths were reported"));
        }
        check(killed > 0 || !self.kills, "no worker was killed in a section".to_owned());
        match self.store.capabilities().removal {
            // The cleanup process removes the directory with the files.
            Removal::Refused => Ok(()),
            _ if !self.is_own => Ok(self.lock.free()?),
            _ => Ok(self.store.destroy()?),
        }
    }
}

impl Outcome {
    fn add(&mut self, event: SlotEvent) {
        match event {
            SlotEvent::Worker(Event::Recovered) => self.recovered += 1,
            SlotEvent::Worker(Event::Inside(sections)) => {
                self.sections += sections;
                self.killed += 1;
            }
            SlotEvent::Worker(Event::Done(sections)) => self.sections += sections,
            SlotEvent::Worker(Event::Overlap) => self.violate("two workers were in a section together"),
            SlotEvent::Worker(Event::Unreported) => self.violate("an owner died, and the next owner got no report"),
            SlotEvent::Failed(reason) => self.violate(&reason),
        }
    }

    /// Records a violation. Keeps the first ten.
    fn violate(&mut self, violation: &str) {
        if self.violations.len() < 10 {
            self.violations.push(violation.to_owned());
        }
    }
}

enum SlotEvent {
    Worker(Event),
    Failed(String),
}

/// A slot for one worker at a time. Its thread starts the workers, and they are killed if the thread ends.
struct Slot {
    number: u64,
    until: Duration,
    worker: Mutex<Option<Child>>,
}

impl Slot {
    fn new(number: u64, until: Duration) -> Self {
        Self { number, until, worker: Mutex::new(None) }
    }

    /// Runs workers one after the other until the end time, and kills each one in a section.
    fn run_workers(&self, contention: &Contention, events: &Sender<SlotEvent>) {
        while now() < self.until {
            if let Err(reason) = self.run_worker(contention, events) {
                let _ = events.send(SlotEvent::Failed(reason));
                return;
            }
        }
    }

    fn run_worker(&self, contention: &Contention, events: &Sender<SlotEvent>) -> Result<(), String> {
        let mut child =
            self.command(contention).and_then(|mut command| command.spawn()).map_err(|error| format!("worker: {error}"))?;
        let stdout = child.stdout.take().ok_or("worker: no pipe")?;
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let mut last = None;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event = Event::parse(&line).ok_or_else(|| format!("worker: invalid event {line:?}"))?;
            if matches!(event, Event::Inside(_)) {
                self.kill_worker();
            }
            last = Some(event);
            let _ = events.send(SlotEvent::Worker(event));
        }
        self.kill_worker();
        match last {
            Some(Event::Inside(_) | Event::Done(_)) => Ok(()),
            _ => Err("a worker ended too early".to_owned()),
        }
    }

    /// Kills and reaps the worker, if there is one.
    fn kill_worker(&self) {
        if let Some(mut child) = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn command(&self, contention: &Contention) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("demo-worker").arg(contention.store.url()).arg(&contention.files);
        command.arg(self.number.to_string()).arg(self.until.as_nanos().to_string());
        command.arg(contention.lock.id().to_string());
        if contention.kills {
            let life = LIFE + LIFE / 4 * self.number as u32;
            command.arg("--life").arg(life.as_millis().to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        sys::bind_to_this_thread(&mut command);
        Ok(command)
    }
}
