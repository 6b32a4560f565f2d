//! The interface between a sweep and the processes that it kills.

use std::io;

use super::route::{Place, Route};
use super::target::{Movement, Reached};

/// An operation that can be surveyed, and killed repeatedly.
pub(super) trait Subject {
    fn survey(&mut self) -> io::Result<Route>;

    /// Runs a target to `place`, kills it where it stopped, and checks the store.
    fn kill_at(&mut self, place: Place, route: &Route, by: Movement) -> Result<Reached, String>;
}

/// Kills a target at `place` and checks the store afterwards.
///
/// Returns how the target reached the place, `None` if no target reached it, or a failed check's message.
///
/// Targets may take different routes, depending on the state that earlier targets left and on this process's memory. All known
/// routes are tried, the most recently successful first. While fewer than `most` are known, another one is surveyed.
pub(super) fn kill(
    subject: &mut dyn Subject,
    place: Place,
    routes: &mut Vec<Route>,
    most: usize,
) -> io::Result<Result<Option<Movement>, String>> {
    let mut at = 0;
    let known = routes.len();
    while at < routes.len() {
        if routes[at].has(place) {
            match subject.kill_at(place, &routes[at], Movement::Quickly) {
                Ok(Reached::There) => {
                    routes[..=at].rotate_right(1);
                    return Ok(Ok(Some(Movement::Quickly)));
                }
                Ok(Reached::OffRoute | Reached::Asleep | Reached::Ended) => {}
                Err(wrong) => return Ok(Err(wrong)),
            }
        }
        at += 1;
        if at == known && known < most && matches!(place, Place::Instruction { .. }) {
            routes.push(subject.survey()?);
        }
    }
    // Targets now take the newest route. Stepping to a place outside of it would be useless.
    if routes.len() > known {
        routes.rotate_right(1);
    }
    if !routes[0].has(place) {
        return Ok(Ok(None));
    }
    let reached = subject.kill_at(place, &routes[0], Movement::BySteps);
    Ok(reached.map(|reached| (reached == Reached::There).then_some(Movement::BySteps)))
}
