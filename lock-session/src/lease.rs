use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::Timing;
use crate::clock::{nanoseconds, now};

/// The time until which a process relies on a session.
#[derive(Debug)]
pub(crate) struct Lease {
    /// How long the session is relied on after the sending of a confirmed request, in nanoseconds.
    length: u64,
    /// In nanoseconds since boot; 0 when the session was given up.
    until: AtomicU64,
}

impl Lease {
    /// Starts at a request that was sent at this time since boot and confirmed.
    pub(crate) fn new(timing: Timing, sent: u64) -> Self {
        let length = nanoseconds(timing.relied_on());
        Self { length, until: AtomicU64::new(sent.saturating_add(length)) }
    }

    /// Returns the remaining time, or `None` when it is over.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.until.load(SeqCst).checked_sub(now()).filter(|left| *left != 0).map(Duration::from_nanos)
    }

    /// Extends the time after a request that was sent at this time since boot and confirmed.
    ///
    /// Returns false if the time was over before the confirmation came. Others may have noticed that, so it stays over.
    pub(crate) fn confirm(&self, sent: u64) -> bool {
        let extend = |until: u64| (until > now()).then(|| until.max(sent.saturating_add(self.length)));
        self.until.fetch_update(SeqCst, SeqCst, extend).is_ok()
    }

    /// Gives the session up. Returns true for the first caller.
    pub(crate) fn give_up(&self) -> bool {
        self.until.swap(0, SeqCst) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn timing(ttl: u64, margin: u64) -> Timing {
        Timing { ttl: Duration::from_nanos(ttl), margin: Duration::from_nanos(margin) }
    }

    #[test]
    fn the_margin_is_not_relied_on() {
        let sent = now();
        let remaining = Lease::new(timing(3 * HOUR, HOUR), sent).remaining().unwrap();
        assert!(remaining <= Duration::from_nanos(2 * HOUR), "{remaining:?}");
        assert!(remaining > Duration::from_nanos(HOUR), "{remaining:?}");
    }

    #[test]
    fn a_confirmation_counts_from_its_sending() {
        let lease = Lease::new(timing(2 * HOUR, 0), now());
        assert!(lease.confirm(now() - HOUR), "an old confirmation does no harm");
        assert!(lease.remaining().unwrap() > Duration::from_nanos(HOUR + HOUR / 2), "and does not shorten the time");
    }

    #[test]
    fn a_confirmation_that_comes_too_late_does_not_extend_the_time() {
        let lease = Lease::new(timing(1000, 0), now() - 2000);
        assert_eq!(lease.remaining(), None);
        assert!(!lease.confirm(now()));
        assert_eq!(lease.remaining(), None);
    }

    #[test]
    fn a_session_that_was_given_up_stays_given_up() {
        let lease = Lease::new(timing(HOUR, 0), now());
        assert!(lease.give_up());
        assert!(!lease.give_up());
        assert!(!lease.confirm(now()));
        assert_eq!(lease.remaining(), None);
    }
}
