//! Several processes of the demo on one lock of one backend.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use lock_any::{Backend, ErrorKind, Lock, Numbering, OpenMode, OwnerDeath, Removal, Store, StoreUrl};
use nix::sys::signal::SigSet;

use crate::exit::Failure;
use crate::sys;

use super::janitor::Janitor;
use super::ledger::Ledger;
use super::worker::{Event, now};

/// How many processes there are at a time.
const PROCESSES: u64 = 4;
/// How long the first worker lives before it is killed; the others a little longer each.
const LIFE: Duration = Duration::from_millis(40);
/// How long after the end a worker that has not ended is taken for hung.
const GRACE: Duration = Duration::from_secs(10);
/// For how long the lock is timed, alone.
const TIMING: Duration = Duration::from_millis(100);

/// A store that is ready, and the files to count in.
#[derive(Debug)]
pub(super) struct Contest {
    store: Store,
    lock: Lock,
    ledger: Ledger,
    files: PathBuf,
    kills: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) processes: u64,
    /// Sections that their owners lived to finish.
    pub(super) sections: u64,
    /// How often somebody was inside, including those who were killed there.
    pub(super) expected: u64,
    /// What the counter says.
    pub(super) found: u64,
    pub(super) killed: u64,
    pub(super) recovered: u64,
    pub(super) ns_a_lock: u64,
    pub(super) violations: Vec<String>,
}

impl Contest {
    /// Makes the store `SCHEME:/scratch/SCHEME/store`. A backend whose URLs have no path there is skipped, with the reason.
    pub(super) fn prepare(backend: &Backend, janitor: &mut Janitor) -> Result<Result<Self, String>, Failure> {
        let files = janitor.dir().join(backend.scheme());
        fs::create_dir(&files)?;
        let path = files.join("store").display().to_string().replace('%', "%25").replace('?', "%3F");
        let url = match backend.scheme() {
            // Whose lock file would else be among those of LXC's own.
            "lxc" => format!("lxc:{path}?name=demo&rundir={path}"),
            scheme => format!("{scheme}:{path}"),
        };
        janitor.will_destroy(&url)?;
        let store = match Store::with_backend(backend, &url.parse::<StoreUrl>()?, OpenMode::Create) {
            Err(error) if matches!(error.kind(), ErrorKind::BadUrl { .. } | ErrorKind::Unsupported { .. }) => {
                return Ok(Err(error.to_string()));
            }
            store => store?,
        };
        let lock = match store.capabilities().numbering {
            Numbering::Single => store.single()?,
            _ => store.allocate("")?,
        };
        let kills = store.capabilities().owner_death != OwnerDeath::Stuck;
        Ok(Ok(Self { lock, ledger: Ledger::create(&files, PROCESSES)?, files, kills, store }))
    }

    /// Has the processes compete for that time.
    pub(super) fn hold(&self, time: Duration, bar: &ProgressBar) -> Result<Outcome, Failure> {
        let ns_a_lock = self.time_alone()?;
        let mut outcome = Outcome { processes: PROCESSES, ns_a_lock, ..Outcome::default() };
        let until = now() + time;
        let slots: Vec<_> = (0..PROCESSES).map(|number| Slot::new(number, until)).collect();
        let (news, events) = mpsc::channel();
        thread::scope(|scope| {
            for slot in &slots {
                let news = news.clone();
                scope.spawn(move || slot.keep_filled(self, &news));
            }
            drop(news);
            let (start, before) = (Instant::now(), bar.position());
            let mut hung = false;
            loop {
                match events.recv_timeout(Duration::from_millis(50)) {
                    Ok(news) => outcome.add(news),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                bar.set_position(before + start.elapsed().min(time).as_millis() as u64);
                if now() > until + GRACE && !hung {
                    hung = true;
                    outcome.violations.push("the workers do not end; they hang in the lock".to_owned());
                    slots.iter().for_each(Slot::clear);
                }
            }
        });
        self.settle(&mut outcome)?;
        Ok(outcome)
    }

    /// How long lock and unlock take without anybody else.
    fn time_alone(&self) -> Result<u64, Failure> {
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < TIMING {
            for _ in 0..100 {
                self.lock.lock()?.unlock()?;
            }
            rounds += 100;
        }
        Ok((start.elapsed().as_nanos() / rounds) as u64)
    }

    /// The last owner's duty, and then the reckoning.
    fn settle(&self, outcome: &mut Outcome) -> Result<(), Failure> {
        match self.lock.try_lock()? {
            None => outcome.violations.push("the lock is not free although every worker has ended".to_owned()),
            Some(mut guard) => {
                outcome.recovered += u64::from(guard.recovered().is_some());
                self.ledger.finish()?;
                guard.mark_consistent()?;
            }
        }
        (outcome.expected, outcome.found) = self.ledger.expected_and_found(PROCESSES)?;
        let Outcome { sections, expected, found, killed, recovered, .. } = *outcome;
        let mut check = |holds: bool, violation: String| {
            if !holds {
                outcome.violations.push(violation);
            }
        };
        check(found == expected, format!("{expected} sections were counted, and the counter is {found}"));
        let whole = sections..=sections + killed;
        check(whole.contains(&expected), format!("{sections} sections and {killed} kills do not make {expected}"));
        check(sections > 0, "nobody got through a section".to_owned());
        if self.store.capabilities().owner_death == OwnerDeath::Reported {
            check(recovered == killed, format!("{killed} owners were killed, and {recovered} deaths were reported"));
        }
        check(killed > 0 || !self.kills, "nobody was killed inside".to_owned());
        match self.store.capabilities().removal {
            // Its files go with the directory that they are in.
            Removal::Refused => Ok(()),
            _ => Ok(self.store.destroy()?),
        }
    }
}

impl Outcome {
    fn add(&mut self, news: News) {
        match news {
            News::Worker(Event::Recovered) => self.recovered += 1,
            News::Worker(Event::Inside(sections)) => {
                self.sections += sections;
                self.killed += 1;
            }
            News::Worker(Event::Done(sections)) => self.sections += sections,
            News::Worker(Event::NotAlone) => self.violate("two were in the section at once"),
            News::Worker(Event::Untold) => self.violate("an owner died, and the next one was not told"),
            News::Failed(reason) => self.violate(&reason),
        }
    }

    /// Many of one kind say no more than a few.
    fn violate(&mut self, violation: &str) {
        if self.violations.len() < 10 {
            self.violations.push(violation.to_owned());
        }
    }
}

enum News {
    Worker(Event),
    Failed(String),
}

/// A place for a worker. Its thread starts them, and so is the one that they die with.
struct Slot {
    number: u64,
    until: Duration,
    worker: Mutex<Option<Child>>,
}

impl Slot {
    fn new(number: u64, until: Duration) -> Self {
        Self { number, until, worker: Mutex::new(None) }
    }

    /// Starts workers one after the other until the time is up, and kills each when it is inside.
    fn keep_filled(&self, contest: &Contest, news: &Sender<News>) {
        while now() < self.until {
            if let Err(reason) = self.fill(contest, news) {
                let _ = news.send(News::Failed(reason));
                return;
            }
        }
    }

    fn fill(&self, contest: &Contest, news: &Sender<News>) -> Result<(), String> {
        let mut child =
            self.command(contest).and_then(|mut command| command.spawn()).map_err(|error| format!("worker: {error}"))?;
        let stdout = child.stdout.take().ok_or("worker: no pipe")?;
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let mut last = None;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event = Event::parse(&line).ok_or_else(|| format!("worker: it says {line:?}"))?;
            if matches!(event, Event::Inside(_)) {
                self.clear();
            }
            last = Some(event);
            let _ = news.send(News::Worker(event));
        }
        self.clear();
        match last {
            Some(Event::Inside(_) | Event::Done(_)) => Ok(()),
            _ => Err("a worker ended before its time".to_owned()),
        }
    }

    /// Kills the worker, if there is one, and collects it.
    fn clear(&self) {
        if let Some(mut child) = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn command(&self, contest: &Contest) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("demo-worker").arg(contest.store.url()).arg(&contest.files);
        command.arg(self.number.to_string()).arg(self.until.as_nanos().to_string());
        if contest.kills {
            let life = LIFE + LIFE / 4 * self.number as u32;
            command.arg("--life").arg(life.as_millis().to_string());
        }
        if let Some(id) = contest.lock.id() {
            command.arg("--id").arg(id.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        sys::bind_to_this_thread(&mut command, SigSet::empty());
        Ok(command)
    }
}
