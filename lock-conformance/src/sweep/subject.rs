//! What a sweep kills again and again.

use std::io;

use super::route::{Place, Route};
use super::victim::{Going, Reached};

/// Who does what is swept, again and again.
pub(super) trait Subject {
    fn survey(&mut self) -> io::Result<Route>;

    /// Kills it there, or wherever it is by then, and looks what is left.
    fn kill_at(&mut self, place: Place, route: &Route, going: Going) -> Result<Reached, String>;
}

/// How a victim was brought to a place and killed, if one came there at all; or what was wrong afterwards.
///
/// Victims do not all take the same route: what earlier ones left, and what this process has in its memory, make a difference. So the
/// routes known are tried, those that led there lately first, and while there are fewer than `most`, another one is surveyed.
pub(super) fn kill(
    subject: &mut dyn Subject,
    place: Place,
    routes: &mut Vec<Route>,
    most: usize,
) -> io::Result<Result<Option<Going>, String>> {
    let mut at = 0;
    let known = routes.len();
    while at < routes.len() {
        if routes[at].has(place) {
            match subject.kill_at(place, &routes[at], Going::Quickly) {
                Ok(Reached::There) => {
                    routes[..=at].rotate_right(1);
                    return Ok(Ok(Some(Going::Quickly)));
                }
                Ok(Reached::Astray | Reached::Asleep | Reached::Ended) => {}
                Err(wrong) => return Ok(Err(wrong)),
            }
        }
        at += 1;
        if at == known && known < most && matches!(place, Place::Instruction { .. }) {
            routes.push(subject.survey()?);
        }
    }
    // The newest is what victims do now. What is not on it would be stepped to in vain.
    if routes.len() > known {
        routes.rotate_right(1);
    }
    if !routes[0].has(place) {
        return Ok(Ok(None));
    }
    let reached = subject.kill_at(place, &routes[0], Going::BySteps);
    Ok(reached.map(|reached| (reached == Reached::There).then_some(Going::BySteps)))
}
