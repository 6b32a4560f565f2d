//! Tests that run the built command, each with its own store.
#![cfg(feature = "shm")]

mod bad_input;
mod demo;
mod doctor;
#[cfg(all(feature = "file", feature = "sem"))]
mod endings;
mod graph;
mod growing;
mod listing;
mod manage;
#[cfg(all(feature = "file", feature = "sem"))]
mod messages;
mod metrics;
mod names;
mod path_locks;
#[cfg(all(feature = "file", feature = "sem"))]
mod paths;
mod pipes;
mod pty;
mod reports;
mod run;
mod scratch;
mod signals;
mod sys;
mod terminal;
#[cfg(all(feature = "file", feature = "sem"))]
mod waiting;
#[cfg(feature = "watch")]
mod watch;
#[cfg(all(feature = "file", feature = "sem"))]
mod why;
