//! A run: clients use locks while faults happen, and then their histories are checked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::checker::{self, Violation};
use crate::event::Event;
use crate::fault::Fault;
use crate::history::{EarlyEnd, acquisitions, end_early};
use crate::namespace;
use crate::network::Network;
use crate::random::Random;
use crate::resource::{Resource, Totals};
use crate::service::{Engine, Service};
use crate::skew;

/// The settings of a run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The servers
    #[arg(long, value_enum)]
    pub(crate) engine: Engine,
    /// Number of faults
    #[arg(long, default_value_t = 200)]
    pub(crate) faults: u64,
    /// Number of clients
    #[arg(long, default_value_t = 6)]
    pub(crate) clients: usize,
    /// Number of locks
    #[arg(long, default_value_t = 3)]
    pub(crate) locks: u32,
    /// Seed of the random choices
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Give each client a network namespace, and take its connection down, in place of proxies; needs root
    #[arg(long)]
    pub(crate) namespaces: bool,
    /// Directory in which logs are kept [default: none is kept]
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
}

/// How long a session lasts. The least that etcd grants.
const TTL: Duration = Duration::from_secs(2);
/// The pause between two faults of clients, at most.
const PAUSE: Duration = Duration::from_millis(40);
/// One fault of a server for as many of clients.
const RARITY: u64 = 40;
/// How long the clients go on without faults at the end, so that an owner of each lock shows that it was not lost.
const QUIET: Duration = Duration::from_secs(8);

/// The outcome of a run.
pub(crate) struct Report {
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) acquisitions: usize,
    pub(crate) reports_of_deaths: usize,
    /// Owners whose session the server ended before its time.
    pub(crate) ended_early: usize,
    pub(crate) totals: Totals,
    pub(crate) violations: Vec<(u32, Violation)>,
    /// Locks that no client acquired in the quiet time at the end.
    pub(crate) stuck: Vec<u32>,
    pub(crate) took: Duration,
}

/// A client with its proxies.
struct Place {
    network: Arc<Network>,
    log: PathBuf,
    child: Mutex<Child>,
    start: Box<dyn Fn() -> io::Result<Child> + Send + Sync>,
}

/// Runs, or returns what this machine lacks.
pub(crate) fn run(args: &RunArgs) -> Result<Report, String> {
    let begin = Instant::now();
    if args.namespaces {
        namespace::enter()?;
    }
    let mut service = Service::start(args.engine, args.namespaces)?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let directory = args.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    if directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty; the logs of several runs would be mixed", directory.display()));
    }
    let socket = scratch.path().join("resource");
    let resource = Resource::listen(&socket).map_err(|error| error.to_string())?;
    let places = (0..args.clients).map(|client| Place::start(args, &service, client, &directory, &socket));
    let places: Arc<[Place]> = places.collect::<io::Result<Vec<_>>>().map_err(|error| error.to_string())?.into();

    let mut random = Random::new(args.seed);
    let mut faults = BTreeMap::new();
    let (mut done, mut ends) = (0, Vec::new());
    let mut log = File::create(directory.join("faults.log")).map_err(|error| error.to_string())?;
    let mut lasting: Vec<JoinHandle<()>> = Vec::new();
    while done < args.faults {
        thread::sleep(random.time(Duration::ZERO..PAUSE));
        let fault = if random.below(RARITY) == 0 { *random.one_of(service.faults()) } else { *random.one_of(Fault::OF_CLIENTS) };
        let place = random.below(places.len() as u64) as usize;
        if !places[place].network.can_have(fault) {
            continue;
        }
        let from = crate::clock::now();
        let happened = match fault {
            Fault::ClientKilled | Fault::ClientStopped | Fault::ConnectionsCut | Fault::NetworkParted | Fault::NetworkSlow => {
                let time = random.time(Duration::from_millis(20)..TTL * 2);
                lasting.extend(suffer(&places, place, fault, time));
                true
            }
            _ => service.suffer(fault, &mut random),
        };
        let to = crate::clock::now();
        // One line for each fault, for a person who looks for the reason of a bad run.
        writeln!(log, "{from} {to} {fault}: {place}").map_err(|error| error.to_string())?;
        if service.ends_sessions_early(fault) {
            let client = matches!(fault, Fault::ConnectionsCut).then_some(place);
            ends.push(EarlyEnd { client, from, to });
        }
        if happened {
            *faults.entry(fault).or_insert(0) += 1;
            done += 1;
        }
        lasting.retain(|thread| !thread.is_finished());
    }
    for thread in lasting {
        let _ = thread.join();
    }
    let quiet_from = crate::clock::now() + crate::clock::nanoseconds(TTL * 2);
    thread::sleep(QUIET);
    for place in &*places {
        place.end();
    }

    let logs = (0..args.clients).map(|client| read_log(&log_of(&directory, client)));
    let logs = logs.collect::<io::Result<Vec<_>>>().map_err(|error| error.to_string())?;
    let mut locks = acquisitions(&logs);
    let ended_early = end_early(&mut locks, &ends);
    let violations =
        locks.iter().flat_map(|(lock, history)| checker::violations(history).into_iter().map(|found| (*lock, found)));
    let is_stuck = |lock: &u32| !locks.get(lock).is_some_and(|history| history.iter().any(|one| one.got > quiet_from));
    Ok(Report {
        faults,
        acquisitions: locks.values().map(Vec::len).sum(),
        reports_of_deaths: locks.values().flatten().filter(|one| one.is_death_reported).count(),
        ended_early,
        totals: resource.totals(),
        violations: violations.collect(),
        stuck: (0..args.locks).filter(is_stuck).collect(),
        took: begin.elapsed(),
    })
}

/// Lets a fault of a client happen. One that lasts ends in its own thread.
fn suffer(places: &Arc<[Place]>, place: usize, fault: Fault, time: Duration) -> Option<JoinHandle<()>> {
    let all = Arc::clone(places);
    let lasting = move |begin: fn(&Place), end: fn(&Place)| {
        begin(&all[place]);
        thread::spawn(move || {
            thread::sleep(time);
            end(&all[place]);
        })
    };
    match fault {
        Fault::ClientKilled => {
            places[place].replace();
            None
        }
        Fault::ClientStopped => Some(lasting(|place| place.signal(Signal::SIGSTOP), |place| place.signal(Signal::SIGCONT))),
        Fault::NetworkParted => Some(lasting(|place| place.network.part(true), |place| place.network.part(false))),
        Fault::NetworkSlow => Some(lasting(|place| place.network.slow_down(true), |place| place.network.slow_down(false))),
        _ => {
            places[place].network.cut();
            None
        }
    }
}

fn log_of(directory: &Path, client: usize) -> PathBuf {
    directory.join(format!("client-{client}.log"))
}

fn read_log(path: &Path) -> io::Result<Vec<Event>> {
    let text = fs::read_to_string(path)?;
    text.lines().map(|line| line.parse().map_err(|_| io::Error::other(format!("{}: {line:?}", path.display())))).collect()
}

impl Place {
    fn start(args: &RunArgs, service: &Service, client: usize, directory: &Path, socket: &Path) -> io::Result<Self> {
        let servers = service.addresses();
        let network = if args.namespaces { Network::of_namespace(client, &servers) } else { Network::of_proxies(&servers) };
        let network = Arc::new(network?);
        let url = service.url(&network.addresses(), TTL);
        let (log, messages) = (log_of(directory, client), directory.join(format!("client-{client}.messages")));
        let (own_log, own_network) = (log.clone(), Arc::clone(&network));
        let (socket, locks) = (socket.to_owned(), args.locks.to_string());
        let start = move || {
            let mut command = own_network.command();
            command.arg(env::current_exe()?);
            let seed = crate::clock::now().to_string();
            command.args(["client", "--url", &url, "--locks", &locks, "--seed", &seed]);
            command.arg("--log").arg(&own_log).arg("--resource").arg(&socket);
            skew::set(&mut command, client);
            let messages = File::options().create(true).append(true).open(&messages)?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages).spawn()
        };
        Ok(Self { network, log, child: Mutex::new(start()?), start: Box::new(start) })
    }

    /// Kills the client and starts another one.
    fn replace(&self) {
        let mut child = self.child();
        self.kill(&mut child);
        *child = (self.start)().expect("a client was started before");
    }

    /// Kills the client, and writes that into its log.
    fn kill(&self, child: &mut Child) {
        // Its locks may become free at once.
        let killed = Event::Killed { at: crate::clock::now() };
        let _ = child.kill();
        let _ = child.wait();
        skew::clean_up_after(child.id());
        // The dead client has written whole lines, so this one begins a line.
        let log = File::options().append(true).create(true).open(&self.log);
        log.and_then(|mut log| log.write_all(format!("{killed}\n").as_bytes())).expect("the log can be written");
    }

    fn signal(&self, signal: Signal) {
        // An error is ignored: the client may have ended because of another fault.
        let _ = kill(Pid::from_raw(self.child().id().cast_signed()), signal);
    }

    fn end(&self) {
        self.kill(&mut self.child());
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
        skew::clean_up_after(child.id());
    }
}
