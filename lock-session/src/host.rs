use lock_core::Holder;

/// Describes the calling process with its host, for the record of a holder. No thread is given.
pub fn this_process() -> Holder {
    let holder = lock_table::this_process();
    match nix::unistd::gethostname() {
        Ok(host) => holder.with_host(host.to_string_lossy()),
        Err(_) => holder,
    }
}
