//! Tests that run the built command, each with its own store.
#![cfg(feature = "shm")]

mod bad_input;
mod demo;
mod listing;
mod manage;
#[cfg(all(feature = "file", feature = "sem"))]
mod messages;
#[cfg(all(feature = "file", feature = "sem"))]
mod paths;
mod pipes;
mod reports;
mod run;
mod scratch;
mod signals;
mod terminal;
#[cfg(feature = "watch")]
mod watch;
#[cfg(all(feature = "file", feature = "sem"))]
mod why;
