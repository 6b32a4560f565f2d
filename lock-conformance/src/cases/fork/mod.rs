//! Forks, in every way and at every moment.
//!
//! A child owns none of its parent's locks, and no process deadlocks.

mod children;
mod handlers;
mod racing;
mod rights;
mod unseen;

use crate::case::Case;

pub(super) const CASES: [&[Case]; 5] = [children::CASES, handlers::CASES, unseen::CASES, racing::CASES, rights::CASES];
