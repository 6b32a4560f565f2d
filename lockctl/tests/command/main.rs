//! The built command, from outside: each test has a store of its own.
#![cfg(feature = "shm")]

mod bad_input;
mod demo;
mod listing;
mod manage;
#[cfg(all(feature = "file", feature = "sem"))]
mod messages;
mod pipes;
mod reports;
mod run;
mod scratch;
mod signals;
mod terminal;
