//! What one would use otherwise.

pub(crate) mod calls;
pub(crate) mod glibc;
pub(crate) mod lxc;
pub(crate) mod podman;
