//! Tests of segments and lock files beside programs that use them with libc's functions, as podman does.
#![cfg(all(target_env = "gnu", target_arch = "x86_64"))]

mod segment {
    mod allocation;
    mod damage;
    mod files;
    mod inspection;
    mod libc_owners;
    mod lists;
    mod peer;
}
