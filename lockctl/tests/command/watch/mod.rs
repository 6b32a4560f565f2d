//! `watch` on a terminal, and as lines.

mod fight;
mod lines;
mod pty;
mod screen;
