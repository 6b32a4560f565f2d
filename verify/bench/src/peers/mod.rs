//! The alternatives to our locks.

pub(crate) mod calls;
pub(crate) mod etcd;
pub(crate) mod glibc;
pub(crate) mod lxc;
pub(crate) mod podman;
pub(crate) mod postgres;
