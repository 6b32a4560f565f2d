//! Forks: a child owns none of its parent's locks, for every way and moment of forking, and no process deadlocks.

mod children;
mod handlers;
mod racing;
mod rights;
mod unseen;

use crate::case::Case;

pub(super) const CASES: [&[Case]; 5] = [children::CASES, handlers::CASES, unseen::CASES, racing::CASES, rights::CASES];
