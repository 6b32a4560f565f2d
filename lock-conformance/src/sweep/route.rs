//! The instructions that a target executes, as a survey recorded them, and fast ways to reach one.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::machine;

/// The cost of a stop at a breakpoint, in single steps.
const STOP_COST: usize = 6;

/// A place in a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Place {
    /// After this many system calls, and this many instructions after the last of them.
    Instruction { calls: usize, instructions: usize },
    /// An entry or exit of a system call, numbered alternately from 1.
    Boundary(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction { calls, instructions } => {
                write!(f, "instruction {instructions} after system call {calls}")
            }
            Self::Boundary(boundary) if boundary % 2 == 1 => write!(f, "the entry of system call {}", boundary / 2 + 1),
            Self::Boundary(boundary) => write!(f, "the exit of system call {}", boundary / 2),
        }
    }
}

/// The instructions between a target's system calls, until it ends or falls asleep.
pub(super) struct Route {
    stretches: Vec<Stretch>,
    falls_asleep: bool,
}

impl Route {
    /// Creates a route from the addresses of each stretch.
    ///
    /// A stretch ends with the instruction of a system call.
    pub(super) fn new(stretches: Vec<Vec<u64>>, falls_asleep: bool) -> Self {
        Self { stretches: stretches.into_iter().map(Stretch::new).collect(), falls_asleep }
    }

    /// Returns every place between two instructions, and the sleep.
    pub(super) fn instructions(&self) -> Vec<Place> {
        let stretches = self.stretches.iter().enumerate();
        let places = stretches.flat_map(|(calls, stretch)| {
            (0..stretch.addresses.len()).map(move |instructions| Place::Instruction { calls, instructions })
        });
        places.chain(self.sleep()).collect()
    }

    /// Returns every entry and exit of a system call.
    pub(super) fn boundaries(&self) -> Vec<Place> {
        let last = usize::from(self.falls_asleep && machine::HAS_BREAKPOINTS);
        (1..self.stretches.len() * 2 - 1 + last).map(Place::Boundary).collect()
    }

    /// Returns the place where the target falls asleep, if any.
    pub(super) fn sleep(&self) -> Option<Place> {
        let instructions = self.stretches.last()?.addresses.len();
        self.falls_asleep.then_some(Place::Instruction { calls: self.stretches.len() - 1, instructions })
    }

    pub(super) fn has(&self, place: Place) -> bool {
        match place {
            Place::Instruction { calls, instructions } => {
                let falls_asleep = usize::from(self.falls_asleep && calls + 1 == self.stretches.len());
                self.stretches.get(calls).is_some_and(|stretch| instructions < stretch.addresses.len() + falls_asleep)
            }
            Place::Boundary(_) => true,
        }
    }

    /// Returns the way to an instruction from the start of its stretch, and its address, if on this route.
    pub(super) fn way(&self, calls: usize, instructions: usize) -> Option<(&Way, u64)> {
        let stretch = self.stretches.get(calls)?;
        stretch.ways.get(instructions).zip(stretch.addresses.get(instructions).copied())
    }
}

/// A way to an instruction that avoids single-stepping the whole stretch.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Way {
    /// Breakpoints: each address, and how many times to hit it.
    pub(super) stops: Vec<(u64, usize)>,
    /// Number of single steps after the last breakpoint.
    pub(super) steps: usize,
    /// How many of the last steps are iterations of one repeating instruction.
    pub(super) repeats: usize,
    cost: usize,
}

impl Way {
    fn by(stops: Vec<(u64, usize)>) -> Self {
        let cost = stops.iter().map(|(_, times)| STOP_COST + times).sum();
        Self { stops, cost, ..Self::default() }
    }

    fn and_a_step(&self, repeated: bool) -> Self {
        let repeats = if repeated { self.repeats + 1 } else { 0 };
        Self { stops: self.stops.clone(), steps: self.steps + 1, repeats, cost: self.cost + 1 }
    }
}

struct Stretch {
    addresses: Vec<u64>,
    ways: Vec<Way>,
}

impl Stretch {
    fn new(addresses: Vec<u64>) -> Self {
        let ways = ways(&addresses);
        Self { addresses, ways }
    }
}

/// Returns the cheapest way to each address.
///
/// There are three candidates: a step from the previous address; a breakpoint, if the address occurs for the first time; and, in a
/// loop, the last such breakpoint and then a second one, which is hit once per iteration.
fn ways(addresses: &[u64]) -> Vec<Way> {
    let mut ways = vec![Way::default()];
    let mut known = HashSet::from([addresses[0]]);
    let mut landmark = None;
    let mut since = HashMap::new();
    for (before, address) in addresses.iter().zip(&addresses[1..]) {
        let repeated = before == address;
        let mut way = ways[ways.len() - 1].and_a_step(repeated);
        // A breakpoint stops a repeating instruction only at its first iteration.
        if machine::HAS_BREAKPOINTS && !repeated {
            let stops = if known.insert(*address) {
                landmark = Some((*address, 1));
                since.clear();
                landmark.into_iter().collect()
            } else {
                let times = since.entry(*address).or_insert(0);
                *times += 1;
                landmark.into_iter().chain([(*address, *times)]).collect()
            };
            // At the start of the stretch, the target is already at the address, and a breakpoint there would stop it once more.
            let other = Way::by(stops);
            if other.cost < way.cost && other.stops[0].0 != addresses[0] {
                way = other;
            }
        }
        ways.push(way);
    }
    ways
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Simulates the way and returns its end.
    fn end(addresses: &[u64], way: &Way) -> usize {
        let mut at = 0;
        for (address, times) in &way.stops {
            for _ in 0..*times {
                at += 1 + addresses[at + 1..]
                    .iter()
                    .zip(&addresses[at..])
                    .position(|(one, before)| one == address && one != before)
                    .unwrap();
            }
        }
        at + way.steps
    }

    #[test]
    fn every_way_ends_at_its_instruction() {
        let straight = 100..200;
        let inner = [300, 301, 302].repeat(40);
        let outer = [200].into_iter().chain(inner).chain([303, 304]).collect::<Vec<_>>().repeat(20);
        let repeated = [400; 500];
        let addresses: Vec<u64> = straight.chain(outer).chain(repeated).chain([401, 200, 100, 402]).collect();
        for (at, way) in ways(&addresses).iter().enumerate() {
            assert_eq!(end(&addresses, way), at, "{way:?}");
        }
    }

    #[test]
    fn ways_into_and_past_a_loop_are_short() {
        let addresses: Vec<u64> = (0..1000).chain([2000, 2001, 2002].repeat(100)).chain(3000..4000).collect();
        let ways = ways(&addresses);
        assert!(ways.iter().all(|way| way.cost < 130), "{:?}", ways.iter().max_by_key(|way| way.cost));
        assert!(ways[1300..].iter().all(|way| way.cost <= 2 * STOP_COST));
    }
}
