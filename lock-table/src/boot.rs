//! The boot of the system.

/// The id of this boot; 0 where the system does not say.
pub(crate) fn id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(text.trim().replace('-', "").as_str(), 16).unwrap_or(0)
}
