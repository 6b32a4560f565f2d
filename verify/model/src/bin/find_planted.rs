//! Searches for planted bugs, in a copy of the sources that contains them. `cargo xtask model --planted` runs it.
//!
//! The arguments are the maximum number of states and, for each bug, its name and the scenario that finds it. Writes a line for each bug:
//! its name, the number of states, the number of runs, and the error, separated by tabs. The error is empty if the bug was not found.

use std::env;
use std::error::Error;

use lock_model::{Verdict, plant, scenarios};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let states = arguments.next().ok_or("no number of states")?.parse()?;
    while let (Some(bug), Some(name)) = (arguments.next(), arguments.next()) {
        let scenario = scenarios().into_iter().find(|scenario| scenario.name == name);
        let scenario = scenario.ok_or_else(|| format!("there is no scenario {name}"))?;
        let bug: &'static str = bug.leak();
        let report = plant::with(bug, || scenario.explore(states, |_| {}));
        let what = match report.verdict {
            Verdict::Fails { what, history } => {
                assert!(!history.is_empty(), "{bug} has no history");
                what
            }
            _ => String::new(),
        };
        println!("{bug}\t{}\t{}\t{what}", report.states, report.executions);
    }
    Ok(())
}
