//! Tests that run the built command, each with its own store.
#![cfg(feature = "shm")]

mod bad_input;
mod demo;
mod doctor;
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
mod reports;
mod run;
mod scratch;
mod signals;
mod terminal;
#[cfg(all(feature = "file", feature = "sem"))]
mod why;
