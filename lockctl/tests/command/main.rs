//! Tests that run the built command, each with its own store.
#![cfg(feature = "shm")]

mod bad_input;
mod demo;
#[cfg(all(feature = "file", feature = "sem"))]
mod endings;
mod listing;
mod manage;
#[cfg(all(feature = "file", feature = "sem"))]
mod messages;
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
#[cfg(all(feature = "file", feature = "sem"))]
mod why;
