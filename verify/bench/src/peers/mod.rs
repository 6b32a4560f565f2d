//! The alternatives to our locks.

pub(crate) mod calls;
pub(crate) mod glibc;
pub(crate) mod lxc;
pub(crate) mod podman;
