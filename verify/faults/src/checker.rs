//! Checks the history of a lock.
//!
//! - **Linearizable**: the acquisitions and releases can be put into an order that agrees with real time, in which the lock has one owner at
//!   a time and tokens increase. The tokens give the order of the acquisitions. So it suffices to give each acquisition and each release
//!   the earliest possible time in that order.
//! - **Exclusive in real time**: between an acquisition and the time until which its owner was told to hold the lock, no other client
//!   acquires it. This does not follow from the first, because an owner that is cut off must stop before the server gives its lock away.
//! - **No death is lost**: after an owner that did not begin a release, the next one gets a report.

use crate::event::Time;
use crate::history::{Acquisition, End};

/// A violation, with the two tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Violation {
    /// Two acquisitions have the same token.
    SameToken { token: u64 },
    /// The second acquisition cannot have been after the end of the first one.
    NotLinearizable { first: u64, second: u64 },
    /// The second acquisition returned while the first owner believed that it held the lock.
    Overlap { first: u64, second: u64 },
    /// The first owner did not release the lock, and the second one got no report.
    LostDeath { first: u64, second: u64 },
}

/// Returns the violations in the history of a lock, whose acquisitions are in the order of their tokens.
pub(crate) fn violations(acquisitions: &[Acquisition]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut free_from: Time = 0;
    for (position, current) in acquisitions.iter().enumerate() {
        let previous = position.checked_sub(1).map(|previous| &acquisitions[previous]);
        let acquired = free_from.max(current.wanted);
        if let Some(previous) = previous {
            let (first, second) = (previous.token, current.token);
            if first == second {
                found.push(Violation::SameToken { token: first });
            }
            if acquired > current.got {
                found.push(Violation::NotLinearizable { first, second });
            }
            if previous.end == End::Lost && !current.is_death_reported {
                found.push(Violation::LostDeath { first, second });
            }
        }
        // An owner with a lower token may have believed for longest that it holds the lock.
        if let Some(other) = acquisitions[..position].iter().find(|other| other.believed_until > current.got) {
            found.push(Violation::Overlap { first: other.token, second: current.token });
        }
        free_from = match current.end {
            End::Released { from, .. } => acquired.max(from),
            End::Unknown { .. } | End::Lost => acquired,
        };
        if let End::Released { to, .. } = current.end
            && free_from > to
        {
            found.push(Violation::NotLinearizable { first: current.token, second: current.token });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquisition(token: u64, (wanted, got): (Time, Time), believed_until: Time, end: End) -> Acquisition {
        Acquisition { client: 0, token, wanted, got, believed_until, is_death_reported: false, end }
    }

    fn released(from: Time, to: Time) -> End {
        End::Released { from, to }
    }

    #[test]
    fn a_history_without_overlap_is_right() {
        let history = [
            acquisition(1, (0, 10), 20, released(20, 25)),
            // It waited from the time of the first owner on, and its call returned while the release did.
            acquisition(2, (5, 24), 30, released(30, 35)),
            acquisition(7, (31, 36), 40, End::Unknown { from: Some(40) }),
            acquisition(9, (32, 41), 50, released(50, 55)),
        ];
        assert_eq!(violations(&history), []);
    }

    #[test]
    fn an_acquisition_that_returns_before_the_release_begins_is_found() {
        let history = [acquisition(1, (0, 10), 20, released(20, 25)), acquisition(2, (5, 19), 30, released(30, 35))];
        let (first, second) = (1, 2);
        assert_eq!(violations(&history), [Violation::NotLinearizable { first, second }, Violation::Overlap { first, second }]);
    }

    #[test]
    fn tokens_against_the_order_in_time_are_found() {
        let history = [acquisition(1, (40, 50), 50, released(50, 55)), acquisition(2, (0, 10), 20, released(20, 25))];
        assert!(violations(&history).contains(&Violation::NotLinearizable { first: 1, second: 2 }));
    }

    #[test]
    fn equal_tokens_are_found() {
        let history = [acquisition(1, (0, 10), 20, released(20, 25)), acquisition(1, (30, 40), 50, released(50, 55))];
        assert_eq!(violations(&history), [Violation::SameToken { token: 1 }]);
    }

    #[test]
    fn an_owner_that_believed_too_long_is_found() {
        let dead = Acquisition { is_death_reported: true, ..acquisition(3, (25, 30), 35, released(35, 36)) };
        let history = [acquisition(1, (0, 10), 31, End::Lost), dead];
        assert_eq!(violations(&history), [Violation::Overlap { first: 1, second: 3 }]);
    }

    #[test]
    fn an_owner_before_the_previous_one_that_believed_too_long_is_found() {
        let second = Acquisition { is_death_reported: true, ..acquisition(2, (25, 60), 65, released(65, 66)) };
        let history =
            [acquisition(1, (0, 10), 70, End::Unknown { from: None }), second, acquisition(3, (61, 68), 80, released(80, 81))];
        assert_eq!(
            violations(&history),
            [Violation::Overlap { first: 1, second: 2 }, Violation::Overlap { first: 1, second: 3 }]
        );
    }

    #[test]
    fn a_death_without_a_report_is_found() {
        let history = [acquisition(1, (0, 10), 20, End::Lost), acquisition(2, (5, 30), 40, released(40, 45))];
        assert_eq!(violations(&history), [Violation::LostDeath { first: 1, second: 2 }]);
    }
}
