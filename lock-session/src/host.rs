use lock_core::{Holder, PerProcess};

/// Describes the calling process with its host, for the record of a holder. No thread is given.
///
/// The description is read once.
pub fn this_process() -> Holder {
    static OWN: PerProcess<Holder> = PerProcess::new();
    OWN.get_or_try_init(|| Ok(read())).cloned().unwrap_or_else(|_| read())
}

fn read() -> Holder {
    let holder = lock_table::this_process();
    match nix::unistd::gethostname() {
        Ok(host) => holder.with_host(host.to_string_lossy()),
        Err(_) => holder,
    }
}
