//! The warning of a wait without the option.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::named::{NAMED, store};

/// A subscriber that keeps the warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

#[test]
fn a_wait_that_closes_a_cycle_logs_one_warning() {
    let warnings = Warnings::default();
    let seen = Arc::clone(&warnings.0);
    thread::spawn(move || {
        tracing::subscriber::with_default(warnings, || {
            let lock = store(&NAMED, "").unwrap().retrieve(1).unwrap();
            let _guard = lock.lock().unwrap();
            // The backend does not refuse a second acquisition, so the thread waits for itself.
            assert!(lock.try_lock_for(Duration::from_secs(3)).unwrap_err().is_timed_out());
        });
    })
    .join()
    .unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("part of a deadlock") && seen[0].contains("holds lock 1 and waits for lock 1"), "{seen:?}");
}
