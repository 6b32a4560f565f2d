//! The identity of the current boot of the system.

use crate::procfs;

/// Returns the boot id of the kernel (`/proc/sys/kernel/random/boot_id`), or 0 if it cannot be read.
pub(crate) fn id() -> u128 {
    let text = procfs::read_text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(text.trim().replace('-', "").as_str(), 16).unwrap_or(0)
}
