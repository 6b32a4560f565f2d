//! The events and spans that a subscriber of `tracing` gets.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lock_any::{Store, events};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// An event, or the beginning or end of a span.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    level: Level,
    fields: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Collector {
    fn add(&self, metadata: &Metadata<'_>, fields: Fields) {
        // Other libraries may have other events.
        if metadata.name().starts_with("lock.") {
            assert!(metadata.target().starts_with("lock_core"), "{metadata:?}");
            let seen = Seen { name: metadata.name().to_owned(), level: *metadata.level(), fields: fields.0 };
            self.0.lock().unwrap().push(seen);
        }
    }

    /// Returns the events and spans, without their messages.
    fn seen(&self) -> Vec<Seen> {
        let mut seen = std::mem::take(&mut *self.0.lock().unwrap());
        seen.iter_mut().for_each(|seen| drop(seen.fields.remove("message")));
        seen
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.add(attributes.metadata(), fields);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.add(event.metadata(), fields);
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A store in a scratch directory.
struct Scratch {
    store: Store,
    _directory: TempDir,
}

impl Scratch {
    fn new(options: &str) -> Self {
        let builder = || tempfile::Builder::new().prefix("lock-any-test-").to_owned();
        let directory = builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir()).unwrap();
        let store = lock_any::create(format!("shm:{}/locks{options}", directory.path().display())).unwrap();
        Self { store, _directory: directory }
    }
}

/// Runs code with a subscriber, and returns its events and spans.
fn seen_by(run: impl FnOnce()) -> Vec<Seen> {
    let collector = Collector::default();
    with_default(collector.clone(), run);
    collector.seen()
}

fn keys(seen: &Seen) -> Vec<&str> {
    seen.fields.keys().map(String::as_str).collect()
}

/// Holds the lock in another thread while `run` runs.
fn while_held(store: &Store, id: u32, run: impl FnOnce()) {
    let lock = store.retrieve(id).unwrap();
    let ((held, is_held), (release, is_released)) = (mpsc::channel(), mpsc::channel::<()>());
    thread::scope(|scope| {
        scope.spawn(move || {
            let _guard = lock.lock().unwrap();
            held.send(()).unwrap();
            let _ = is_released.recv();
        });
        is_held.recv().unwrap();
        run();
        drop(release);
    });
}

#[test]
fn an_uncontended_acquisition_has_no_event() {
    let scratch = Scratch::new("");
    let lock = scratch.store.retrieve(3).unwrap();
    drop(lock.lock().unwrap());
    assert!(seen_by(|| drop(lock.lock().unwrap())).is_empty());
}

// One test for all waits, because the threshold is that of the process.
#[test]
fn a_wait_is_a_span_and_a_long_one_is_an_event() {
    assert_eq!(events::wait_threshold(), Duration::from_secs(1));
    let scratch = Scratch::new("");
    let lock = scratch.store.retrieve(3).unwrap();
    let wait = Duration::from_millis(20);
    let times_out = || while_held(&scratch.store, 3, || assert!(lock.try_lock_for(wait).is_err()));
    events::set_wait_threshold(Duration::from_secs(3600));
    let seen = seen_by(times_out);
    let names: Vec<_> = seen.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(names, [events::WAIT, events::TIMED_OUT], "{seen:?}");
    let [span, gave_up] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((span.level, gave_up.level), (Level::DEBUG, Level::DEBUG));
    assert_eq!((keys(span), keys(gave_up)), (vec!["id", "store"], vec!["error", "id", "store"]));
    assert_eq!((span.fields["id"].as_str(), span.fields["store"].as_str()), ("3", scratch.store.url()));
    assert!(gave_up.fields["error"].contains(&format!("pid {}", std::process::id())), "{gave_up:?}");

    events::set_wait_threshold(Duration::from_millis(10));
    let seen = seen_by(times_out);
    let waited = seen.iter().find(|seen| seen.name == events::WAITED).unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!((waited.level, keys(waited)), (Level::INFO, vec!["id", "store", "waited_ms"]));
    assert!(waited.fields["waited_ms"].parse::<u64>().unwrap() >= 20, "{waited:?}");

    // Guards that may move between threads, and waits with options, are observed, too.
    for acquire in [
        (|lock, wait| assert!(lock_any::Lock::try_lock_send_for(lock, wait).is_err())) as fn(&lock_any::Lock, Duration),
        |lock, wait| assert!(lock.lock_with(lock_any::WaitOptions::new().timeout(wait)).is_err()),
    ] {
        let seen = seen_by(|| while_held(&scratch.store, 3, || acquire(&lock, wait)));
        assert!(seen.iter().any(|seen| seen.name == events::WAITED), "{seen:?}");
    }
    // An attempt is no wait.
    let seen = seen_by(|| while_held(&scratch.store, 3, || assert!(lock.try_lock().unwrap().is_none())));
    assert!(seen.is_empty(), "{seen:?}");
    events::set_wait_threshold(Duration::from_secs(1));
}

#[test]
fn a_recovery_is_an_event_with_the_owner_and_the_cause() {
    let scratch = Scratch::new("");
    let lock = scratch.store.retrieve(3).unwrap();
    let panics = AssertUnwindSafe(|| {
        let _guard = lock.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(catch_unwind(panics).is_err());
    let seen = seen_by(|| drop(lock.lock().unwrap()));
    let recovered = seen.iter().find(|seen| seen.name == events::RECOVERED).unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!((recovered.level, keys(recovered)), (Level::WARN, vec!["cause", "death", "id", "store"]));
    assert_eq!((recovered.fields["cause"].as_str(), recovered.fields["id"].as_str()), ("panicked", "3"));
    assert!(recovered.fields["death"].contains(&format!("pid {}", std::process::id())), "{recovered:?}");
}

#[test]
fn a_refused_acquisition_is_an_event() {
    let scratch = Scratch::new("");
    let lock = scratch.store.retrieve(3).unwrap();
    let _guard = lock.lock().unwrap();
    let seen = seen_by(|| assert!(lock.lock().is_err()));
    let refused = seen.iter().find(|seen| seen.name == events::REFUSED).unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!((refused.level, keys(refused)), (Level::DEBUG, vec!["error", "id", "store"]));
}

#[test]
fn an_exhausted_store_is_an_event() {
    let scratch = Scratch::new("?capacity=1");
    let _lock = scratch.store.allocate("").unwrap();
    for allocate in [(|store| assert!(Store::allocate(store, "").is_err())) as fn(&Store), |store| {
        assert!(store.named("a name").is_err());
    }] {
        let seen = seen_by(|| allocate(&scratch.store));
        let [exhausted] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((exhausted.name.as_str(), exhausted.level), (events::EXHAUSTED, Level::WARN));
        assert_eq!(keys(exhausted), ["error", "store"]);
    }
}
