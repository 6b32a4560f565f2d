//! Servers for tests: etcd and PostgreSQL, each in a scratch directory, on free ports of the loopback interface.
//!
//! A server ends when its value is dropped, or when the thread that started it ends, whatever happens to the test. Starting one returns
//! the reason if the machine does not have it, so that a test can skip.
#![forbid(unsafe_code)]

mod etcd;
mod port;
mod postgres;
mod program;

pub use etcd::Etcd;
pub use postgres::Postgres;
