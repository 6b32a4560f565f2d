//! A client: a process that acquires locks, works on what they protect, and writes down what it was told.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use lock_core::{Error, OpenMode, Registry, SendGuard, Store};

use crate::clock::{nanoseconds, now};
use crate::event::{Event, Outcome};
use crate::random::Random;
use crate::resource::Connection;

/// The arguments of a client.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// URL of the store
    #[arg(long)]
    pub(crate) url: String,
    /// File of the events
    #[arg(long)]
    pub(crate) log: PathBuf,
    /// Socket of the protected resource
    #[arg(long)]
    pub(crate) resource: PathBuf,
    /// Number of locks
    #[arg(long)]
    pub(crate) locks: u32,
    #[arg(long)]
    pub(crate) seed: u64,
}

/// How long it waits for a lock.
const WAIT: Duration = Duration::from_secs(5);
/// How long it works on the resource at most.
const WORK: Duration = Duration::from_millis(60);
/// Its pause after an error, as a program would make one.
const PAUSE: Duration = Duration::from_millis(50);

struct Client {
    log: File,
    resource: Connection,
    random: Random,
}

/// Runs until it is killed.
pub(crate) fn run(args: &ClientArgs) -> io::Result<()> {
    let log = File::options().append(true).create(true).open(&args.log)?;
    let mut client = Client { log, resource: Connection::open(&args.resource)?, random: Random::new(args.seed) };
    loop {
        match open(&args.url) {
            Ok(store) => client.use_store(&store, args.locks)?,
            Err(error) => note(&error),
        }
        thread::sleep(PAUSE);
    }
}

fn open(url: &str) -> Result<Store, Error> {
    let registry = Registry::default().merge([lock_etcd::BACKEND, lock_postgres::BACKEND])?;
    Store::open(&registry, url, OpenMode::OpenOrCreate)
}

/// Prints an error, for a person who looks for the reason of a bad run.
fn note(error: &Error) {
    eprintln!("{} {error}", now());
}

impl Client {
    /// Uses locks until the store has to be opened again.
    fn use_store(&mut self, store: &Store, locks: u32) -> io::Result<()> {
        loop {
            let id = self.random.below(u64::from(locks)) as u32;
            let lock = match store.retrieve(id) {
                Ok(lock) => lock,
                Err(error) if error.needs_reopen() => return Ok(()),
                Err(error) => {
                    note(&error);
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            self.write(Event::Wants { lock: id, at: now() })?;
            match lock.try_lock_send_for(WAIT) {
                Ok(guard) => self.use_lock(guard, id)?,
                Err(error) => {
                    self.write(Event::GaveUp { lock: id, at: now() })?;
                    note(&error);
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn use_lock(&mut self, mut guard: SendGuard<'_>, id: u32) -> io::Result<()> {
        let token = guard.token().map_or(0, lock_core::Token::get);
        self.write(Event::Has { lock: id, at: now(), token, is_death_reported: guard.recovered().is_some() })?;
        if guard.recovered().is_some()
            && let Err(error) = guard.mark_consistent()
        {
            note(&error);
        }
        for _ in 0..=self.random.below(3) {
            let before = now();
            let Ok(Some(valid)) = guard.valid_for() else {
                return self.write(Event::Lost { lock: id, at: now() });
            };
            self.write(Event::Believes { lock: id, until: before + nanoseconds(valid) })?;
            // A client that is stopped here, for longer than its session lasts, does not look at the clock again before it writes.
            let (unchecked, checked) = self.resource.read(id, token)?;
            thread::sleep(self.random.time(Duration::ZERO..WORK));
            if !self.resource.write(id, token, (unchecked + 1, checked + 1))? {
                return self.write(Event::Lost { lock: id, at: now() });
            }
        }
        self.write(Event::Releases { lock: id, at: now() })?;
        let outcome = match guard.unlock() {
            Ok(()) => Outcome::Done,
            Err(error) if error.is_lost() => Outcome::Lost,
            Err(error) => {
                note(&error);
                Outcome::Unknown
            }
        };
        self.write(Event::Released { lock: id, at: now(), outcome })
    }

    fn write(&mut self, event: Event) -> io::Result<()> {
        self.log.write_all(format!("{event}\n").as_bytes())
    }
}
